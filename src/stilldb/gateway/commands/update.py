"""update."""

from __future__ import annotations

from typing import Any

from stilldb.documents.model import Update
from stilldb.gateway import writing
from stilldb.gateway.registry import REQUIRED, Param, command, ignored, unimplemented
from stilldb.gateway.request import Request
from stilldb.query.errors import MongoError
from stilldb.query.values import MISSING, Document

_OF = "update.updates"
_FIELDS = frozenset({"q", "u", "c", "upsert", "multi", "arrayFilters", "hint", "collation", "sort"})
_REFUSED = frozenset({"c", "collation", "sort"})


@command(
    "update",
    params=(
        Param("updates", list, REQUIRED, bulk=True),
        Param("ordered", bool, True),
        *ignored("bypassDocumentValidation"),
        *unimplemented("let", "encryptionInformation"),
    ),
    writes=True,
)
async def update(request: Request, values: dict[str, Any]) -> Document:
    """Run update statements, each atomic."""
    ns = request.namespace()
    statements = writing.batch(request.decoded_documents("updates"))
    documents = request.documents
    matched = modified = 0
    upserted: list[Document] = []

    async def run(index: int, given: Document) -> None:
        nonlocal matched, modified
        done = await documents.update(ns, statement(given))
        matched += done.matched
        modified += done.modified
        if done.upserted is not MISSING:
            matched += 1
            upserted.append({"index": index, "_id": done.upserted})

    failed = await writing.run_statements(statements, values["ordered"], run)
    reply: Document = {"n": matched, "nModified": modified}
    if upserted:
        reply["upserted"] = upserted
    if failed:
        reply["writeErrors"] = failed
    reply["ok"] = 1.0
    return reply


def statement(given: Document) -> Update:
    """One statement as the documents take it."""
    writing.check_fields(_OF, given, _FIELDS, _REFUSED)
    multi = writing.flag(_OF, given, "multi")
    change = writing.change(_OF, "u", writing.required(_OF, given, "u"))
    if multi and isinstance(change, dict) and not next(iter(change), "").startswith("$"):
        raise MongoError("FailedToParse", "multi update is not supported for replacement-style update")
    return Update(
        filter=writing.document(_OF, "q", writing.required(_OF, given, "q")),
        change=change,
        multi=multi,
        upsert=writing.flag(_OF, given, "upsert"),
        array_filters=writing.array_filters(_OF, given.get("arrayFilters")),
        hint=writing.hint(_OF, given.get("hint")),
    )
