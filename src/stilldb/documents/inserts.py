"""insert: documents checked, their ``_id`` first, stored in batches; the refused ones are told apart."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import asyncpg
import bson
from bson import ObjectId, Regex

from stilldb.documents import rowchanges
from stilldb.documents.catalog import Catalog, Collection
from stilldb.documents.duplicates import duplicate_key, refused
from stilldb.documents.hot import HotDocuments
from stilldb.documents.indexes import ID_INDEX, REFUSALS, id_key
from stilldb.documents.model import Inserted, Namespace, WriteError
from stilldb.documents.pool import Pool, as_mongo
from stilldb.documents.reads import changed
from stilldb.documents.rowchanges import BecameMultikey, Entry
from stilldb.query.errors import MongoError
from stilldb.query.values import Document, decode, encode

LARGEST: Final = 16 * 2**20  # bytes of a document
DEEPEST: Final = 200  # levels of a document, as DocumentDB limits them
_SHALLOW: Final = 7 * DEEPEST  # bytes: each level of nesting costs seven at the least
_LEAST_BATCH, _MOST_BATCH = 250, 2000  # documents
_BATCH_BYTES: Final = 8 * 2**20
_TRIES: Final = 10
_INT: Final = struct.Struct("<i")


def check_id(value: object) -> None:
    """Raise InvalidIdField for what can't be an ``_id``."""
    if isinstance(value, list | Regex):
        kind = "array" if isinstance(value, list) else "regex"
        raise MongoError("InvalidIdField", f"The '_id' value cannot be of type {kind}")
    if isinstance(value, dict) and any(name.startswith("$") for name in value):
        raise MongoError("DollarPrefixedFieldName", "_id fields may not contain '$'-prefixed fields")


def check_stored(document: Document, raw: bytes) -> None:
    """Raise for a document that can't be stored."""
    if len(raw) > LARGEST:
        raise MongoError(
            "BSONObjectTooLarge",
            f"object to insert too large. size in bytes: {len(raw)}, max size: {LARGEST}",
        )
    if len(raw) > _SHALLOW and _deeper(document, DEEPEST):
        raise MongoError("Overflow", f"a document can't be nested deeper than {DEEPEST} levels")
    if b"$" in raw:
        for name in document:
            if name.startswith("$"):
                raise MongoError(
                    "DollarPrefixedFieldName",
                    f"The dollar ($) prefixed field '{name}' is not valid for storage.",
                )
    check_id(document["_id"])


def _deeper(value: object, levels: int) -> bool:
    """Whether documents and arrays are nested deeper than ``levels``."""
    layer = [value]
    while layer and levels > 0:
        inner = [list(item.values()) if isinstance(item, dict) else item for item in layer]
        layer = [
            part
            for items in inner
            if isinstance(items, list)
            for part in items
            if isinstance(part, dict | list)
        ]
        levels -= 1
    return bool(layer)


def prepared(raw: bytes) -> Entry:
    """The entry for a new document: with an ``_id``, in front. The bytes are kept as they came when that is so."""
    document = decode(raw)
    if "_id" not in document:
        own = ObjectId()
        raw = b"".join((_INT.pack(len(raw) + 17), b"\x07_id\x00", own.binary, raw[4:]))
        document = {"_id": own, **document}
    elif raw[5:9] != b"_id\x00":
        document = {"_id": document["_id"], **document}
        raw = encode(document)
    check_stored(document, raw)
    return Entry.of(id_key(document["_id"]), raw, document)


UNSTORABLE: Final = (MongoError, bson.errors.InvalidBSON, RecursionError)


class _Stored(NamedTuple):
    """What became of a batch."""

    documents: int
    refusals: list[WriteError]


