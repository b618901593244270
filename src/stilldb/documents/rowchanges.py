"""SQL that stores documents and keeps every index in step with them, in one statement each.

Each statement asks whether the collection still has the version that the caller knows, and whether this gateway is still the
writer; if not, it stores nothing, and the caller reads the catalog again. Building an index locks the table against writers, so none can come between.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, NamedTuple

import asyncpg

from stilldb.documents import queryform
from stilldb.documents.catalog import Collection
from stilldb.documents.hot import NothingSent
from stilldb.documents.indexes import Index
from stilldb.query.values import Document


class Entry(NamedTuple):
    """A document as it is stored."""

    id: bytes
    raw: bytes
    document: Document
    form: bytes | None

    @classmethod
    def of(cls, key: bytes, raw: bytes, document: Document) -> Entry:
        """The entry of a document whose BSON is ``raw``."""
        return cls(key, raw, document, queryform.encode(document, raw))


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One document before and after. ``after`` None: it goes."""

    id: bytes
    raw: bytes
    before: Document
    after: Entry | None


class BecameMultikey(NothingSent):
    """A document has more than one key in an index that so far had one for each: the catalog must know first."""

    def __init__(self, index: Index) -> None:
        super().__init__(index.name)
        self.index = index


def _keys(index: Index, document: Document) -> list[bytes]:
    found = index.keys(document)
    if len(found) > 1 and not index.multikey:
        raise BecameMultikey(index)
    return found


def _alive(collection: Collection) -> str:
    return (
        "SELECT 1 FROM stilldb.collections, stilldb.writer "
        f"WHERE id = {collection.id} AND version = $1 AND epoch = {collection.epoch}"
    )


async def insert(connection: asyncpg.Connection, collection: Collection, entries: list[Entry]) -> bool:
    """Store new documents, all or none; False when the collection has changed. Raises asyncpg.UniqueViolationError."""
    if len(entries) == 1 and not collection.indexes:
        return await _insert_one(connection, collection, entries[0])
    entries = sorted(
        entries, key=lambda entry: entry.id
    )  # two that insert the same ids wait, and do not deadlock
    params: list[Any] = [
        collection.version,
        [entry.id for entry in entries],
        [entry.raw for entry in entries],
        [entry.form for entry in entries],
    ]
    parts = [
        f"alive AS ({_alive(collection)})",
        f"d AS (INSERT INTO {collection.table} (id, doc, j) SELECT u.* FROM "
        "unnest($2::bytea[], $3::bytea[], $4::jsonb[]) u, alive RETURNING 1)",
    ]
    for index in collection.indexes:
        found = sorted((key, entry.id) for entry in entries for key in _keys(index, entry.document))
        parts.append(_adding(index, found, params, "alive"))
    stored = await connection.fetchval(f"WITH {', '.join(parts)} SELECT count(*) FROM d", *params)
    return bool(stored == len(entries))


async def copy(connection: asyncpg.Connection, collection: Collection, slices: Iterable[list[Entry]]) -> bool:
    """The same for many, in the connection's transaction; a slice is asked for when PostgreSQL has taken the one before."""
    # Under the lock no index can be built, so what is asked after it stays so.
    await connection.execute(f"LOCK TABLE {collection.table} IN ROW EXCLUSIVE MODE")
    if not await connection.fetchval(_alive(collection), collection.version):
        return False
    keys: list[list[tuple[bytes, bytes]]] = [[] for _ in collection.indexes]

    async def rows() -> AsyncIterator[bytes]:
        yield _COPY_HEADER
        for entries in slices:
            for index, found in zip(collection.indexes, keys, strict=True):
                found.extend((key, entry.id) for entry in entries for key in _keys(index, entry.document))
            yield b"".join(map(_copy_row, entries))
        yield _COPY_END

    schema, table = collection.table.split(".")
    await connection.copy_to_table(
        table, schema_name=schema, columns=("id", "doc", "j"), source=rows(), format="binary"
    )
    for index, found in zip(collection.indexes, keys, strict=True):
        schema, table = index.table.split(".")
        await connection.copy_records_to_table(
            table, schema_name=schema, columns=("key", "id"), records=sorted(found)
        )
    return True


# The binary form of COPY: each row the number of its columns, each column its length, -1 for NULL, and its bytes.
_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END: Final = b"\xff\xff"
_COLUMNS: Final = (3).to_bytes(2, "big")
_NULL: Final = b"\xff\xff\xff\xff"
_JSONB: Final = b"\x01"  # the version of jsonb's binary form, which is its text
_length: Final = struct.Struct(">i").pack


def _copy_row(entry: Entry) -> bytes:
    key, raw, _, form = entry
    head = (_COLUMNS, _length(len(key)), key, _length(len(raw)), raw)
    if form is None:
        return b"".join((*head, _NULL))
    return b"".join((*head, _length(len(form) + 1), _JSONB, form))


