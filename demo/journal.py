"""What the demo's writer did, kept on its side: every operation in order, and the state after any of them."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

Document = dict[str, Any]


class Model:
    """The collections as the acknowledged operations made them."""

    def __init__(self) -> None:
        self._collections: dict[str, dict[Any, Document]] = {"visits": {}}

    def load(self, name: str, documents: list[Document]) -> None:
        """The first state of a collection."""
        self._collections[name] = {document["_id"]: document for document in documents}

    def ids(self, name: str) -> list[Any]:
        """Every ``_id``, in order."""
        return sorted(self._collections[name])

    def count(self, name: str) -> int:
        """How many documents."""
        return len(self._collections[name])

    def insert(self, name: str, document: Document) -> None:
        """A new document."""
        self._collections[name][document["_id"]] = document

    def visit(self, city: int, operation: int) -> None:
        """The update of a city: ``$set`` visited, ``$inc`` visits."""
        document = self._collections["cities"][city]
        document["visited"] = operation
        document["visits"] = document.get("visits", 0) + 1

    def digest(self, name: str) -> str:
        """A hash over the BSON of every document in ``_id`` order."""
        total = hashlib.sha256()
        for key in self.ids(name):
            total.update(bson.encode(self._collections[name][key]))
        return total.hexdigest()


def digest(collection: Collection[Document]) -> str:
    """The same hash over a collection on the server, over the bytes as they come."""
    total = hashlib.sha256()
    raw = collection.with_options(codec_options=bson.CodecOptions(document_class=RawBSONDocument))
    for document in raw.find({}).sort("_id", 1):
        total.update(document.raw)
    return total.hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One write: odd numbers insert a visit, even ones update the city visited before."""

    number: int
    city: int


class Journal:
    """A single writer; operation n is sent only after n - 1 was acknowledged, so any state is a prefix."""

    def __init__(self, database: Database[Document], model: Model) -> None:
        self._database = database
        self._cities = model.ids("cities")
        self._operations: list[Operation] = []
        self._latencies: list[float] = []
        self._lock = threading.Lock()
        self.sent = 0
        self.acknowledged = 0
        self.at_least = 0
        self.at_most = 0
        self.error: BaseException | None = None

    def write(self, stop: threading.Event) -> None:
        """Insert and update until told to stop."""
        try:
            while not stop.is_set():
                self._one()
        except PyMongoError as error:  # shown by check() in the main thread
            self.error = error

    def check(self) -> None:
        """Raise what the writer met, if anything."""
        if self.error is not None:
            raise self.error

    def latencies(self) -> list[float]:
        """Seconds each acknowledged write took since the last call."""
        with self._lock:
            taken, self._latencies = self._latencies, []
        return taken

    def _one(self) -> None:
        number = self.sent + 1
        operation = Operation(number, self._cities[(number * 7919) // 2 % len(self._cities)])
        self._operations.append(operation)
        self.sent = number
        begun = time.perf_counter()
        self._send(operation)
        took = time.perf_counter() - begun
        self.acknowledged = number
        with self._lock:
            self._latencies.append(took)

    def _send(self, operation: Operation) -> None:
        if operation.number % 2:
            self._database.visits.insert_one(visit(operation))
            return
        change = {"$set": {"visited": operation.number}, "$inc": {"visits": 1}}
        done = self._database.cities.update_one({"_id": operation.city}, change)
        if done.modified_count != 1:
            raise OperationFailure(f"operation {operation.number} changed nothing")

    def replay(self, model: Model, until: int) -> None:
        """Bring the model to the state after operation ``until``."""
        for operation in self._operations[:until]:
            if operation.number % 2:
                model.insert("visits", visit(operation))
            else:
                model.visit(operation.city, operation.number)


def visit(operation: Operation) -> Document:
    """The document that an odd operation inserts."""
    return {"_id": operation.number, "city": operation.city, "note": f"visit {operation.number}"}
