"""The pymongo script that every server gets: single operations, batches, a count and a group over a collection."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

from bench import data

Document = dict[str, Any]
Client = Any


class Workload:
    """One server under the script; every method does its operation and returns seconds an operation."""

    def __init__(self, database: Database[Document], documents: int, scale: float) -> None:
        self._database = database
        self._documents = documents
        self._scale = scale
        self._next = documents
        self._chance = random.Random(7)
        self._batches = 0

    @property
    def _orders(self) -> Collection[Document]:
        return self._database.orders

    def load(self) -> float:
        """Fill the collection that is read; seconds it took."""
        self._orders.drop()
        begun = time.perf_counter()
        batch: list[Document] = []
        for document in data.orders(0, self._documents):
            batch.append(document)
            if len(batch) == 1000:
                self._orders.insert_many(batch)
                batch = []
        if batch:
            self._orders.insert_many(batch)
        return time.perf_counter() - begun

    def find_one(self) -> float:
        """``find_one({"_id": …})`` of random ids."""
        ids = [self._chance.randrange(self._documents) for _ in range(self._times(300))]
        begun = time.perf_counter()
        for number in ids:
            if self._orders.find_one({"_id": number}) is None:
                raise LookupError(number)
        return (time.perf_counter() - begun) / len(ids)

    def insert_one(self) -> float:
        """``insert_one`` of new orders."""
        documents = list(data.orders(self._next, self._times(100)))
        self._next += len(documents)
        collection = self._database.singles
        begun = time.perf_counter()
        for document in documents:
            collection.insert_one(document)
        return (time.perf_counter() - begun) / len(documents)

    def update_one(self) -> float:
        """``update_one`` by ``_id``: a ``$set`` of a nested field and an ``$inc``."""
        ids = [self._chance.randrange(self._documents) for _ in range(self._times(100))]
        begun = time.perf_counter()
        for place, number in enumerate(ids):
            change = {"$set": {"customer.score": place % 1000}, "$inc": {"visits": 1}}
            if self._orders.update_one({"_id": number}, change).matched_count != 1:
                raise LookupError(number)
        return (time.perf_counter() - begun) / len(ids)

    def insert_many(self) -> float:
        """``insert_many`` of 1000 orders; seconds a batch."""
        times = max(1, self._times(3))
        batches = [list(data.orders(self._next + 1000 * place, 1000)) for place in range(times)]
        self._next += 1000 * times
        collection = self._database.batches
        begun = time.perf_counter()
        for batch in batches:
            collection.insert_many(batch)
        return (time.perf_counter() - begun) / times

    def count(self) -> float:
        """``count_documents`` with a filter on two nested fields without an index."""
        begun = time.perf_counter()
        counted = self._orders.count_documents({"customer.score": {"$gt": 500}, "status": "paid"})
        took = time.perf_counter() - begun
        if not 0 < counted < self._documents:
            raise LookupError(counted)
        return took

    def group(self) -> float:
        """``$match`` on a nested field, ``$group`` by city with a sum and an average, ``$sort``."""
        stages: list[Document] = [
            {"$match": {"customer.score": {"$gt": 200}}},
            {"$group": {"_id": "$customer.city", "orders": {"$sum": 1}, "average": {"$avg": "$total"}}},
            {"$sort": {"_id": 1}},
        ]
        begun = time.perf_counter()
        groups = list(self._orders.aggregate(stages))
        took = time.perf_counter() - begun
        if len(groups) != 10:
            raise LookupError(groups)
        return took

    def _times(self, count: int) -> int:
        return max(1, round(count * self._scale))


OPERATIONS: dict[str, Callable[[Workload], float]] = {
    "find_one": Workload.find_one,
    "insert_one": Workload.insert_one,
    "update_one": Workload.update_one,
    "insert_many": Workload.insert_many,
    "count": Workload.count,
    "group": Workload.group,
}
