"""update, delete, findAndModify: the engine computes each new document, SQL stores it if nothing changed meanwhile.

One document is changed by comparing and swapping: read it, compute, store on condition that the stored bytes are still those
read, else begin again. Many are changed in one transaction that locks them in the order of ``_id``, so a statement is atomic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import asyncpg

from stilldb.documents import rowchanges
from stilldb.documents.access import Hint, access
from stilldb.documents.catalog import Catalog, Collection
from stilldb.documents.duplicates import duplicate_key
from stilldb.documents.hot import HotDocuments, NothingSent, Transaction
from stilldb.documents.indexes import id_key
from stilldb.documents.inserts import Inserter, check_stored
from stilldb.documents.model import Delete, FindAndModify, Modified, Namespace, Update, Updated
from stilldb.documents.pool import Pool
from stilldb.documents.reads import Query, Reader, changed, page_statement
from stilldb.documents.rowchanges import BecameMultikey, Change, Entry
from stilldb.documents.updates import Updater
from stilldb.query.errors import MongoError
from stilldb.query.order import compile_sort
from stilldb.query.projection import compile_projection
from stilldb.query.values import Document, decode, encode

_TRIES: Final = (
    1000  # of one document under others' writes: each failure means that another write got through
)
_BATCH: Final = 1000  # documents locked and changed at a time
Transform = Callable[[Document], Document | None]


class Writer:
    """Changes of documents that are there, in every collection."""

    def __init__(
        self, pool: Pool, catalog: Catalog, hot: HotDocuments, reader: Reader, inserter: Inserter
    ) -> None:
        self._pool = pool
        self._catalog = catalog
        self._hot = hot
        self._reader = reader
        self._inserter = inserter

    # -- the three commands

    async def update(self, namespace: Namespace, update: Update) -> Updated:
        """Change the first or every match; with ``upsert``, make a document when there is none."""
        query = self._reader.query(update.filter)
        updater = Updater.of(update.change, update.array_filters, update.filter, multi=update.multi)
        for _ in range(_TRIES):
            if update.multi:
                matched, modified = await self._change_all(namespace, query, updater.apply, update.hint)
            else:
                found = await self._change_one(namespace, query, updater.apply, update.hint, None)
                matched, modified = (0, 0) if found is None else (1, int(found.modified))
            if matched or not update.upsert:
                return Updated(matched, modified)
            made = await self._upsert(namespace, updater)
            if made is not None:
                return Updated(0, 0, made["_id"])
        raise changed(namespace)

    async def delete(self, namespace: Namespace, delete: Delete) -> int:
        """Remove the first or every match; how many."""
        query = self._reader.query(delete.filter)
        if delete.one:
            found = await self._change_one(namespace, query, lambda _: None, delete.hint, None)
            return 0 if found is None else 1
        removed, _ = await self._change_all(namespace, query, lambda _: None, delete.hint)
        return removed

    async def find_and_modify(self, namespace: Namespace, request: FindAndModify) -> Modified:
        """Change or remove the first match in an order, and give it back."""
        query = self._reader.query(request.filter)
        project = (
            compile_projection(request.projection, request.filter)
            if request.projection
            else lambda document: document
        )

        def given(document: Document) -> bytes:
            return encode(project(document))

        if request.change is None:
            found = await self._change_one(namespace, query, lambda _: None, request.hint, request.sort)
            return Modified(None if found is None else given(found.before), found is not None)
        updater = Updater.of(request.change, request.array_filters, request.filter, multi=False)
        for _ in range(_TRIES):
            found = await self._change_one(namespace, query, updater.apply, request.hint, request.sort)
            if found is not None:
                document = found.after if request.new else found.before
                return Modified(None if document is None else given(document), True)
            if not request.upsert:
                return Modified(None, False)
            made = await self._upsert(namespace, updater)
            if made is not None:
                return Modified(given(made) if request.new else None, False, made["_id"])
        raise changed(namespace)

    # -- one document

    async def _change_one(
        self,
        namespace: Namespace,
        query: Query,
        transform: Transform,
        hint: Hint,
        sort: Document | None,
    ) -> _Changed | None:
        """Change the first match; None when there is none."""
        for _ in range(_TRIES):
            found = await self._first(namespace, query, hint, sort)
            if found is None:
                return None
            key, raw = found
            before = decode(raw)
            after = transform(before)
            entry = None if after is None else _entry(key, before, after)
            if entry is not None and entry.raw == raw:
                return _Changed(before, after, modified=False)
            if await self._swap(namespace, Change(key, raw, before, entry)):
                return _Changed(before, after, modified=True)
        raise changed(namespace)

    async def _first(
        self, namespace: Namespace, query: Query, hint: Hint, sort: Document | None
    ) -> tuple[bytes, bytes] | None:
        """Key and BSON of the first match in an order, by default that of ``_id``."""
        if query.by_id:
            raw = await self._reader.by_id(namespace, query.spec["_id"])
            return None if raw is None else (id_key(query.spec["_id"]), raw)
        key = compile_sort(sort) if sort else None
        best: tuple[Any, bytes, bytes] | None = None
        async for rows in self._reader.rows(namespace, query, hint, most=None if key else 1):
            for row in rows:
                if key is None:
                    return row["id"], row["doc"]
                place = key(decode(row["doc"]))
                if best is None or place < best[0]:
                    best = (place, row["id"], row["doc"])
        return None if best is None else best[1:]

    async def _swap(self, namespace: Namespace, change: Change) -> bool:
        """Store a change; False when the document or the collection is no longer as it was."""
        collection = await self._catalog.find(namespace)
        if collection is None:
            return False
        try:
            async with self._pool.connection() as connection:
                with self._hot.writing((collection.id, change.id)) as outcome:
                    stored = await rowchanges.swap(connection, collection, change)
                    if stored and change.after is not None:
                        outcome.raw = change.after.raw
        except asyncpg.UniqueViolationError as error:
            raise duplicate_key(
                error, collection, None if change.after is None else change.after.document
            ) from None
        except BecameMultikey as found:
            await self._catalog.mark_multikey(found.index)
            stored = False
        except asyncpg.UndefinedTableError:
            stored = False
        except MongoError as error:
            if error.name != "WriteConflict":  # of a deadlock
                raise
            stored = False
        if not stored:
            self._catalog.forget(namespace)
        return stored

    async def _upsert(self, namespace: Namespace, updater: Updater) -> Document | None:
        """Insert the document of an upsert; None when another made one with its ``_id`` meanwhile."""
        made = updater.inserted()
        raw = encode(made)
        result = await self._inserter.insert(namespace, [raw], ordered=True)
        if not result.errors:
            return made
        error = result.errors[0].error
        if error.name == "DuplicateKey" and await self._now_matches(namespace, updater):
            return None
        raise error

    async def _now_matches(self, namespace: Namespace, updater: Updater) -> bool:
        query = self._reader.query(updater.filter)
        return await self._first(namespace, query, None, None) is not None

    # -- many documents

    async def _change_all(
        self, namespace: Namespace, query: Query, transform: Transform, hint: Hint
    ) -> tuple[int, int]:
        """Change every match in one transaction: how many matched, how many differ afterwards."""
        for _ in range(_TRIES):
            collection = await self._catalog.find(namespace)
            if collection is None:
                return 0, 0
            try:
                with self._hot.writing_many() as transaction:
                    return await self._change_locked(collection, query, transform, hint, transaction)
            except BecameMultikey as found:
                await self._catalog.mark_multikey(found.index)
            except asyncpg.UniqueViolationError as error:
                raise duplicate_key(error, collection, None) from None
            except MongoError as error:
                if error.name != "WriteConflict":  # of a deadlock: the whole transaction is undone
                    raise
            except (asyncpg.UndefinedTableError, _Stale):
                pass
            self._catalog.forget(namespace)
        raise changed(namespace)

    async def _change_locked(
        self, collection: Collection, query: Query, transform: Transform, hint: Hint, transaction: Transaction
    ) -> tuple[int, int]:
        matched = modified = 0
        last: list[bytes] = []
        async with self._catalog.changing() as connection:
            await _fence(connection, collection)
            while True:
                made = access(collection, query.plan, hint)
                statement = page_statement(made, last, _BATCH)
                ids = [row["id"] for row in await connection.fetch(statement, *made.params)]
                if not ids:
                    transaction.commits = True
                    return matched, modified
                last = ids[-1:]
                rows = await connection.fetch(
                    f"SELECT id, doc FROM {collection.table} WHERE id = ANY($1::bytea[]) ORDER BY id FOR UPDATE",
                    ids,
                )
                found = [(row, decode(row["doc"])) for row in rows]
                pairs = [(row, document) for row, document in found if query.matches(document)]
                changes = [
                    change
                    for row, document in pairs
                    if (change := _change(row, document, transform)) is not None
                ]
                matched += len(pairs)
                modified += len(changes)
                await rowchanges.store(connection, collection, changes)


class _Stale(NothingSent):
    """The collection's indexes are not those that the caller knows."""


