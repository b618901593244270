"""``$lookup``: the equality form (one query a batch, joined by hash) and the pipeline form, with or without ``let``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bson import Regex

from stilldb.query import order
from stilldb.query.accumulators import MEMORY_LIMIT, memory_error, rough_size
from stilldb.query.errors import MongoError
from stilldb.query.expressions.core import Evaluator
from stilldb.query.expressions.fieldpath import split_path
from stilldb.query.expressions.logic import check_variable
from stilldb.query.order import bson_type_name
from stilldb.query.paths import sights
from stilldb.query.stages.assemble import compile_stages, run_stages
from stilldb.query.stages.core import Batch, Environment, Source, Stage, StageContext, fail, stage
from stilldb.query.values import MISSING, Document

_OPTIONS = {"from", "localField", "foreignField", "as", "let", "pipeline", "comment"}


@stage("$lookup")
def _lookup(spec: Any, context: StageContext) -> Stage:
    _check(spec)
    if "pipeline" in spec:
        return Stage("$lookup", spec, _SubPipeline.of(spec, context).run)
    return Stage("$lookup", spec, _Equality.of(spec, context.environment).run)


def _check(spec: Any) -> None:
    if not isinstance(spec, dict):
        raise MongoError(
            "FailedToParse", f"the $lookup specification must be an object, but found {bson_type_name(spec)}"
        )
    for key, value in spec.items():
        if key not in _OPTIONS:
            raise MongoError("FailedToParse", f"unknown argument to $lookup: {key}")
        if key in {"from", "localField", "foreignField", "as"} and not isinstance(value, str):
            raise MongoError(
                "FailedToParse", f"$lookup argument '{key}' must be a string, is type {bson_type_name(value)}"
            )
    for key in ("from", "as"):
        if key not in spec:
            raise MongoError("FailedToParse", f"must specify '{key}' field for a $lookup")
    fields = [key for key in ("localField", "foreignField") if key in spec]
    if "pipeline" in spec and fields:
        raise MongoError(
            "FailedToParse", "$lookup with 'pipeline' may not specify 'localField' or 'foreignField'"
        )
    if "pipeline" not in spec and ("let" in spec or len(fields) != 2):
        words = "$lookup requires either 'pipeline' or both 'localField' and 'foreignField' to be specified"
        raise MongoError("FailedToParse", words)


def leaves(document: Document, parts: tuple[str, ...]) -> list[Any]:
    """The values that a filter on the path compares, null for missing ones."""
    return [None if value is MISSING else value for value, _ in sights(document, parts)]


def _local_values(document: Document, parts: tuple[str, ...]) -> list[Any]:
    """What the foreign field may equal; a whole array is no value to match, its elements are."""
    return [leaf for leaf in leaves(document, parts) if not isinstance(leaf, list)]


def attach(document: Document, parts: tuple[str, ...], value: Any) -> Document:
    """A copy of ``document`` with ``value`` at the path; only the way there is copied."""
    made = dict(document)
    if len(parts) == 1:
        made[parts[0]] = value
    else:
        inner = made.get(parts[0])
        made[parts[0]] = attach(inner if isinstance(inner, dict) else {}, parts[1:], value)
    return made


@dataclass(frozen=True, slots=True)
class _Equality:
    environment: Environment
    collection: str
    local: tuple[str, ...]
    foreign_name: str
    into: tuple[str, ...]

    @classmethod
    def of(cls, spec: dict[str, Any], environment: Environment) -> _Equality:
        split_path(spec["foreignField"])
        local, into = split_path(spec["localField"]), split_path(spec["as"])
        return cls(environment, spec["from"], local, spec["foreignField"], into)

    async def run(self, source: Source) -> Source:
        async for batch in source:
            yield await self._joined(batch)

    async def _joined(self, batch: Batch) -> Batch:
        keys = [
            [order.hash_key(value) for value in _local_values(document, self.local)] for document in batch
        ]
        wanted = {
            key: value
            for document in batch
            for key, value in ((order.hash_key(item), item) for item in _local_values(document, self.local))
        }
        foreign = await collected(self.environment.find(self.collection, self._filter(list(wanted.values()))))
        places = self._index(foreign, wanted.keys())
        made = []
        for document, own in zip(batch, keys, strict=True):
            found = sorted({place for key in own for place in places.get(key, ())})
            made.append(attach(document, self.into, [foreign[place] for place in found]))
        return made

    def _filter(self, values: list[Any]) -> dict[str, Any]:
        # A regular expression inside $in would match strings; joined it must only equal itself.
        plain = [value for value in values if not isinstance(value, Regex)]
        exact = [{self.foreign_name: {"$eq": value}} for value in values if isinstance(value, Regex)]
        if not exact:
            return {self.foreign_name: {"$in": plain}}
        return {"$or": [{self.foreign_name: {"$in": plain}}, *exact]}

    def _index(self, foreign: Batch, wanted: Any) -> dict[Any, list[int]]:
        parts = split_path(self.foreign_name)
        places: dict[Any, list[int]] = {}
        for place, document in enumerate(foreign):
            for key in {order.hash_key(leaf) for leaf in leaves(document, parts)} & wanted:
                places.setdefault(key, []).append(place)
        return places


async def collected(source: Source) -> Batch:
    """All documents of ``source``; raises MongoError 292 above the memory limit."""
    made: Batch = []
    used = 0
    async for batch in source:
        used += sum(map(rough_size, batch))
        if used > MEMORY_LIMIT:
            raise memory_error("$lookup")
        made += batch
    return made


async def one_batch(documents: Batch) -> Source:
    """A source of one batch."""
    if documents:
        yield documents


@dataclass(frozen=True, slots=True)
class _SubPipeline:
    """The pipeline form. The foreign documents are read once and held; without ``let`` so is the answer."""

    outer: StageContext
    inner: StageContext
    collection: str
    variables: list[tuple[str, Evaluator]]
    first_filter: dict[str, Any]
    stages: Sequence[Stage]
    into: tuple[str, ...]

    @classmethod
    def of(cls, spec: dict[str, Any], context: StageContext) -> _SubPipeline:
        let, pipeline = spec.get("let", {}), spec["pipeline"]
        if not isinstance(let, dict):
            raise MongoError(
                "FailedToParse", f"$lookup argument 'let' must be an object, is type {bson_type_name(let)}"
            )
        if not isinstance(pipeline, list):
            raise MongoError("TypeMismatch", "'pipeline' option must be specified as an array")
        variables = [(check_variable(name), context.compile(value)) for name, value in let.items()]
        inner = replace(context, expressions=context.expressions.having(*let).deeper(), scope={})
        stages = compile_stages(pipeline, inner)
        if any(item.terminal for item in stages):
            raise fail(51047, f"{stages[-1].name} is not allowed within a $lookup's sub-pipeline")
        first: dict[str, Any] = {}
        if stages and stages[0].name == "$match" and "$$" not in str(stages[0].spec):
            first, stages = dict(stages[0].spec), stages[1:]
        return cls(context, inner, spec["from"], variables, first, stages, split_path(spec["as"]))

    async def run(self, source: Source) -> Source:
        foreign: Batch | None = None
        answer: Batch | None = None
        async for batch in source:
            if foreign is None:
                foreign = await collected(self.outer.environment.find(self.collection, self.first_filter))
            made: Batch = []
            for document in batch:
                if answer is None or self.inner.expressions.variables:
                    answer = await self._answer(document, foreign)
                made.append(attach(document, self.into, list(answer)))
            yield made

    async def _answer(self, document: Document, foreign: Batch) -> Batch:
        scope = self.inner.scope
        scope.clear()
        scope.update(self.outer.scope)
        for name, value in self.variables:
            scope[name] = value(document, self.outer.scope)
        return await collected(run_stages(self.stages, one_batch(foreign)))
