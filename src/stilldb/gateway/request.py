"""One command as a handler sees it, the session it came in, and a reply that is bytes already."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument

from stilldb.query.errors import MongoError
from stilldb.query.values import Document, decode

if TYPE_CHECKING:
    from stilldb.documents import Documents
    from stilldb.endpoint import GatewayEndpoint
    from stilldb.gateway.auth import SaslConversation
    from stilldb.gateway.cursors import Cursors


@dataclasses.dataclass(frozen=True, slots=True)
class RawReply:
    """A complete reply document's bytes, sent as they are."""

    document: bytes


@dataclasses.dataclass(slots=True)
class Session:
    """One client connection."""

    connection_id: int
    remote: str
    endpoint: GatewayEndpoint
    documents: Documents
    cursors: Cursors
    user: str | None = None  # the authenticated user
    sasl: SaslConversation | None = None
    compressors: tuple[str, ...] = ()


@dataclasses.dataclass(slots=True)
class Request:
    """One command. ``body`` is decoded but for the documents of bulky fields, which stay raw."""

    session: Session
    name: str
    database: str
    body: Document
    sequences: dict[str, list[bytes]]
    exhaust: bool = False

    def raw_documents(self, field: str) -> list[bytes]:
        """The documents of a bulky field, each as the BSON that was sent."""
        if field in self.sequences:
            return self.sequences[field]
        given: Any = self.body.get(field)
        if not isinstance(given, list) or not all(isinstance(item, RawBSONDocument) for item in given):
            raise MongoError(
                "TypeMismatch", f"BSON field '{self.name}.{field}' must be an array of documents"
            )
        return [item.raw for item in given]

    def decoded_documents(self, field: str) -> list[Document]:
        """The same, decoded."""
        return [decode(raw) for raw in self.raw_documents(field)]
