"""The query engine alone, in this process: what a document costs where SQL does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import bson

from bench import data
from bench.context import Bench
from bench.measure import interleaved, median
from stilldb.query.filter import compile_filter
from stilldb.query.pipeline import Pipeline, compile_pipeline

Batch = list[dict[str, Any]]

_FILTER = {"customer.score": {"$gt": 500}, "status": {"$in": ["paid", "packed"]}, "items.quantity": 3}
_GROUP: Batch = [
    {"$match": {"customer.score": {"$gt": 200}}},
    {"$group": {"_id": "$customer.city", "orders": {"$sum": 1}, "average": {"$avg": "$total"}}},
    {"$sort": {"_id": 1}},
]
_SHAPE: Batch = [
    {"$unwind": "$items"},
    {"$project": {"status": 1, "sku": "$items.sku", "price": {"$multiply": ["$total", "$items.quantity"]}}},
]


def engine(bench: Bench) -> None:
    """Documents a second through BSON decoding, a filter, and two pipelines, in one process. No target."""
    encoded = [bson.encode(document) for document in data.orders(0, max(1000, bench.settings.documents // 5))]
    documents = [bson.decode(raw) for raw in encoded]
    matches = compile_filter(_FILTER)
    group, shape = (compile_pipeline(stages, environment=_Nothing()) for stages in (_GROUP, _SHAPE))
    subjects = {
        "decoding BSON": lambda: [bson.decode(raw) for raw in encoded],
        "filter on three nested fields": lambda: [document for document in documents if matches(document)],
        "$match, $group, $sort": lambda: asyncio.run(_drain(group, documents)),
        "$unwind, $project": lambda: asyncio.run(_drain(shape, documents)),
    }
    values = interleaved(
        bench.settings.rounds, {name: _rate(subject, len(documents)) for name, subject in subjects.items()}
    )
    for name, rates in values.items():
        bench.figure(name, median(rates), "documents/s")


def _rate(subject: Callable[[], Sequence[Any]], count: int) -> Callable[[], float]:
    def run() -> float:
        begun = time.perf_counter()
        if not subject():
            raise LookupError("nothing came out")
        return count / (time.perf_counter() - begun)

    return run


async def _drain(pipeline: Pipeline, documents: Batch) -> Batch:
    return [document async for batch in pipeline.run(_batches(documents)) for document in batch]


async def _batches(documents: Batch) -> AsyncIterator[Batch]:
    for start in range(0, len(documents), 1000):
        yield documents[start : start + 1000]


class _Nothing:
    """An environment without collections."""

    def find(
        self, collection: str, filter: Mapping[str, Any], pipeline: Sequence[Mapping[str, Any]] = ()
    ) -> AsyncIterator[Batch]:
        raise LookupError(collection)
