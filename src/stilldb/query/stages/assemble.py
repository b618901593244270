"""A list of specifications made into stages, and stages run one after the other over a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stilldb.query.errors import MongoError
from stilldb.query.order import bson_type_name
from stilldb.query.stages.core import STAGES, Source, Stage, StageContext, fail
from stilldb.query.stages.select import limit_of

# Source: Amazon DocumentDB limits, "aggregation stages".
MAX_STAGES = 500


def compile_stages(specs: Sequence[Any], context: StageContext) -> tuple[Stage, ...]:
    """The stages of ``specs``; raises MongoError for unknown ones and for a terminal one that is not last."""
    if len(specs) > MAX_STAGES:
        raise fail(5054701, f"Pipeline length must be no longer than {MAX_STAGES} stages")
    stages = tuple(_compile_stage(spec, context) for spec in specs)
    for item in stages[:-1]:
        if item.terminal:
            raise fail(40601, f"{item.name} can only be the final stage in the pipeline")
    return stages


def _compile_stage(spec: Any, context: StageContext) -> Stage:
    if not isinstance(spec, dict):
        found = bson_type_name(spec)
        raise MongoError(
            "TypeMismatch", f"Each element of the 'pipeline' array must be an object, found {found}"
        )
    if len(spec) != 1:
        raise fail(40323, "A pipeline stage specification object must contain exactly one field.")
    name, argument = next(iter(spec.items()))
    parser = STAGES.get(name)
    if parser is None:
        raise fail(40324, f"Unrecognized pipeline stage name: '{name}'")
    return parser(argument, context)


def run_stages(stages: Sequence[Stage], source: Source) -> Source:
    """The batches that come out of the last stage; a sort that a limit follows holds only the top."""
    for index, item in enumerate(stages):
        follower = stages[index + 1] if index + 1 < len(stages) else None
        if item.top is not None and follower is not None and follower.name == "$limit":
            source = item.top(limit_of(follower.spec))(source)
        else:
            source = item.run(source)
    return source