async def _insert_one(connection: asyncpg.Connection, collection: Collection, entry: Entry) -> bool:
    """The same in fewer words, for the most used write of all."""
    status: str = await connection.execute(
        f"INSERT INTO {collection.table} (id, doc, j) SELECT $2, $3, $4::jsonb WHERE EXISTS ({_alive(collection)})",
        collection.version,
        entry.id,
        entry.raw,
        entry.form,
    )
    return status.endswith(" 1")


def _adding(index: Index, found: list[tuple[bytes, bytes]], params: list[Any], source: str) -> str:
    """A part that adds pairs of key and id to an index."""
    params += [[key for key, _ in found], [id for _, id in found]]
    place = len(params)
    return (
        f"a{index.id} AS (INSERT INTO {index.table} (key, id) SELECT u.* FROM "
        f"unnest(${place - 1}::bytea[], ${place}::bytea[]) u WHERE EXISTS (SELECT 1 FROM {source}))"
    )


def _removing(index: Index, found: list[tuple[bytes, bytes]], params: list[Any], source: str) -> str:
    """A part that takes pairs of key and id out of an index."""
    params += [[key for key, _ in found], [id for _, id in found]]
    place = len(params)
    return (
        f"r{index.id} AS (DELETE FROM {index.table} i USING unnest(${place - 1}::bytea[], ${place}::bytea[]) u(key, id) "
        f"WHERE i.key = u.key AND i.id = u.id AND EXISTS (SELECT 1 FROM {source}))"
    )


def _difference(index: Index, change: Change) -> tuple[set[bytes], set[bytes]]:
    """Keys that the document loses, and keys that it gains."""
    before = set(index.keys(change.before))
    after = set(_keys(index, change.after.document)) if change.after else set()
    return before - after, after - before


async def swap(connection: asyncpg.Connection, collection: Collection, change: Change) -> bool:
    """Store one change if the document is still as it was read; False when it or the collection has changed."""
    params: list[Any] = [collection.version, change.id, change.raw]
    where = f"WHERE id = $2 AND doc = $3 AND EXISTS ({_alive(collection)})"
    if change.after is None:
        base = f"DELETE FROM {collection.table} {where}"
    else:
        params += [change.after.raw, change.after.form]
        base = f"UPDATE {collection.table} SET doc = $4, j = $5::jsonb {where}"
    parts = [f"d AS ({base} RETURNING 1)"]
    for index in collection.indexes:
        lost, gained = _difference(index, change)
        if lost:
            parts.append(_removing(index, [(key, change.id) for key in lost], params, "d"))
        if gained:
            parts.append(_adding(index, [(key, change.id) for key in gained], params, "d"))
    if len(parts) == 1:
        status: str = await connection.execute(base, *params)
        return status.endswith(" 1")
    stored = await connection.fetchval(f"WITH {', '.join(parts)} SELECT count(*) FROM d", *params)
    return bool(stored)


async def store(connection: asyncpg.Connection, collection: Collection, changes: list[Change]) -> None:
    """Store changes of documents that this transaction has locked. Keys that go, go first: another may need them."""
    gains: list[tuple[Index, list[tuple[bytes, bytes]]]] = []
    for index in collection.indexes:
        lost: list[tuple[bytes, bytes]] = []
        gained: list[tuple[bytes, bytes]] = []
        for change in changes:
            old, new = _difference(index, change)
            lost += [(key, change.id) for key in old]
            gained += [(key, change.id) for key in new]
        gains.append((index, gained))
        if lost:
            await connection.execute(
                f"DELETE FROM {index.table} i USING unnest($1::bytea[], $2::bytea[]) u(key, id) "
                "WHERE i.key = u.key AND i.id = u.id",
                [key for key, _ in lost],
                [id for _, id in lost],
            )
    await _store_documents(connection, collection, changes)
    for index, gained in gains:
        if gained:
            await connection.execute(
                f"INSERT INTO {index.table} (key, id) SELECT * FROM unnest($1::bytea[], $2::bytea[])",
                [key for key, _ in gained],
                [id for _, id in gained],
            )


async def _store_documents(
    connection: asyncpg.Connection, collection: Collection, changes: list[Change]
) -> None:
    gone = [change.id for change in changes if change.after is None]
    if gone:
        await connection.execute(f"DELETE FROM {collection.table} WHERE id = ANY($1::bytea[])", gone)
    kept = [change.after for change in changes if change.after is not None]
    if kept:
        await connection.execute(
            f"UPDATE {collection.table} c SET doc = u.doc, j = u.j "
            "FROM unnest($1::bytea[], $2::bytea[], $3::jsonb[]) u(id, doc, j) WHERE c.id = u.id",
            [entry.id for entry in kept],
            [entry.raw for entry in kept],
            [entry.form for entry in kept],
        )
