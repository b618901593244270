"""The gateway's documents in memory: the promises of ``gateway.ports.DocumentStore`` that its tests rely on.

Filters are equality, ``$gt`` and ``$lt`` on top-level fields; updates are ``$set``, ``$inc`` and replacements; pipelines are
``$match``, ``$limit`` and ``$out``. What a query means is tested with the engine, not here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from typing import Any

from stilldb.documents.inserts import prepared
from stilldb.documents.model import (
    Aggregate,
    CollectionInfo,
    DatabaseInfo,
    Delete,
    Find,
    FindAndModify,
    IndexesMade,
    Inserted,
    Modified,
    Namespace,
    Update,
    Updated,
    WriteError,
)
from stilldb.query.errors import MongoError
from stilldb.query.values import MISSING, Document, decode, encode

_BATCH_BYTES = 4 * 1024 * 1024
_ID_INDEX: Document = {"v": 4, "key": {"_id": 1}, "name": "_id_"}


class MemoryDocuments:
    """``gates`` lets a test hold up a method by its name; ``failing`` makes methods raise; ``slept`` counts hold-ups."""

    def __init__(self) -> None:
        self.collections: dict[Namespace, dict[bytes, bytes]] = {}
        self.indexes: dict[Namespace, list[Document]] = {}
        self.users: dict[str, dict[str, Any]] = {}
        self.failing: dict[str, Exception] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.waiting: list[str] = []
        self.cancelled: list[str] = []
        self.failed: list[str] = []
        self.open_sources = 0
        self.looks = 0  # at what is expired
        self.kept: list[Any] = []  # ids whose documents are in memory

    async def _enter(self, method: str) -> None:
        if method in self.failing:
            self.failed.append(method)
            raise self.failing[method]
        if method in self.gates:
            self.waiting.append(method)
            try:
                await self.gates[method].wait()
            except asyncio.CancelledError:
                self.cancelled.append(method)
                raise

    async def close(self) -> None:
        self.collections.clear()

    async def ping(self) -> None:
        await self._enter("ping")

    async def find_user(self, name: str) -> dict[str, Any] | None:
        await self._enter("find_user")
        return self.users.get(name)

    async def put_master_user(self, name: str, version: int, verifiers: list[dict[str, Any]]) -> None:
        self.users[name] = {
            "_id": f"admin.{name}",
            "user": name,
            "db": "admin",
            "roles": [{"role": "root", "db": "admin"}],
            "version": version,
            "verifiers": verifiers,
        }

    async def list_databases(self) -> list[DatabaseInfo]:
        sizes: dict[str, int] = {}
        for ns, documents in self.collections.items():
            sizes[ns.database] = sizes.get(ns.database, 0) + sum(map(len, documents.values()))
        return [DatabaseInfo(name, size) for name, size in sizes.items()]

    async def list_collections(self, database: str) -> list[CollectionInfo]:
        return [
            CollectionInfo(ns.collection, hashlib.md5(str(ns).encode()).digest(), {})
            for ns in self.collections
            if ns.database == database
        ]

    async def create_collection(self, ns: Namespace, options: Document) -> None:
        if ns in self.collections:
            raise MongoError("NamespaceExists", f"Collection {ns} already exists.")
        self._collection(ns)

    def _collection(self, ns: Namespace) -> dict[bytes, bytes]:
        if ns not in self.collections:
            self.collections[ns] = {}
            self.indexes[ns] = [dict(_ID_INDEX)]
        return self.collections[ns]

    async def drop_collection(self, ns: Namespace) -> int | None:
        if self.collections.pop(ns, None) is None:
            return None
        return len(self.indexes.pop(ns))

    async def drop_database(self, database: str) -> bool:
        named = [ns for ns in self.collections if ns.database == database]
        for ns in named:
            await self.drop_collection(ns)
        return bool(named)

    async def create_indexes(self, ns: Namespace, specs: list[Document]) -> IndexesMade:
        created = ns not in self.collections
        self._collection(ns)
        before = len(self.indexes[ns])
        names = {index["name"] for index in self.indexes[ns]}
        self.indexes[ns] += [{"v": 4, **spec} for spec in specs if spec["name"] not in names]
        return IndexesMade(before, len(self.indexes[ns]), created)

    async def list_indexes(self, ns: Namespace) -> list[Document]:
        if ns not in self.indexes:
            raise MongoError("NamespaceNotFound", f"ns does not exist: {ns}")
        return self.indexes[ns]

    async def drop_indexes(self, ns: Namespace, which: str | Document | list[str]) -> int:
        before = await self.list_indexes(ns)
        names = {which} if isinstance(which, str) else set(which)
        kept = [i for i in before if i["name"] == "_id_" or ("*" not in names and i["name"] not in names)]
        self.indexes[ns] = kept
        return len(before)

    async def insert(self, ns: Namespace, raws: list[bytes], *, ordered: bool) -> Inserted:
        await self._enter("insert")
        collection = self._collection(ns)
        count = 0
        errors: list[WriteError] = []
        for index, given in enumerate(raws):
            try:
                raw = prepared(given).raw
            except MongoError as error:
                errors.append(WriteError(index, error))
                if ordered:
                    break
                continue
            key = _keyed(raw)
            if key in collection:
                details = {"keyPattern": {"_id": 1}, "keyValue": {"_id": decode(raw)["_id"]}}
                error = MongoError("DuplicateKey", f"E11000 duplicate key error: {ns}", details=details)
                errors.append(WriteError(index, error))
                if ordered:
                    break
            else:
                collection[key] = raw
                count += 1
        return Inserted(count, errors)

    async def update(self, ns: Namespace, update: Update) -> Updated:
        await self._enter("update")
        matched = modified = 0
        for key, document in self._matching(ns, update.filter):
            matched += 1
            after = _changed(document, update.change)
            if after != document:
                self.collections[ns][key] = encode(after)
                modified += 1
            if not update.multi:
                break
        if matched == 0 and update.upsert:
            return Updated(0, 0, self._upsert(ns, update.filter, update.change)["_id"])
        return Updated(matched, modified)

    def _upsert(self, ns: Namespace, filter: Document, change: Document | list[Document]) -> Document:
        document = _changed(
            {key: value for key, value in filter.items() if not isinstance(value, dict)}, change
        )
        raw = prepared(encode(document)).raw
        self._collection(ns)[_keyed(raw)] = raw
        return decode(raw)

    async def delete(self, ns: Namespace, delete: Delete) -> int:
        await self._enter("delete")
        found = self._matching(ns, delete.filter)[: 1 if delete.one else None]
        for key, _ in found:
            del self.collections[ns][key]
        return len(found)

    async def find_and_modify(self, ns: Namespace, change: FindAndModify) -> Modified:
        found = self._matching(ns, change.filter)
        if not found:
            if not change.upsert or change.change is None:
                return Modified(None, False)
            made = self._upsert(ns, change.filter, change.change)
            return Modified(encode(made) if change.new else None, False, made["_id"])
        key, document = found[0]
        if change.change is None:
            del self.collections[ns][key]
            return Modified(encode(document), True)
        after = _changed(document, change.change)
        self.collections[ns][key] = encode(after)
        return Modified(encode(after if change.new else document), True)

    def kept_by_id(self, ns: Namespace, value: Any) -> bytes | None:
        return self.collections.get(ns, {}).get(encode({"": value})) if value in self.kept else None

    async def find_by_id(self, ns: Namespace, value: Any) -> bytes | None:
        return next(
            iter([raw async for raws in self.find(ns, Find(filter={"_id": value})) for raw in raws]), None
        )

    async def find(self, ns: Namespace, query: Find) -> AsyncGenerator[list[bytes], None]:
        await self._enter("find")
        self.open_sources += 1
        try:
            batch: list[bytes] = []
            total = 0
            for raw in self._found(ns, query):
                batch.append(raw)
                total += len(raw)
                if total > _BATCH_BYTES:
                    yield batch
                    batch, total = [], 0
                    await self._enter("find_more")
            if batch:
                yield batch
        finally:
            self.open_sources -= 1

    def _found(self, ns: Namespace, query: Find) -> list[bytes]:
        collection = self.collections.get(ns, {})
        identifier = query.filter.get("_id", MISSING)
        if len(query.filter) == 1 and identifier is not MISSING and not isinstance(identifier, dict):
            raw = collection.get(encode({"": identifier}))
            return [] if raw is None else [raw]
        if not query.filter:
            found = list(collection.values())
        else:
            found = [collection[key] for key, _ in self._matching(ns, query.filter)]
        return found[query.skip : query.skip + query.limit if query.limit else None]

    async def aggregate(self, ns: Namespace, query: Aggregate) -> AsyncGenerator[list[bytes], None]:
        await self._enter("aggregate")
        found = list(self.collections.get(ns, {}).values())
        for stage in query.pipeline:
            ((name, argument),) = stage.items()
            if name == "$match":
                found = [raw for raw in found if _matches(decode(raw), argument)]
            elif name == "$limit":
                found = found[:argument]
            elif name == "$out":
                self.collections[Namespace(ns.database, argument)] = {_keyed(raw): raw for raw in found}
                found = []
            else:
                raise MongoError("Location40324", f"Unrecognized pipeline stage name: '{name}'")
        if found:
            yield found

    async def count(self, ns: Namespace, query: Find) -> int:
        return len(self._found(ns, query))

    async def distinct(self, ns: Namespace, key: str, filter: Document) -> list[Any]:
        values: list[Any] = []
        for _, document in self._matching(ns, filter):
            if key in document and document[key] not in values:
                values.append(document[key])
        return values

    async def explain_find(self, ns: Namespace, query: Find) -> Document:
        return {"namespace": str(ns), "winningPlan": {"stage": "COLLSCAN", "filter": query.filter}}

    async def explain_aggregate(self, ns: Namespace, query: Aggregate) -> Document:
        return {"namespace": str(ns), "winningPlan": {"stage": "COLLSCAN", "stages": len(query.pipeline)}}

    async def stats(self, ns: Namespace) -> Document:
        documents = self.collections.get(ns, {})
        size = sum(map(len, documents.values()))
        return {
            "ns": str(ns),
            "size": size,
            "count": len(documents),
            "storageSize": size,
            "nindexes": len(self.indexes.get(ns, [])),
            "totalIndexSize": 0,
            "indexSizes": {"_id_": 0},
        }

    async def delete_expired(self) -> int:
        await self._enter("delete_expired")
        self.looks += 1
        return 0

    def _matching(self, ns: Namespace, filter: Document) -> list[tuple[bytes, Document]]:
        identifier = filter.get("_id", MISSING)
        if identifier is not MISSING and not isinstance(identifier, dict):
            key = encode({"": identifier})
            raw = self.collections.get(ns, {}).get(key)
            return [(key, decode(raw))] if raw is not None else []
        pairs = ((key, decode(raw)) for key, raw in self.collections.get(ns, {}).items())
        return [(key, document) for key, document in pairs if _matches(document, filter)]


def _keyed(raw: bytes) -> bytes:
    return encode({"": decode(raw)["_id"]})


def _matches(document: Document, filter: Document) -> bool:
    for field, wanted in filter.items():
        value = document.get(field, MISSING)
        if isinstance(wanted, dict) and wanted.keys() <= {"$gt", "$lt"}:
            if (
                value is MISSING
                or value <= wanted.get("$gt", value - 1)
                or value >= wanted.get("$lt", value + 1)
            ):
                return False
        elif value != wanted:
            return False
    return True


def _changed(document: Document, change: Document | list[Document]) -> Document:
    assert isinstance(change, dict)
    if not next(iter(change), "").startswith("$"):
        return {"_id": document["_id"], **change} if "_id" in document else dict(change)
    after = dict(document)
    after.update(change.get("$set", {}))
    for field, step in change.get("$inc", {}).items():
        after[field] = after.get(field, 0) + step
    return after