async def _fence(connection: asyncpg.Connection, collection: Collection) -> None:
    """Keep the indexes as they are until the transaction ends; raises _Stale when they are others already."""
    await connection.execute(f"LOCK TABLE {collection.table} IN ROW EXCLUSIVE MODE")
    version = await connection.fetchval(
        "SELECT version FROM stilldb.collections WHERE id = $1", collection.id
    )
    if version != collection.version:
        raise _Stale


def _change(row: asyncpg.Record, before: Document, transform: Transform) -> Change | None:
    """The change of a locked document; None when it stays as it is."""
    after = transform(before)
    if after is None:
        return Change(row["id"], row["doc"], before, None)
    entry = _entry(row["id"], before, after)
    return None if entry.raw == row["doc"] else Change(row["id"], row["doc"], before, entry)


def _entry(key: bytes, before: Document, after: Document) -> Entry:
    if after["_id"] is not before["_id"] and id_key(after["_id"]) != key:
        raise MongoError(
            "ImmutableField", "Performing an update on the path '_id' would modify the immutable field '_id'"
        )
    raw = encode(after)
    check_stored(after, raw)
    return Entry.of(key, raw, after)


class _Changed:
    """One document before and after; ``after`` None: it was removed."""

    __slots__ = ("after", "before", "modified")

    def __init__(self, before: Document, after: Document | None, *, modified: bool) -> None:
        self.before = before
        self.after = after
        self.modified = modified
