"""``$out`` and ``$merge``: a pipeline's documents stored in a collection."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import asyncpg

from stilldb.documents import builds, catalog, rowchanges
from stilldb.documents.catalog import Catalog, Collection
from stilldb.documents.duplicates import duplicate_key
from stilldb.documents.inserts import prepared
from stilldb.documents.model import Namespace, Update
from stilldb.documents.pool import MOST_CONNECTIONS
from stilldb.documents.reads import changed
from stilldb.documents.writes import Writer
from stilldb.query.errors import MongoError
from stilldb.query.stages import Target
from stilldb.query.values import MISSING, Document, encode

Source = AsyncGenerator[list[Document], None]
_MOST_AT_ONCE: Final = MOST_CONNECTIONS // 4  # each holds a connection while its source needs others
_TRIES: Final = 5


class Outputs:
    """Where pipelines may end."""

    def __init__(self, known: Catalog, writer: Writer) -> None:
        self._catalog = known
        self._writer = writer
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)

    async def store(self, namespace: Namespace, target: Target, source: Source) -> None:
        """Store every document of ``source``."""
        into = Namespace.checked(target.database or namespace.database, target.collection)
        if target.kind == "$out":
            async with self._turns:
                await self._replace(into, source)
        else:
            await self._merge(into, target, source)

    async def _replace(self, namespace: Namespace, source: Source) -> None:
        """A new collection takes the name, with the old one's indexes, all in one transaction."""
        draft = Namespace(namespace.database, f"out.{uuid.uuid4().hex}")
        try:
            async with self._catalog.changing() as connection:
                old = await catalog.read(connection, namespace, lock=True)
                new = await self._draft(connection, draft, old)
                async for batch in source:
                    await _fill(connection, new, batch)
                await _take_name(connection, namespace, new)
        finally:
            self._catalog.forget(namespace)

    async def _draft(
        self, connection: asyncpg.Connection, draft: Namespace, old: Collection | None
    ) -> Collection:
        await catalog.add(connection, draft, {})
        made = await catalog.read(connection, draft)
        for index in old.indexes if old else ():
            if made is not None:
                # Whether it has several keys a document is known once they are there: nobody reads the draft before.
                await builds.build(connection, made, index.spec, multikey=True)
        made = await catalog.read(connection, draft)
        if made is None:
            raise MongoError("OperationFailed", f"the draft of {draft} vanished")
        return made

    # -- $merge

    async def _merge(self, namespace: Namespace, target: Target, source: Source) -> None:
        async for batch in source:
            for document in batch:
                await self._merge_one(namespace, target, document)

    async def _merge_one(self, namespace: Namespace, target: Target, document: Document) -> None:
        update = Update(
            filter={name: _on(document, name) for name in target.on},
            change=_change(target.when_matched, document),
            upsert=target.when_not_matched == "insert",
        )
        if target.when_matched == "fail" and await self._matches(namespace, update):
            raise MongoError("DuplicateKey", f"$merge found a matching document in {namespace}")
        done = await self._writer.update(namespace, update)
        if done.matched == 0 and done.upserted is MISSING and target.when_not_matched == "fail":
            raise MongoError("Location13113", f"$merge could not find a matching document in {namespace}")

    async def _matches(self, namespace: Namespace, update: Update) -> bool:
        found = await self._writer.update(
            namespace, Update(filter=update.filter, change={"$setOnInsert": {}})
        )
        return found.matched > 0


def _on(document: Document, name: str) -> Any:
    if name not in document:
        raise MongoError("Location51132", f"$merge write error: 'on' field '{name}' cannot be missing")
    return document[name]


def _change(when_matched: Any, document: Document) -> Document | list[Document]:
    if isinstance(when_matched, Sequence) and not isinstance(when_matched, str):
        raise MongoError("CommandNotSupported", "$merge: a pipeline for 'whenMatched' is not supported")
    if when_matched == "replace":
        return document
    if when_matched == "merge":
        return [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": document}]}}]
    return {"$setOnInsert": {name: value for name, value in document.items() if name != "_id"}}


async def _take_name(connection: asyncpg.Connection, namespace: Namespace, new: Collection) -> None:
    """Remove the collection of that name, also one that came meanwhile, and give its name to the new one."""
    for _ in range(_TRIES):
        old = await catalog.read(connection, namespace, lock=True)
        try:
            async with connection.transaction():
                if old is not None:
                    await catalog.remove(connection, old)
                await connection.execute(
                    "UPDATE stilldb.collections SET name = $1 WHERE id = $2", namespace.collection, new.id
                )
        except asyncpg.UniqueViolationError:
            continue
        return
    raise changed(namespace)


async def _fill(connection: asyncpg.Connection, collection: Collection, batch: list[Document]) -> None:
    entries = [prepared(encode(document)) for document in batch]
    try:
        if not await rowchanges.insert(connection, collection, entries):
            raise changed(collection.namespace)
    except asyncpg.UniqueViolationError as error:
        raise duplicate_key(error, collection, None) from None
