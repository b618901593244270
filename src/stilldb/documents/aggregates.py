"""aggregate and distinct: how much of a pipeline becomes a find or a statement, the rest run by the engine over pages."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import asyncpg

from stilldb.documents import groups
from stilldb.documents.access import Hint, access
from stilldb.documents.catalog import Catalog
from stilldb.documents.model import Aggregate, Find, Namespace
from stilldb.documents.outputs import Outputs
from stilldb.documents.pool import Pool
from stilldb.documents.reads import Query, Raws, Reader, changed
from stilldb.query import order
from stilldb.query.accumulators import MEMORY_LIMIT, rough_size
from stilldb.query.errors import MongoError
from stilldb.query.grouping import GroupPlan, group_plan
from stilldb.query.paths import sights, split
from stilldb.query.pipeline import Pipeline, compile_pipeline
from stilldb.query.values import MISSING, Document, decode, encode

Batch = list[Document]
_TRIES = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Front:
    """The part of a pipeline before the engine: a find, then perhaps a group. ``taken`` stages are in it."""

    find: Find
    group: GroupPlan | None
    taken: int


def front(pipeline: Pipeline, hint: Hint, *, push: bool) -> Front:
    """How the pipeline begins: $match, $sort, $skip and $limit in a find's order; then $group or $count."""
    stages = pipeline.stages
    taken = 0
    filters: list[Document] = []
    while taken < len(stages) and stages[taken].name == "$match":
        filters.append(stages[taken].spec)
        taken += 1
    found = filters[0] if len(filters) == 1 else {"$and": filters} if filters else {}
    if push and taken < len(stages) and stages[taken].name == "$group":
        plan = group_plan(stages[taken].spec)
        if plan is not None:
            return Front(Find(filter=found, hint=hint), plan, taken)
    sort: Document | None = None
    skip = limit = 0
    if taken < len(stages) and stages[taken].name == "$sort":
        sort, taken = stages[taken].spec, taken + 1
    if taken < len(stages) and stages[taken].name == "$skip":
        skip, taken = int(stages[taken].spec), taken + 1
    if taken < len(stages) and stages[taken].name == "$limit":
        limit, taken = int(stages[taken].spec), taken + 1
    return Front(Find(filter=found, sort=sort, skip=skip, limit=limit, hint=hint), None, taken)


class Aggregator:
    """Pipelines over every collection."""

    def __init__(self, pool: Pool, catalog: Catalog, reader: Reader, outputs: Outputs, *, push: bool) -> None:
        self._pool = pool
        self._catalog = catalog
        self._reader = reader
        self._outputs = outputs
        self._push = push

    async def aggregate(self, namespace: Namespace, request: Aggregate) -> Raws:
        """Batches of raw documents; a pipeline that ends in $out or $merge stores them and gives none."""
        pipeline = self.compiled(namespace, request)
        source = self._documents(namespace, pipeline, request.hint)
        target = pipeline.target
        if target is not None:
            await self._outputs.store(namespace, target, source)
            return
        begin = front(pipeline, request.hint, push=self._push)
        if begin.group is None and begin.taken == len(pipeline.stages):
            async for raws in self._reader.find(namespace, begin.find):
                yield raws
            return
        async for batch in source:
            yield [encode(document) for document in batch]

    def compiled(self, namespace: Namespace, request: Aggregate) -> Pipeline:
        """The pipeline compiled; raises MongoError for what is none."""
        return compile_pipeline(request.pipeline, environment=_Others(self, namespace.database))

    async def _documents(
        self, namespace: Namespace, pipeline: Pipeline, hint: Hint
    ) -> AsyncGenerator[Batch, None]:
        begin = front(pipeline, hint, push=self._push)
        if begin.group is not None:
            grouped = await self._grouped(namespace, begin.find, begin.group)
            if grouped is not None:
                async for batch in pipeline.without_leading(begin.taken + 1).run(_once(grouped)):
                    yield batch
                return
        source = self.decoded(namespace, begin.find)
        async for batch in pipeline.without_leading(begin.taken).run(source):
            yield batch

    async def decoded(self, namespace: Namespace, find: Find) -> AsyncGenerator[Batch, None]:
        """A find's documents."""
        async for raws in self._reader.find(namespace, find):
            yield [decode(raw) for raw in raws]

    async def _grouped(self, namespace: Namespace, find: Find, plan: GroupPlan) -> Batch | None:
        """The groups by SQL; None when it can't tell them exactly."""
        query: Query = self._reader.query(find.filter)
        if not query.plan.exact:
            return None
        for _ in range(_TRIES):
            collection = await self._catalog.find(namespace)
            if collection is None:
                return []
            made = access(collection, query.plan, find.hint)
            try:
                async with self._pool.connection() as connection:
                    statement = groups.statement(plan, made)
                    rows = await connection.fetch(statement, *made.params)
            except asyncpg.UndefinedTableError:
                self._catalog.forget(namespace)
                continue
            return groups.documents(plan, rows)
        raise changed(namespace)

    async def distinct(self, namespace: Namespace, key: str, spec: Document) -> list[Any]:
        """Every different value at a path, arrays' elements each, in BSON order."""
        parts = split(key)
        found: dict[Any, Any] = {}
        used = 0
        async for batch in self.decoded(namespace, Find(filter=spec)):
            for document in batch:
                for value in _distinct_values(document, parts):
                    seen = order.hash_key(value)
                    if seen not in found:
                        found[seen] = value
                        used += rough_size(value)
            if used > MEMORY_LIMIT // 6:
                raise MongoError("Location17217", "distinct too big, 16mb cap")
        return sorted(found.values(), key=functools.cmp_to_key(order.compare))


def _distinct_values(document: Document, parts: tuple[str, ...]) -> Iterator[Any]:
    for value, _ in sights(document, parts, elements=False):
        if isinstance(value, list):
            yield from value
        elif value is not MISSING:
            yield value


async def _once(batch: Batch) -> AsyncGenerator[Batch, None]:
    if batch:
        yield batch


class _Others:
    """The environment of a pipeline: the other collections of its database."""

    def __init__(self, aggregator: Aggregator, database: str) -> None:
        self._aggregator = aggregator
        self._database = database

    def find(
        self, collection: str, filter: Mapping[str, Any], pipeline: Sequence[Mapping[str, Any]] = ()
    ) -> AsyncIterator[Batch]:
        namespace = Namespace.checked(self._database, collection)
        return self._aggregator.decoded(namespace, Find(filter=dict(filter)))
