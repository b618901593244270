"""createIndexes, listIndexes, dropIndexes. A build holds writers off the collection and reads it in pages."""

from __future__ import annotations

import dataclasses
from typing import Final

import asyncpg
import bson

from stilldb.documents import catalog
from stilldb.documents.catalog import MOST_INDEXES, Catalog, Collection
from stilldb.documents.duplicates import duplicate_key
from stilldb.documents.indexes import ID_INDEX, Index, default_name, normalised
from stilldb.documents.model import IndexesMade, Namespace
from stilldb.query.errors import MongoError
from stilldb.query.values import Document, decode

_PAGE: Final = 2000  # documents
_SCAN: Final = "SELECT id, doc FROM {table} WHERE id > $1 ORDER BY id LIMIT $2"
_LIFT: Final = "UPDATE stilldb.collections SET version = version + 1 WHERE id = $1"


class Builder:
    """The indexes of every collection."""

    def __init__(self, known: Catalog) -> None:
        self._catalog = known

    async def create(self, namespace: Namespace, specs: list[Document]) -> IndexesMade:
        """Make indexes, all or none; what is there already is left alone."""
        wanted = [normalised(spec) for spec in specs]
        created = await self._catalog.find(namespace) is None and await self._catalog.create(
            namespace, {}, may_exist=True
        )
        try:
            async with self._catalog.changing() as connection:
                collection = await self._locked(connection, namespace)
                new = _missing(collection, wanted)
                for spec in new:
                    await build(connection, collection, spec)
                if new:
                    await connection.execute(_LIFT, collection.id)
        finally:
            self._catalog.forget(namespace)
        before = len(collection.indexes) + 1
        return IndexesMade(before, before + len(new), created)

    async def _locked(self, connection: asyncpg.Connection, namespace: Namespace) -> Collection:
        collection = await catalog.read(connection, namespace, lock=True)
        if collection is None:
            raise MongoError("NamespaceNotFound", f"ns does not exist: {namespace}")
        await connection.execute(f"LOCK TABLE {collection.table} IN SHARE ROW EXCLUSIVE MODE")
        return collection

    async def specs(self, namespace: Namespace) -> list[Document]:
        """The specification of every index, ``_id``'s first; raises NamespaceNotFound."""
        self._catalog.forget(namespace)
        collection = await self._catalog.find(namespace)
        if collection is None:
            raise MongoError("NamespaceNotFound", f"ns does not exist: {namespace}")
        return [dict(ID_INDEX), *(index.spec for index in collection.indexes)]

    async def drop(self, namespace: Namespace, which: str | Document | list[str]) -> int:
        """Remove indexes by name, by key, or all (``*``) but ``_id``'s; how many there were before."""
        try:
            async with self._catalog.changing() as connection:
                collection = await self._locked(connection, namespace)
                doomed = _chosen(collection, which)
                for index in doomed:
                    await connection.execute("DELETE FROM stilldb.indexes WHERE id = $1", index.id)
                    await connection.execute(f"DROP TABLE {index.table}")
                if doomed:
                    await connection.execute(_LIFT, collection.id)
        finally:
            self._catalog.forget(namespace)
        return len(collection.indexes) + 1


def _missing(collection: Collection, wanted: list[Document]) -> list[Document]:
    """Those of ``wanted`` that are not there; raises for those that contradict one that is."""
    there = [ID_INDEX, *(index.spec for index in collection.indexes)]
    new: list[Document] = []
    for spec in wanted:
        if not any(_same(spec, other) for other in [*there, *new]):
            new.append(spec)
    if len(there) + len(new) > MOST_INDEXES:
        raise MongoError(
            "CannotCreateIndex",
            f"add index fails, too many indexes for {collection.namespace}; the limit is {MOST_INDEXES}",
        )
    return new


def _same(spec: Document, other: Document) -> bool:
    same_key = list(spec["key"].items()) == list(other["key"].items())
    same_name = spec["name"] == other["name"]
    if same_key and same_name:
        if _options(spec) == _options(other):
            return True
        raise MongoError(
            "IndexKeySpecsConflict",
            f"An existing index has the same name as the requested index. Requested index: {spec}, existing index: {other}",
        )
    if same_name:
        raise MongoError(
            "IndexKeySpecsConflict",
            f"An existing index has the same name as the requested index, with another key: {other['name']}",
        )
    if same_key and spec.get("partialFilterExpression") == other.get("partialFilterExpression"):
        raise MongoError(
            "IndexOptionsConflict", f"Index already exists with a different name: {other['name']}"
        )
    return False


def _options(spec: Document) -> Document:
    return {name: value for name, value in spec.items() if name not in ("v", "key", "name")}


def _chosen(collection: Collection, which: str | Document | list[str]) -> list[Index]:
    if which == "*":
        return list(collection.indexes)
    if isinstance(which, list):
        return [index for name in which for index in _chosen(collection, name)]
    if which in ("_id_", {"_id": 1}):
        raise MongoError("InvalidOptions", "cannot drop _id index")
    if isinstance(which, dict):
        found = [
            index for index in collection.indexes if list(index.spec["key"].items()) == list(which.items())
        ]
        if not found:
            raise MongoError("IndexNotFound", f"can't find index with key: {default_name(which)}")
        return found
    found = [index for index in collection.indexes if index.name == which]
    if not found:
        raise MongoError("IndexNotFound", f"index not found with name [{which}]")
    return found


async def build(
    connection: asyncpg.Connection, collection: Collection, spec: Document, *, multikey: bool = False
) -> None:
    """Describe the index, fill its table, and give it its key last: one sort is cheaper than many insertions."""
    number = await connection.fetchval(
        "INSERT INTO stilldb.indexes (collection, name, spec) VALUES ($1, $2, $3) RETURNING id",
        collection.id,
        spec["name"],
        bson.encode(spec),
    )
    index = Index.of(number, spec, False)
    await connection.execute(f"CREATE TABLE {index.table} (key bytea NOT NULL, id bytea NOT NULL)")
    multikey = await _fill(connection, collection, index) or multikey
    columns = "key" if index.unique else "key, id"
    try:
        await connection.execute(f"ALTER TABLE {index.table} ADD PRIMARY KEY ({columns})")
    except asyncpg.UniqueViolationError as error:
        described = dataclasses.replace(collection, indexes=(index,))
        raise duplicate_key(error, described, None) from None
    if multikey:
        await connection.execute("UPDATE stilldb.indexes SET multikey = true WHERE id = $1", number)


async def _fill(connection: asyncpg.Connection, collection: Collection, index: Index) -> bool:
    """Write the keys of every document; whether one has more than one."""
    multikey = False
    last = b""
    while True:
        rows = await connection.fetch(_SCAN.format(table=collection.table), last, _PAGE)
        if not rows:
            return multikey
        last = rows[-1]["id"]
        records = []
        for row in rows:
            keys = index.keys(decode(row["doc"]))
            multikey = multikey or len(keys) > 1
            records += [(key, row["id"]) for key in keys]
        await connection.copy_records_to_table(
            index.table.removeprefix("stilldb."), records=records, schema_name="stilldb"
        )
