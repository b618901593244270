"""insert: documents checked, their ``_id`` first, stored in batches; the refused ones are told apart."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import Final

import asyncpg
import bson
from bson import ObjectId, Regex

from stilldb.documents import rowchanges
from stilldb.documents.catalog import Catalog, Collection
from stilldb.documents.duplicates import duplicate_key, refused
from stilldb.documents.hot import HotDocuments, Place
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
_MOST_BATCH: Final = 2000  # documents
_COPIED: Final = 64  # documents from which on a batch is copied in
_SLICE: Final = 100  # documents that are made ready at once
_BATCH_BYTES: Final = 8 * 2**20
_TRIES: Final = 10
_PLAIN_IDS: Final = frozenset({ObjectId, int, str})
_INT: Final = struct.Struct("<i")


def check_id(value: object) -> None:
    """Raise InvalidIdField for what can't be an ``_id``."""
    if type(value) in _PLAIN_IDS:
        return
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


class Inserter:
    """Inserts into every collection."""

    def __init__(self, pool: Pool, catalog: Catalog, hot: HotDocuments) -> None:
        self._pool = pool
        self._catalog = catalog
        self._hot = hot

    async def insert(self, namespace: Namespace, raws: list[bytes], *, ordered: bool) -> Inserted:
        """Store documents in batches, each durable before the next begins. With ``ordered`` the first error ends it."""
        count = 0
        errors: list[WriteError] = []
        for batch in _batches(raws, ordered):
            count += await self._store(namespace, batch)
            errors += batch.refusals
            if ordered and errors:
                break
        return Inserted(count, sorted(errors, key=lambda error: error.index))

    async def _store(self, namespace: Namespace, batch: _Batch) -> int:
        """How many documents of a batch were stored; what was refused is added to its refusals."""
        for _ in range(_TRIES):
            collection = self._catalog.known(namespace) or await self._catalog.find_or_create(namespace)
            try:
                stored = await self._together(collection, batch)
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

    async def _together(self, collection: Collection, batch: _Batch) -> int | None:
        """Store a batch at once, or part of it if some are refused; None when the collection has changed."""
        if len(batch.raws) >= _COPIED:
            try:
                return await self._copied(collection, batch)
            except (asyncpg.UniqueViolationError, MongoError) as error:
                return await self._one_by_one(collection, batch, list(batch.entries()), error)
        ready = list(batch.entries())
        try:
            return len(ready) if await self._inserted(collection, [entry for _, entry in ready]) else None
        except (asyncpg.UniqueViolationError, MongoError) as error:
            return await self._one_by_one(collection, batch, ready, error)

    async def _copied(self, collection: Collection, batch: _Batch) -> int | None:
        """A large batch, its documents made ready while PostgreSQL stores those before them."""
        ticket = self._hot.storing()
        kept: list[tuple[Place, bytes]] = []

        def slices() -> Iterator[list[Entry]]:
            for entries in batch.slices():
                yield entries
                kept.extend(((collection.id, entry.id), entry.raw) for entry in entries)

        async with self._pool.transaction() as connection:
            if not await rowchanges.copy(connection, collection, slices()):
                return None
        self._hot.keep_stored(ticket, kept)
        return len(kept)

    async def _inserted(self, collection: Collection, entries: list[Entry]) -> bool:
        """A small batch, by one statement; it is likely to be read soon."""
        places = [(collection.id, entry.id) for entry in entries]
        tickets = [self._hot.reading(place) for place in places]
        async with self._pool.connection() as connection:
            if entries and not await rowchanges.insert(connection, collection, entries):
                return False
        for ticket, place, entry in zip(tickets, places, entries, strict=True):
            self._hot.keep_read(ticket, place, entry.raw)
        return True

    async def _one_by_one(
        self, collection: Collection, batch: _Batch, ready: list[tuple[int, Entry]], error: Exception
    ) -> int:
        """Some are refused: those whose ``_id`` is taken are set aside first, the rest goes in as one if it can."""
        refusal = _told(error, collection, ready[0][1])
        if len(ready) == 1:
            batch.refusals.append(WriteError(ready[0][0], refusal))
            return 0
        ordered = batch.ordered
        errors: list[WriteError] = []
        left: list[tuple[int, Entry]] = []
        async with self._catalog.changing() as connection:
            rows = await connection.fetch(
                f"SELECT id FROM {collection.table} WHERE id = ANY($1::bytea[])",
                [entry.id for _, entry in ready],
            )
            taken = {row["id"] for row in rows}
            for number, entry in ready:
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
        if ordered and errors:
            batch.refusals = errors  # they stand before what could not be prepared
        else:
            batch.refusals += errors
        return len(stored)

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


class _Batch:
    """Documents that are stored together. ``refusals`` tells of those that can't be stored; with ``ordered`` nothing follows one.

    They are made ready anew each time they are asked for: kept, a thousand decoded documents would cost more than that.
    """

    def __init__(self, raws: Sequence[bytes], first: int, ordered: bool) -> None:
        self.raws = raws
        self.first = first
        self.ordered = ordered
        self.refusals: list[WriteError] = []

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """Number and entry of each that can be stored."""
        self.refusals = []
        for number, raw in enumerate(self.raws, self.first):
            try:
                entry = prepared(raw)
            except UNSTORABLE as error:
                self.refusals.append(WriteError(number, _refusal(error)))
                if self.ordered:
                    return
            else:
                yield number, entry

    def slices(self) -> Iterator[list[Entry]]:
        """The entries, some at a time."""
        coming = self.entries()
        while ready := [entry for _, entry in itertools.islice(coming, _SLICE)]:
            yield ready


def _batches(raws: list[bytes], ordered: bool) -> Iterator[_Batch]:
    first = size = 0
    for number, raw in enumerate(raws):
        if number > first and (number - first >= _MOST_BATCH or size + len(raw) > _BATCH_BYTES):
            yield _Batch(raws[first:number], first, ordered)
            first, size = number, 0
        size += len(raw)
    yield _Batch(raws[first:], first, ordered)


def _refusal(error: Exception) -> MongoError:
    if isinstance(error, MongoError):
        return error
    if isinstance(error, RecursionError):
        return MongoError("Overflow", f"a document can't be nested deeper than {DEEPEST} levels")
    return MongoError("InvalidBSON", str(error))
