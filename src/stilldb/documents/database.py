"""The documents of one cluster volume: what the gateway's commands call."""

from __future__ import annotations

import logging
import time
from typing import Any, Self

from bson import DatetimeMS

from stilldb.documents.aggregates import Aggregator
from stilldb.documents.builds import Builder
from stilldb.documents.catalog import Catalog
from stilldb.documents.explains import Explainer
from stilldb.documents.hot import HotDocuments
from stilldb.documents.inserts import Inserter
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
)
from stilldb.documents.outputs import Outputs
from stilldb.documents.pool import Pool
from stilldb.documents.reads import Raws, Reader
from stilldb.documents.writes import Writer
from stilldb.query.errors import MongoError
from stilldb.query.values import Document
from stilldb.util.log import event

log = logging.getLogger("stilldb.documents")


class Documents:
    """Every database of a volume. Methods raise MongoError; documents come and go as raw BSON."""

    def __init__(self, pool: Pool, *, writer: bool = True, push: bool = True) -> None:
        """``push`` off: SQL finds by ``_id`` at most, the engine does the rest (to compare the two)."""
        self._pool = pool
        self._catalog = Catalog(pool)
        self._builder = Builder(self._catalog)
        # A reader can't know what the writer changes.
        hot = HotDocuments() if writer else HotDocuments(0)
        pool.lost = self._lost
        self._hot = hot
        self._reader = Reader(pool, self._catalog, hot, push=push)
        self._inserter = Inserter(pool, self._catalog, hot)
        self._writer = Writer(pool, self._catalog, hot, self._reader, self._inserter)
        outputs = Outputs(self._catalog, self._writer)
        self._aggregator = Aggregator(pool, self._catalog, self._reader, outputs, push=push)
        self._explainer = Explainer(self._catalog, self._reader, self._aggregator, push=push)

    @classmethod
    async def open(
        cls, *, host: str, port: int, user: str, database: str, writer: bool = True, push: bool = True
    ) -> Self:
        """Connect to the volume's PostgreSQL. As its ``writer``: make the catalog if there is none, and take over."""
        opened = cls(Pool(host=host, port=port, user=user, database=database), writer=writer, push=push)
        try:
            if writer:
                await opened._catalog.prepare()
                await opened._catalog.take_over()
        except BaseException:
            await opened.close()
            raise
        return opened

    def _lost(self) -> None:
        """PostgreSQL ended a connection: until it is asked again, nothing in memory is sure."""
        self._hot.clear()
        self._catalog.forget_all()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def ping(self) -> None:
        """Ask PostgreSQL anything; raises MongoError when it does not answer."""
        async with self._pool.connection() as connection:
            await connection.fetchval("SELECT 1")

    # -- users

    async def find_user(self, name: str) -> Document | None:
        """A user and the verifiers of its password, None when there is none."""
        return await self._catalog.find_user(name)

    async def put_master_user(self, name: str, version: int, verifiers: list[dict[str, Any]]) -> None:
        """Make the master user, or give it newer verifiers."""
        await self._catalog.put_master_user(name, version, verifiers)

    # -- databases and collections

    async def list_databases(self) -> list[DatabaseInfo]:
        """Every database that holds a collection."""
        return await self._catalog.databases()

    async def list_collections(self, database: str) -> list[CollectionInfo]:
        """Every collection of a database."""
        return await self._catalog.collections(database)

    async def create_collection(self, namespace: Namespace, options: Document) -> None:
        """Make a collection; raises NamespaceExists."""
        await self._catalog.create(namespace, options)

    async def drop_collection(self, namespace: Namespace) -> int | None:
        """Remove a collection; the number of indexes that it had, None when there was none."""
        return await self._catalog.drop(namespace)

    async def drop_database(self, database: str) -> bool:
        """Remove every collection of a database; False when it held none."""
        return await self._catalog.drop_database(database)

    async def stats(self, namespace: Namespace) -> Document:
        """Sizes in bytes and counts, as collStats gives them; zeros for a collection that is not there."""
        collection = await self._catalog.find(namespace)
        if collection is None:
            return {
                "size": 0,
                "count": 0,
                "storageSize": 0,
                "nindexes": 0,
                "totalIndexSize": 0,
                "indexSizes": {},
            }
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT count(*) AS count, coalesce(sum(octet_length(doc)), 0)::bigint AS size FROM {collection.table}"
            )
        sizes = await self._catalog.sizes(collection)
        storage = sizes.pop("")
        return {
            "size": row["size"],
            "count": row["count"],
            **({"avgObjSize": row["size"] // row["count"]} if row["count"] else {}),
            "storageSize": storage,
            "nindexes": len(sizes),
            "totalIndexSize": sum(sizes.values()),
            "indexSizes": sizes,
        }

    # -- indexes

    async def create_indexes(self, namespace: Namespace, specs: list[Document]) -> IndexesMade:
        """Make indexes, all or none, and the collection if need be."""
        return await self._builder.create(namespace, specs)

    async def list_indexes(self, namespace: Namespace) -> list[Document]:
        """The specification of every index; raises NamespaceNotFound."""
        return await self._builder.specs(namespace)

    async def drop_indexes(self, namespace: Namespace, which: str | Document | list[str]) -> int:
        """Remove indexes by name, key, names, or ``*``; how many there were before."""
        return await self._builder.drop(namespace, which)

    async def delete_expired(self) -> int:
        """Remove the documents whose time is up by a TTL index; how many."""
        removed = 0
        for database in await self.list_databases():
            for info in await self.list_collections(database.name):
                namespace = Namespace(database.name, info.name)
                try:
                    removed += await self._delete_expired(namespace)
                except MongoError as error:  # it is looked at again, and the others must not wait for it
                    log.warning(event("expiry failed", collection=namespace, reason=error))
        return removed

    async def _delete_expired(self, namespace: Namespace) -> int:
        removed = 0
        collection = await self._catalog.find(namespace)
        for index in collection.indexes if collection else ():
            seconds = index.spec.get("expireAfterSeconds")
            if seconds is not None:
                limit = DatetimeMS(int((time.time() - seconds) * 1000))
                partial = index.spec.get("partialFilterExpression", {})
                old = {"$and": [{index.fields[0][0]: {"$lt": limit}}, partial]}
                if [raws async for raws in self.find(namespace, Find(filter=old, limit=1))]:
                    removed += await self.delete(namespace, Delete(filter=old))
        return removed

    # -- documents

    async def insert(self, namespace: Namespace, raws: list[bytes], *, ordered: bool) -> Inserted:
        """Store new documents, and make the collection if need be."""
        return await self._inserter.insert(namespace, raws, ordered=ordered)

    async def update(self, namespace: Namespace, update: Update) -> Updated:
        """Change documents; all that one statement changes, it changes at once."""
        return await self._writer.update(namespace, update)

    async def delete(self, namespace: Namespace, delete: Delete) -> int:
        """Remove documents; how many."""
        return await self._writer.delete(namespace, delete)

    async def find_and_modify(self, namespace: Namespace, request: FindAndModify) -> Modified:
        """Change or remove one document and give it back."""
        return await self._writer.find_and_modify(namespace, request)

    def kept_by_id(self, namespace: Namespace, value: Any) -> bytes | None:
        """The document with this ``_id`` if it is in memory; None when it must be asked for."""
        return self._reader.kept(namespace, value)

    async def find_by_id(self, namespace: Namespace, value: Any) -> bytes | None:
        """The document with this ``_id``, None when there is none."""
        return await self._reader.by_id(namespace, value)

    def find(self, namespace: Namespace, find: Find) -> Raws:
        """Batches of what a query finds."""
        return self._reader.find(namespace, find)

    def aggregate(self, namespace: Namespace, request: Aggregate) -> Raws:
        """Batches of what a pipeline gives."""
        return self._aggregator.aggregate(namespace, request)

    async def count(self, namespace: Namespace, find: Find) -> int:
        """How many documents a find would give."""
        return await self._reader.count(namespace, find)

    async def distinct(self, namespace: Namespace, key: str, spec: Document) -> list[Any]:
        """Every different value at a path."""
        return await self._aggregator.distinct(namespace, key, spec)

    # -- explain

    async def explain_find(self, namespace: Namespace, find: Find) -> Document:
        """How a find is served: what SQL answers, by which index, and what the engine does."""
        return await self._explainer.find(namespace, find)

    async def explain_aggregate(self, namespace: Namespace, request: Aggregate) -> Document:
        """How a pipeline is served."""
        return await self._explainer.aggregate(namespace, request)
