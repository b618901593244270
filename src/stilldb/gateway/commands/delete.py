"""delete."""

from __future__ import annotations

from typing import Any

from stilldb.documents.model import Delete
from stilldb.gateway import writing
from stilldb.gateway.registry import REQUIRED, Param, command, unimplemented
from stilldb.gateway.request import Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document

_OF = "delete.deletes"
_FIELDS = frozenset({"q", "limit", "hint", "collation"})
_REFUSED = frozenset({"collation"})


@command(
    "delete",
    params=(
        Param("deletes", list, REQUIRED, bulk=True),
        Param("ordered", bool, True),
        *unimplemented("let", "encryptionInformation"),
    ),
    writes=True,
)
async def delete(request: Request, values: dict[str, Any]) -> Document:
    """Run delete statements, each atomic."""
    ns = request.namespace()
    statements = writing.batch(request.decoded_documents("deletes"))
    documents = request.documents
    removed = 0

    async def run(index: int, given: Document) -> None:
        nonlocal removed
        removed += await documents.delete(ns, statement(given))

    failed = await writing.run_statements(statements, values["ordered"], run)
    reply: Document = {"n": removed}
    if failed:
        reply["writeErrors"] = failed
    reply["ok"] = 1.0
    return reply


def statement(given: Document) -> Delete:
    """One statement as the documents take it."""
    writing.check_fields(_OF, given, _FIELDS, _REFUSED)
    limit = writing.required(_OF, given, "limit")
    if isinstance(limit, bool) or limit not in (0, 1):
        raise MongoError("FailedToParse", f"The limit field in delete objects must be 0 or 1. Got {limit!r}")
    return Delete(
        filter=writing.document(_OF, "q", writing.required(_OF, given, "q")),
        one=limit == 1,
        hint=writing.hint(_OF, given.get("hint")),
    )
