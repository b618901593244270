"""What is in a volume: databases, collections, indexes, users. The tables, and a cache that may be stale.

Other gateways may change the catalog at any time, so nothing relies on the cache being right: a table's name is never used
twice, so a collection that is gone shows as an undefined table; and every write asks, in its own statement, whether the
collection still has the ``version`` that it knows, which grows with each change of the indexes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import bson

from stilldb.documents.indexes import Index
from stilldb.documents.model import CollectionInfo, DatabaseInfo, Namespace
from stilldb.documents.pool import APPLICATION, Pool
from stilldb.query.errors import MongoError
from stilldb.query.values import Document, decode

FORMAT: Final = 1
MOST_INDEXES: Final = 64  # DocumentDB's limit, _id's included

_TABLES: Final = """
CREATE SCHEMA stilldb;
CREATE TABLE stilldb.format (version int NOT NULL);
CREATE TABLE stilldb.writer (epoch bigint NOT NULL);
INSERT INTO stilldb.writer VALUES (0);
CREATE TABLE stilldb.collections (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    database text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    uuid bytea NOT NULL CHECK (octet_length(uuid) = 16),
    options bytea NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (database, name)
);
CREATE TABLE stilldb.indexes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection bigint NOT NULL REFERENCES stilldb.collections ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    spec bytea NOT NULL,
    multikey boolean NOT NULL DEFAULT false,
    UNIQUE (collection, name)
);
CREATE TABLE stilldb.users (
    name text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    verifiers json NOT NULL
);
"""
_GONE_WITHIN: Final = 10_000  # milliseconds
_LOCK: Final = 7_226_004_551_321  # of pg_advisory_xact_lock: one gateway at a time makes the tables
_COLLECTION: Final = """
SELECT id, version, (SELECT epoch FROM stilldb.writer) AS epoch FROM stilldb.collections WHERE database = $1 AND name = $2
"""
_INDEXES: Final = "SELECT id, spec, multikey FROM stilldb.indexes WHERE collection = $1 ORDER BY id"


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """A collection as one statement sees it. ``indexes`` are those besides ``_id``'s."""

    namespace: Namespace
    id: int
    version: int
    indexes: tuple[Index, ...]
    epoch: int  # of the writer

    @property
    def table(self) -> str:
        """The table of its documents: ``id``, ``doc``, ``j``."""
        return f"stilldb.c{self.id}"


