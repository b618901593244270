"""What a volume's PostgreSQL holds, for those who look at it from outside: collections, indexes, users, digests of documents.

The tables are the data plane's (``stilldb.documents.catalog``); they carry the number of their format, and another one is
refused here. Nothing is written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import asyncpg
import bson
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion

from stilldb.domain.volumes import PostgresAddress, VolumeError
from stilldb.postgres.server import UNREACHABLE

FORMAT: Final = 1  # of the documents' tables
BATCH: Final = 5_000  # rows in memory at a time
_SHOWN: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)

Row = tuple[
    bytes, bytes
]  # the key of a document's _id, which compares as BSON does, and the SHA-256 of its BSON


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """One collection. ``indexes`` maps names to specifications; ``bytes`` is what its documents take in the table."""

    number: int
    uuid: bytes
    options: Mapping[str, Any]
    indexes: Mapping[str, Mapping[str, Any]]
    bytes: int

    @property
    def table(self) -> str:
        """The table of its documents."""
        return f"stilldb.c{self.number}"


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """Collections by ``database.name``, and users by name with a mark that changes with the password."""

    collections: Mapping[str, Collection]
    users: Mapping[str, str]


async def connect(address: PostgresAddress) -> asyncpg.Connection:
    """A connection that only reads; raises VolumeError."""
    try:
        return await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            database=address.database,
            timeout=10,
            server_settings={
                "application_name": "stilldb-look",
                "default_transaction_read_only": "on",
                "idle_in_transaction_session_timeout": "0",
                "cursor_tuple_fraction": "1",
            },
        )
    except UNREACHABLE as error:
        raise VolumeError(f"the PostgreSQL in {address.host} can't be reached: {error}") from error


async def has_documents(connection: asyncpg.Connection) -> bool:
    """Whether a gateway ever made the documents' tables, even empty ones."""
    return await connection.fetchval("SELECT to_regclass('stilldb.format')") is not None


async def read(connection: asyncpg.Connection) -> Contents:
    """Everything but the documents; nothing of a volume that never had an instance. Raises VolumeError for another format."""
    if not await has_documents(connection):
        return Contents({}, {})
    found = await connection.fetchval("SELECT version FROM stilldb.format")
    if found != FORMAT:
        raise VolumeError(f"the documents have format {found}; this StillDB reads format {FORMAT}")
    collections = await connection.fetch(
        "SELECT id, database, name, uuid, options, pg_table_size(to_regclass('stilldb.c' || id)) AS bytes "
        "FROM stilldb.collections ORDER BY database, name"
    )
    indexes: dict[int, dict[str, Mapping[str, Any]]] = {}
    for row in await connection.fetch("SELECT collection, name, spec FROM stilldb.indexes ORDER BY id"):
        indexes.setdefault(row["collection"], {})[row["name"]] = bson.decode(row["spec"])
    users = await connection.fetch("SELECT name, verifiers FROM stilldb.users ORDER BY name")
    return Contents(
        {
            f"{row['database']}.{row['name']}": Collection(
                row["id"],
                row["uuid"],
                bson.decode(row["options"]),
                indexes.get(row["id"], {}),
                row["bytes"] or 0,
            )
            for row in collections
        },
        {row["name"]: hashlib.sha256(row["verifiers"].encode()).hexdigest() for row in users},
    )


async def digests(connection: asyncpg.Connection, collection: Collection) -> AsyncIterator[list[Row]]:
    """The documents in the order of ``_id``, up to BATCH at a time; inside a transaction."""
    cursor = await connection.cursor(f"SELECT id, sha256(doc) FROM {collection.table} ORDER BY id")
    while rows := await cursor.fetch(BATCH):
        yield [(row[0], row[1]) for row in rows]


async def count(connection: asyncpg.Connection, collection: Collection) -> int:
    """How many documents it has, exactly."""
    return int(await connection.fetchval(f"SELECT count(*) FROM {collection.table}"))


async def ids(connection: asyncpg.Connection, collection: Collection, keys: list[bytes]) -> list[Any]:
    """The ``_id`` of the documents with these keys, in their order, as relaxed Extended JSON values."""
    rows = await connection.fetch(
        f"SELECT doc FROM {collection.table} WHERE id = ANY($1::bytea[]) ORDER BY id", keys
    )
    found = [bson.decode(row["doc"], _SHOWN)["_id"] for row in rows]
    return [json.loads(json_util.dumps(one, json_options=json_util.RELAXED_JSON_OPTIONS)) for one in found]
