"""Aggregation pipelines: compiled once, run over batches. The stages themselves are in stilldb.query.stages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stilldb.query.errors import MongoError
from stilldb.query.stages import (
    Environment,
    NoCollections,
    Stage,
    StageContext,
    Target,
    compile_stages,
    run_stages,
    target_of,
)
from stilldb.query.values import Document

__all__ = ["Environment", "Pipeline", "Stage", "Target", "compile_pipeline", "compile_update_pipeline"]

Batch = list[Document]
_UPDATE_STAGES = frozenset({"$addFields", "$set", "$project", "$unset", "$replaceRoot", "$replaceWith"})


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A compiled pipeline; run one of it at a time, because ``$lookup`` keeps its variables in it."""

    stages: tuple[Stage, ...]

    @property
    def target(self) -> Target | None:
        """Where the documents go if the last stage is ``$out`` or ``$merge``, which ``run`` leaves to the caller."""
        return target_of(self.stages[-1]) if self.stages and self.stages[-1].terminal else None

    def without_leading(self, count: int) -> Pipeline:
        """The pipeline after its first ``count`` stages, which somebody else took over."""
        return Pipeline(self.stages[count:])

    async def run(self, source: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
        """The batches that come out when ``source`` goes in; the documents that went in stay unchanged."""
        async for batch in run_stages(self.stages, source):
            yield batch


def compile_pipeline(stages: Sequence[Mapping[str, Any]], *, environment: Environment) -> Pipeline:
    """The pipeline of ``stages``; raises MongoError for what is no stage. ``$$NOW`` is this moment."""
    return Pipeline(compile_stages(stages, StageContext(environment)))


def compile_update_pipeline(stages: Sequence[Mapping[str, Any]]) -> Callable[[Document], Document]:
    """What the pipeline form of an update does to one document; raises MongoError for stages not allowed there."""
    for spec in stages:
        name = next(iter(spec), "") if isinstance(spec, dict) else ""
        if name not in _UPDATE_STAGES:
            raise MongoError("InvalidOptions", f"{name} is not allowed to be used within an update")
    compiled = compile_stages(stages, StageContext(NoCollections()))
    transforms = [item.transform for item in compiled if item.transform is not None]

    def apply(document: Document) -> Document:
        for transform in transforms:
            document = transform(document)
        return document

    return apply
