"""insert."""

from __future__ import annotations

from typing import Any

from stilldb.gateway.registry import REQUIRED, Param, command, ignored, unimplemented
from stilldb.gateway.request import Request
from stilldb.gateway.writing import batch, write_errors
from stilldb.query.values import Document


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
    done = await request.documents.insert(ns, raws, ordered=values["ordered"])
    reply: Document = {"n": done.count}
    if done.errors:
        reply["writeErrors"] = write_errors(done.errors)
    reply["ok"] = 1.0
    return reply
