"""What the gateway needs of the documents: ``stilldb.documents.Documents`` in production, a twin in memory in tests.

Every method raises MongoError for what a client must be told, and an OSError when PostgreSQL can't be reached.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

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
from stilldb.query.values import Document


class DocumentStore(Protocol):
    """The documents of one cluster."""

    async def close(self) -> None:
        """Let go of PostgreSQL."""

    async def ping(self) -> None:
        """Return once PostgreSQL has answered."""

    async def find_user(self, name: str) -> dict[str, Any] | None:
        """``{_id, user, db, roles, verifiers}``."""

    async def put_master_user(self, name: str, version: int, verifiers: list[dict[str, Any]]) -> None:
        """Create the master user, or replace an older version of it."""

    async def list_databases(self) -> list[DatabaseInfo]:
        """Every database that has a collection."""

    async def list_collections(self, database: str) -> list[CollectionInfo]:
        """The collections of a database."""

    async def create_collection(self, ns: Namespace, options: Document) -> None:
        """Create it; raises NamespaceExists."""

    async def drop_collection(self, ns: Namespace) -> int | None:
        """Drop it; how many indexes it had, None when it was not there."""

    async def drop_database(self, database: str) -> bool:
        """Drop every collection of it; whether there was one."""

    async def create_indexes(self, ns: Namespace, specs: list[Document]) -> IndexesMade:
        """Create the indexes that are not there yet, and the collection."""

    async def list_indexes(self, ns: Namespace) -> list[Document]:
        """The indexes as listIndexes shows them; raises NamespaceNotFound."""

    async def drop_indexes(self, ns: Namespace, which: str | Document | list[str]) -> int:
        """Drop by name, key, names or ``*``; how many there were."""

    async def insert(self, ns: Namespace, raws: list[bytes], *, ordered: bool) -> Inserted:
        """Store the documents."""

    async def update(self, ns: Namespace, update: Update) -> Updated:
        """Run one update statement."""

    async def delete(self, ns: Namespace, delete: Delete) -> int:
        """Run one delete statement; how many documents it removed."""

    async def find_and_modify(self, ns: Namespace, change: FindAndModify) -> Modified:
        """Change or remove one document."""

    def kept_by_id(self, ns: Namespace, value: Any) -> bytes | None:
        """The raw document with this ``_id`` if it is in memory; None when it must be asked for."""

    async def find_by_id(self, ns: Namespace, value: Any) -> bytes | None:
        """The raw document with this ``_id``; None when there is none."""

    def find(self, ns: Namespace, query: Find) -> AsyncGenerator[list[bytes], None]:
        """The documents found, as batches of raw BSON."""

    def aggregate(self, ns: Namespace, query: Aggregate) -> AsyncGenerator[list[bytes], None]:
        """The documents that come out of the pipeline."""

    async def count(self, ns: Namespace, query: Find) -> int:
        """How many documents ``find`` would give."""

    async def distinct(self, ns: Namespace, key: str, filter: Document) -> list[Any]:
        """The values of ``key``, each once."""

    async def explain_find(self, ns: Namespace, query: Find) -> Document:
        """The query planner's part of an explanation."""

    async def explain_aggregate(self, ns: Namespace, query: Aggregate) -> Document:
        """The same of a pipeline."""

    async def stats(self, ns: Namespace) -> Document:
        """collStats in bytes."""

    async def delete_expired(self) -> int:
        """Remove the documents whose time is up by a TTL index; how many."""
