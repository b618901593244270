"""insert."""

from __future__ import annotations

from typing import Any

from stilldb.gateway.registry import REQUIRED, Param, command, ignored, unimplemented
from stilldb.gateway.request import Request
from stilldb.gateway.writing import batch, write_errors
from stilldb.query.errors import MongoError
from stilldb.query.values import Document
from stilldb.wire import bsonguard


@command(
    "insert",
    params=(
        Param("documents", list, REQUIRED, bulk=True),
        Param("ordered", bool, True),
        *ignored("bypassDocumentValidation"),
        *unimplemented("encryptionInformation"),
    ),
    raw=b"documents",
    writes=True,
)
async def insert(request: Request, values: dict[str, Any]) -> Document:
    """Store documents as they were sent."""
    ns = request.namespace()
    raws = batch(request.raw_documents("documents"))
    for raw in raws:
        _check(raw)
    done = await request.documents.insert(ns, raws, ordered=values["ordered"])
    reply: Document = {"n": done.count}
    if done.errors:
        reply["writeErrors"] = write_errors(done.errors)
    reply["ok"] = 1.0
    return reply


def _check(raw: bytes) -> None:
    if len(raw) > bsonguard.MAX_DOCUMENT:
        raise MongoError(
            "BSONObjectTooLarge",
            f"object to insert too large. size in bytes: {len(raw)}, max size: {bsonguard.MAX_DOCUMENT}",
        )
    if bsonguard.too_deep(raw):
        raise MongoError(
            "Overflow", f"cannot insert document because it exceeds {bsonguard.MAX_DEPTH} levels of nesting"
        )
