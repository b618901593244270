"""What callers ask of the documents and what they are told: plain values, no SQL and no wire format."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, NamedTuple

from stilldb.query.errors import MongoError
from stilldb.query.values import MISSING, Document

# DocumentDB's limits, in characters.
_LONGEST_DATABASE = 63
_LONGEST_COLLECTION = 57
_NOT_IN_DATABASE = re.compile(r'[/\\. "$*<>:|?\0]')


class Namespace(NamedTuple):
    """A collection, by the name of its database and its own."""

    database: str
    collection: str

    def __str__(self) -> str:
        return f"{self.database}.{self.collection}"

    @classmethod
    def checked(cls, database: str, collection: object) -> Namespace:
        """A namespace that may hold documents; raises MongoError InvalidNamespace."""
        check_database(database)
        if not isinstance(collection, str):
            raise MongoError(
                "InvalidNamespace", f"collection name has invalid type {type(collection).__name__}"
            )
        if (
            not collection
            or "\0" in collection
            or "$" in collection
            or collection.startswith((".", "system."))
        ):
            raise MongoError("InvalidNamespace", f"Invalid collection name: '{collection}'")
        if len(collection) > _LONGEST_COLLECTION:
            raise MongoError(
                "InvalidNamespace",
                f"Invalid collection name: '{collection}' is longer than {_LONGEST_COLLECTION} characters",
            )
        return cls(database, collection)


def check_database(database: str) -> None:
    """Raise MongoError InvalidNamespace for what is no database's name."""
    if not 0 < len(database) <= _LONGEST_DATABASE or _NOT_IN_DATABASE.search(database):
        raise MongoError("InvalidNamespace", f"Invalid database name: '{database}'")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """A query; ``limit`` 0 is none. ``hint`` is an index's name or key document."""

    filter: Document
    projection: Document | None = None
    sort: Document | None = None
    skip: int = 0
    limit: int = 0
    hint: str | Document | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A pipeline over one collection."""

    pipeline: list[Document]
    hint: str | Document | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One update statement: operators or a replacement (a document), or a pipeline (a list)."""

    filter: Document
    change: Document | list[Document]
    multi: bool = False
    upsert: bool = False
    array_filters: list[Document] = dataclasses.field(default_factory=list)
    hint: str | Document | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """One delete statement."""

    filter: Document
    one: bool = False
    hint: str | Document | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FindAndModify:
    """Change or remove one document and give it back; ``change`` None removes."""

    filter: Document
    change: Document | list[Document] | None
    sort: Document | None = None
    new: bool = False  # give it back as it is after the change
    upsert: bool = False
    projection: Document | None = None
    array_filters: list[Document] = dataclasses.field(default_factory=list)
    hint: str | Document | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class WriteError:
    """What went wrong with one document or statement of a batch."""

    index: int
    error: MongoError


@dataclasses.dataclass(frozen=True, slots=True)
class Inserted:
    """How many documents an insert stored, and why the others were not."""

    count: int
    errors: list[WriteError]


@dataclasses.dataclass(frozen=True, slots=True)
class Updated:
    """What an update did. ``upserted`` is the ``_id`` of the document it made, MISSING when it made none."""

    matched: int
    modified: int
    upserted: Any = MISSING


@dataclasses.dataclass(frozen=True, slots=True)
class Modified:
    """What a findAndModify did. ``value`` is the document's BSON, projected; None when there is none to give."""

    value: bytes | None
    found: bool
    upserted: Any = MISSING


@dataclasses.dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """One database and the bytes of its tables and indexes."""

    name: str
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class CollectionInfo:
    """One collection as listCollections shows it."""

    name: str
    uuid: bytes  # 16 bytes
    options: Document


@dataclasses.dataclass(frozen=True, slots=True)
class IndexesMade:
    """What createIndexes did."""

    before: int
    after: int
    created_collection: bool