class Catalog:
    """The catalog of one volume."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[Namespace, Collection] = {}
        self._forgotten = 0  # how often, so that nothing is kept that was read before
        self._epoch: int | None = None  # of this writer; None for a reader

    async def prepare(self) -> None:
        """Make the tables if the volume has none; raises MongoError for those of another version of StillDB."""
        async with self._pool.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if await connection.fetchval("SELECT to_regclass('stilldb.format')") is None:
                await connection.execute(_TABLES)
                await connection.execute("INSERT INTO stilldb.format VALUES ($1)", FORMAT)
            found = await connection.fetchval("SELECT version FROM stilldb.format")
        if found != FORMAT:
            raise MongoError(
                "UnsupportedFormat", f"the documents have format {found}; this StillDB reads format {FORMAT}"
            )

    async def take_over(self) -> None:
        """Become the volume's one writer: what another gateway has under way ends, and it can't write again."""
        async with self._pool.connection() as connection:
            await _end_others(connection)  # one that hangs in a transaction would hold the epoch
            epoch = await connection.fetchval("UPDATE stilldb.writer SET epoch = epoch + 1 RETURNING epoch")
            await _end_others(connection)
        self._epoch = epoch

    async def _require_writer(self, connection: asyncpg.Connection) -> None:
        """Raise NotWritablePrimary if another gateway is the writer; until the transaction ends, none can become it."""
        epoch = await connection.fetchval("SELECT epoch FROM stilldb.writer FOR SHARE")
        if epoch != self._epoch:
            raise not_writer()

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[asyncpg.Connection]:
        """A transaction of the writer."""
        async with self._pool.transaction() as connection:
            await self._require_writer(connection)
            yield connection

    # -- collections

    def forget(self, namespace: Namespace) -> None:
        """Let go of what is known of a collection."""
        self._known.pop(namespace, None)
        self._forgotten += 1

    def forget_all(self) -> None:
        """Let go of what is known of every collection."""
        self._known.clear()
        self._forgotten += 1

    def known(self, namespace: Namespace) -> Collection | None:
        """What the cache has of a collection."""
        return self._known.get(namespace)

    async def find(self, namespace: Namespace) -> Collection | None:
        """The collection, from the cache or the tables; None when there is none."""
        known = self._known.get(namespace)
        if known is not None:
            return known
        forgotten = self._forgotten
        async with self._pool.connection() as connection:
            found = await read(connection, namespace)
        if found is not None and self._epoch is not None and found.epoch != self._epoch:
            raise not_writer()
        if found is not None and self._forgotten == forgotten:
            self._known[namespace] = found
        return found

    async def find_or_create(self, namespace: Namespace) -> Collection:
        """The collection, made if it is not there."""
        while True:
            found = await self.find(namespace)
            if found is not None:
                return found
            await self.create(namespace, {}, may_exist=True)

    async def create(self, namespace: Namespace, options: Document, *, may_exist: bool = False) -> bool:
        """Make a collection; False, or NamespaceExists, when there is one."""
        async with self.changing() as connection:
            number = await add(connection, namespace, options)
        if number is None and not may_exist:
            raise MongoError("NamespaceExists", f"Collection {namespace} already exists.")
        return number is not None

    async def drop(self, namespace: Namespace) -> int | None:
        """Remove a collection; the number of its indexes, None when there was none."""
        try:
            async with self.changing() as connection:
                found = await read(connection, namespace, lock=True)
                if found is not None:
                    await remove(connection, found)
        finally:
            self.forget(namespace)
        return None if found is None else len(found.indexes) + 1

    async def drop_database(self, database: str) -> bool:
        """Remove every collection of a database; False when there was none."""
        names = [info.name for info in await self.collections(database)]
        for name in names:
            await self.drop(Namespace(database, name))
        return bool(names)

    async def collections(self, database: str) -> list[CollectionInfo]:
        """Every collection of a database, by name."""
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                "SELECT name, uuid, options FROM stilldb.collections WHERE database = $1 ORDER BY name",
                database,
            )
        return [CollectionInfo(row["name"], row["uuid"], decode(row["options"])) for row in rows]

    async def databases(self) -> list[DatabaseInfo]:
        """Every database that holds a collection, by name."""
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT c.database, sum(
                    coalesce(pg_total_relation_size(to_regclass(format('stilldb.c%s', c.id))), 0)
                    + coalesce((SELECT sum(pg_total_relation_size(to_regclass(format('stilldb.i%s', i.id))))
                                FROM stilldb.indexes i WHERE i.collection = c.id), 0))::bigint AS size
                FROM stilldb.collections c GROUP BY c.database ORDER BY c.database
                """
            )
        return [DatabaseInfo(row["database"], row["size"]) for row in rows]

    async def mark_multikey(self, index: Index) -> None:
        """Keep that a document has several keys in the index; writers who do not know it begin again."""
        async with self.changing() as connection:
            await connection.execute(  # the collection first, as others lock them
                "UPDATE stilldb.collections c SET version = version + 1 FROM stilldb.indexes i "
                "WHERE i.id = $1 AND c.id = i.collection",
                index.id,
            )
            await connection.execute("UPDATE stilldb.indexes SET multikey = true WHERE id = $1", index.id)

    async def sizes(self, collection: Collection) -> dict[str, int]:
        """Bytes of the documents' table (with what is stored beside it) and of each index, by name."""
        names = {f"stilldb.i{index.id}": index.name for index in collection.indexes}
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                "SELECT name, pg_total_relation_size(name::regclass) AS size FROM unnest($1::text[]) AS name",
                list(names),
            )
            own = await connection.fetchrow(
                "SELECT pg_table_size($1::text::regclass) AS data, pg_indexes_size($1::text::regclass) AS ids",
                collection.table,
            )
        return {"": own["data"], "_id_": own["ids"], **{names[row["name"]]: row["size"] for row in rows}}

    # -- users

    async def find_user(self, name: str) -> Document | None:
        """A user with the verifiers of its password."""
        async with self._pool.connection() as connection:
            row = await connection.fetchrow("SELECT name, verifiers FROM stilldb.users WHERE name = $1", name)
        if row is None:
            return None
        return {
            "_id": f"admin.{name}",
            "user": name,
            "db": "admin",
            "roles": [{"role": "root", "db": "admin"}],
            "verifiers": json.loads(row["verifiers"]),
        }

    async def put_master_user(self, name: str, version: int, verifiers: list[dict[str, Any]]) -> None:
        """Make the master user, or give it newer verifiers."""
        async with self._pool.connection() as connection:
            await connection.execute(
                """
                INSERT INTO stilldb.users AS known (name, version, verifiers) VALUES ($1, $2, $3)
                ON CONFLICT (name) DO UPDATE SET version = excluded.version, verifiers = excluded.verifiers
                WHERE known.version < excluded.version
                """,
                name,
                version,
                json.dumps(verifiers),
            )