class Inserter:
    """Inserts into every collection."""

    def __init__(self, pool: Pool, catalog: Catalog, hot: HotDocuments) -> None:
        self._pool = pool
        self._catalog = catalog
        self._hot = hot

    async def insert(self, namespace: Namespace, raws: list[bytes], *, ordered: bool) -> Inserted:
        """Store documents in batches, each durable before the next is sent. With ``ordered`` the first error ends it.

        While PostgreSQL stores one batch, the next is made ready.
        """
        if len(raws) == 1:
            return await self._insert_one(namespace, raws[0])
        count = 0
        errors: list[WriteError] = []
        running: asyncio.Task[_Stored] | None = None
        try:
            for batch, refusals in _prepared_batches(raws, ordered):
                if running is not None:
                    stored = await running
                    count += stored.documents
                    errors += stored.refusals
                    if ordered and stored.refusals:
                        return Inserted(count, errors)
                running = asyncio.create_task(self._batch(namespace, batch, ordered)) if batch else None
                await asyncio.sleep(0)  # let it send its statement
                errors += refusals
            if running is not None:
                stored = await running
                count += stored.documents
                # What a batch refuses stands before what could not be prepared after it.
                errors = stored.refusals if ordered and stored.refusals else errors + stored.refusals
        finally:
            if running is not None and not running.done():
                running.cancel()
        return Inserted(count, sorted(errors, key=lambda error: error.index))

    async def _insert_one(self, namespace: Namespace, raw: bytes) -> Inserted:
        """The same for one document, the most used write of all."""
        try:
            entry = prepared(raw)
        except UNSTORABLE as error:
            return Inserted(0, [WriteError(0, _refusal(error))])
        stored = await self._batch(namespace, [(0, entry)], ordered=True)
        return Inserted(stored.documents, stored.refusals)

    async def _batch(self, namespace: Namespace, batch: list[tuple[int, Entry]], ordered: bool) -> _Stored:
        for _ in range(_TRIES):
            collection = self._catalog.known(namespace) or await self._catalog.find_or_create(namespace)
            try:
                stored = await self._together(collection, batch, ordered)
                if stored is not None:
                    return stored
            except BecameMultikey as found:
                await self._catalog.mark_multikey(found.index)
            except asyncpg.UndefinedTableError:
                pass
            except MongoError as error:
                if error.name != "WriteConflict":  # of a deadlock, or of other indexes: all of it is undone
                    raise
            self._catalog.forget(namespace)
        raise changed(namespace)

    async def _together(
        self, collection: Collection, batch: list[tuple[int, Entry]], ordered: bool
    ) -> _Stored | None:
        """Store a batch by one statement, or part of it if some are refused; None when the collection has changed."""
        entries = [entry for _, entry in batch]
        places = [(collection.id, entry.id) for entry in entries]
        tickets = [self._hot.reading(place) for place in places]
        try:
            async with self._pool.connection() as connection:
                stored = await rowchanges.insert(connection, collection, entries)
        except (asyncpg.UniqueViolationError, MongoError) as error:
            refusal = _told(error, collection, entries[0])
            if len(batch) == 1:
                return _Stored(0, [WriteError(batch[0][0], refusal)])
            return await self._one_by_one(collection, batch, ordered)
        if not stored:
            return None
        for ticket, place, entry in zip(tickets, places, entries, strict=True):
            self._hot.keep_read(ticket, place, entry.raw)
        return _Stored(len(entries), [])

    async def _one_by_one(
        self, collection: Collection, batch: list[tuple[int, Entry]], ordered: bool
    ) -> _Stored:
        """Some are refused: those whose ``_id`` is taken are set aside first, the rest goes in as one if it can."""
        errors: list[WriteError] = []
        left: list[tuple[int, Entry]] = []
        async with self._catalog.changing() as connection:
            rows = await connection.fetch(
                f"SELECT id FROM {collection.table} WHERE id = ANY($1::bytea[])",
                [entry.id for _, entry in batch],
            )
            taken = {row["id"] for row in rows}
            for number, entry in batch:
                if entry.id in taken:
                    errors.append(WriteError(number, refused(collection, ID_INDEX, entry.document)))
                    if ordered:
                        break
                else:
                    taken.add(entry.id)
                    left.append((number, entry))
            more = await self._carefully(connection, collection, left, ordered)
        if ordered and more:
            errors = more
        else:
            errors += more
        refusals = {error.index for error in more}
        last = errors[0].index if ordered and errors else None
        stored = [number for number, _ in left if number not in refusals and (last is None or number < last)]
        return _Stored(len(stored), errors)

    async def _carefully(
        self,
        connection: asyncpg.Connection,
        collection: Collection,
        entries: list[tuple[int, Entry]],
        ordered: bool,
    ) -> list[WriteError]:
        """Store what can be stored, each refusal undone by a savepoint; halves, until the refused ones stand alone."""
        if not entries:
            return []
        try:
            async with connection.transaction():
                stored = await rowchanges.insert(connection, collection, [entry for _, entry in entries])
        except (asyncpg.UniqueViolationError, asyncpg.ProgramLimitExceededError, MongoError) as error:
            if len(entries) == 1:
                return [WriteError(entries[0][0], _told(error, collection, entries[0][1]))]
        else:
            if not stored:
                raise changed(collection.namespace)
            return []
        middle = len(entries) // 2
        first = await self._carefully(connection, collection, entries[:middle], ordered)
        if first and ordered:
            return first
        return first + await self._carefully(connection, collection, entries[middle:], ordered)


def _told(error: Exception, collection: Collection, entry: Entry) -> MongoError:
    """The document's own error; anything else goes on its way."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return duplicate_key(error, collection, entry.document)
    told = error if isinstance(error, MongoError) else as_mongo(error)
    if told is not None and told.name in REFUSALS:
        return told
    raise error


def _prepared_batches(
    raws: list[bytes], ordered: bool
) -> Iterator[tuple[list[tuple[int, Entry]], list[WriteError]]]:
    """Batches of documents made ready, with those that can't be; with ``ordered`` the first of these ends it."""
    most = max(_LEAST_BATCH, min(_MOST_BATCH, len(raws) // 4))
    batch: list[tuple[int, Entry]] = []
    refusals: list[WriteError] = []
    size = 0
    for number, raw in enumerate(raws):
        if batch and (len(batch) >= most or size + len(raw) > _BATCH_BYTES):
            yield batch, refusals
            batch, refusals, size = [], [], 0
        try:
            batch.append((number, prepared(raw)))
            size += len(raw)
        except UNSTORABLE as error:
            refusals.append(WriteError(number, _refusal(error)))
            if ordered:
                break
    yield batch, refusals


def _refusal(error: Exception) -> MongoError:
    if isinstance(error, MongoError):
        return error
    if isinstance(error, RecursionError):
        return MongoError("Overflow", f"a document can't be nested deeper than {DEEPEST} levels")
    return MongoError("InvalidBSON", str(error))
