"""One command as a handler sees it, the session it came in, and a reply that is bytes already."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

from stilldb.documents.model import Namespace
from stilldb.query.errors import MongoError
from stilldb.query.values import Document, decode

if TYPE_CHECKING:
    from stilldb.gateway.auth import SaslConversation
    from stilldb.gateway.context import Context
    from stilldb.gateway.ports import DocumentStore

_namespace = functools.lru_cache(maxsize=1024)(Namespace.checked)


@dataclasses.dataclass(frozen=True, slots=True)
class RawReply:
    """A complete reply document's bytes, sent as they are."""

    document: bytes


@dataclasses.dataclass(slots=True)
class Session:
    """One client connection."""

    connection_id: int
    remote: str
    context: Context
    user: str | None = None  # the authenticated user
    sasl: SaslConversation | None = None
    compressors: tuple[str, ...] = ()


@dataclasses.dataclass(slots=True)
class Request:
    """One command. ``body`` is decoded; the documents of a document sequence stay raw."""

    session: Session
    name: str
    database: str
    body: Document
    sequences: dict[str, list[bytes]]
    exhaust: bool = False  # the client takes more than one reply
    more: bool = False  # set by a handler: run it again, there is more to come

    @property
    def documents(self) -> DocumentStore:
        """The documents; raises HostUnreachable when PostgreSQL was never reached."""
        return self.session.context.documents

    def namespace(self) -> Namespace:
        """The collection that the command's own field names; raises InvalidNamespace."""
        return self.namespace_of(self.body[self.name])

    def namespace_of(self, collection: object) -> Namespace:
        """A collection of the command's database; raises InvalidNamespace."""
        if not isinstance(collection, str):
            return Namespace.checked(self.database, collection)
        return _namespace(self.database, collection)

    def raw_documents(self, field: str) -> list[bytes]:
        """The documents of a field that the registry keeps raw, each as the BSON that was sent."""
        found = self.sequences.get(field)
        if found is None:
            if self.body.get(field) == []:
                return []
            raise MongoError(
                "TypeMismatch", f"BSON field '{self.name}.{field}' must be an array of documents"
            )
        return found

    def decoded_documents(self, field: str) -> list[Document]:
        """The documents of a field that may come as a document sequence, decoded."""
        if field in self.sequences:
            return [decode(raw) for raw in self.sequences[field]]
        given = self.body.get(field)
        if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
            raise MongoError(
                "TypeMismatch", f"BSON field '{self.name}.{field}' must be an array of documents"
            )
        return given