async def _end_others(connection: asyncpg.Connection) -> None:
    """End the sessions of every other gateway, and with them what they have under way."""
    gone = await connection.fetch(
        "SELECT pg_terminate_backend(pid, $1) AS gone FROM pg_stat_activity "
        "WHERE application_name = $2 AND pid <> pg_backend_pid()",
        _GONE_WITHIN,
        APPLICATION,
    )
    if not all(row["gone"] for row in gone):
        raise MongoError("HostUnreachable", "another gateway of this volume does not let go of it")


def not_writer() -> MongoError:
    """What a gateway answers that another has replaced."""
    return MongoError("NotWritablePrimary", "not primary: another gateway of this instance has taken over")


# -- pieces of transactions


async def read(
    connection: asyncpg.Connection, namespace: Namespace, *, lock: bool = False
) -> Collection | None:
    """The collection as the tables have it now; ``lock``: nobody else changes its indexes until the transaction ends."""
    statement = _COLLECTION + (" FOR UPDATE" if lock else "")
    row = await connection.fetchrow(statement, *namespace)
    if row is None and lock:  # while it waited for the lock, $out may have put another in its place
        row = await connection.fetchrow(statement, *namespace)
    if row is None:
        return None
    rows = await connection.fetch(_INDEXES, row["id"])
    indexes = tuple(Index.of(entry["id"], decode(entry["spec"]), entry["multikey"]) for entry in rows)
    return Collection(namespace, row["id"], row["version"], indexes, row["epoch"])


async def add(connection: asyncpg.Connection, namespace: Namespace, options: Document) -> int | None:
    """Make a collection's row and table; its number, None when there is one of that name."""
    number: int | None = await connection.fetchval(
        """
        INSERT INTO stilldb.collections (database, name, uuid, options) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING id
        """,
        *namespace,
        uuid.uuid4().bytes,
        bson.encode(options),
    )
    if number is not None:
        await connection.execute(
            f"CREATE TABLE stilldb.c{number} (id bytea PRIMARY KEY, j jsonb, doc bytea NOT NULL)"
        )
    return number


async def remove(connection: asyncpg.Connection, collection: Collection) -> None:
    """Remove a collection's rows and tables."""
    await connection.execute("DELETE FROM stilldb.collections WHERE id = $1", collection.id)
    tables = [collection.table, *(index.table for index in collection.indexes)]
    await connection.execute(f"DROP TABLE {', '.join(tables)}")
