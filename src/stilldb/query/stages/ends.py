"""``$out`` and ``$merge``, which name where the documents go, and the stages that report on a collection.

Writing is the caller's: it reads ``Pipeline.target`` and stores what the pipeline gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stilldb.query.errors import MongoError
from stilldb.query.order import bson_type_name
from stilldb.query.stages.core import Source, Stage, StageContext, fail, stage


@dataclass(frozen=True, slots=True)
class Target:
    """Where a pipeline's documents go. ``database`` is None for the pipeline's own."""

    kind: str
    database: str | None
    collection: str
    on: tuple[str, ...] = ("_id",)
    when_matched: Any = "merge"
    when_not_matched: str = "insert"


def _pass(source: Source) -> Source:
    return source


def target_of(item: Stage) -> Target:
    """The target that a terminal stage names; raises MongoError for a malformed one."""
    return _out_target(item.spec) if item.name == "$out" else _merge_target(item.spec)


@stage("$out")
def _out(spec: Any, context: StageContext) -> Stage:
    _out_target(spec)
    return Stage("$out", spec, _pass, terminal=True)


@stage("$merge")
def _merge(spec: Any, context: StageContext) -> Stage:
    _merge_target(spec)
    return Stage("$merge", spec, _pass, terminal=True)


def _namespace(name: str, spec: Any) -> tuple[str | None, str]:
    if isinstance(spec, str) and spec:
        return None, spec
    if isinstance(spec, dict) and set(spec) <= {"db", "coll"} and isinstance(spec.get("coll"), str):
        return spec.get("db"), spec["coll"]
    raise fail(16990, f"{name} only supports a string or object argument, but found {bson_type_name(spec)}")


def _out_target(spec: Any) -> Target:
    return Target("$out", *_namespace("$out", spec))


_MATCHED = ("replace", "keepExisting", "merge", "fail")
_NOT_MATCHED = ("insert", "discard", "fail")


def _merge_target(spec: Any) -> Target:
    if isinstance(spec, str):
        return Target("$merge", None, spec)
    if not isinstance(spec, dict) or "into" not in spec:
        raise fail(51182, "$merge only supports a string or an object with 'into' as its argument")
    for key in spec:
        if key not in {"into", "on", "let", "whenMatched", "whenNotMatched"}:
            raise fail(40415, f"BSON field '$merge.{key}' is an unknown field.")
    on = spec.get("on", "_id")
    names = tuple(on) if isinstance(on, list) else (on,)
    if not names or not all(isinstance(name, str) for name in names):
        raise fail(51186, "$merge 'on' field must be a string or an array of strings")
    matched, unmatched = spec.get("whenMatched", "merge"), spec.get("whenNotMatched", "insert")
    if not isinstance(matched, list) and matched not in _MATCHED:
        raise MongoError(
            "BadValue", f"Enumeration value '{matched}' for field 'whenMatched' is not a valid value."
        )
    if unmatched not in _NOT_MATCHED:
        raise MongoError(
            "BadValue", f"Enumeration value '{unmatched}' for field 'whenNotMatched' is not a valid value."
        )
    return Target("$merge", *_namespace("$merge", spec["into"]), names, matched, unmatched)


def _refused(name: str) -> None:
    @stage(name)
    def parse(spec: Any, context: StageContext) -> Stage:
        raise MongoError("CommandNotSupported", f"Aggregation stage not supported: '{name}'")


# Stages of MongoDB that are not built, or that DocumentDB does not have either.
for _name in (
    "$bucketAuto",
    "$changeStream",
    "$collStats",
    "$currentOp",
    "$densify",
    "$documents",
    "$facet",
    "$fill",
    "$geoNear",
    "$graphLookup",
    "$indexStats",
    "$listLocalSessions",
    "$listSessions",
    "$planCacheStats",
    "$search",
    "$setWindowFields",
    "$unionWith",
    "$vectorSearch",
):
    _refused(_name)
