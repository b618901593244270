"""findAndModify."""

from __future__ import annotations

from typing import Any

from stilldb.documents.model import FindAndModify
from stilldb.gateway import writing
from stilldb.gateway.registry import Param, command, ignored, unimplemented
from stilldb.gateway.replies import append_raw
from stilldb.gateway.request import RawReply, Request
from stilldb.query.errors import MongoError
from stilldb.query.values import MISSING, Document

_OF = "findAndModify"


@command(
    "findAndModify",
    params=(
        Param("query", dict),
        Param("sort", dict),
        Param("remove", bool, False),
        Param("update", (dict, list)),
        Param("new", bool, False),
        Param("fields", dict),
        Param("upsert", bool, False),
        Param("arrayFilters", list),
        Param("hint", (str, dict)),
        *ignored("bypassDocumentValidation"),
        *unimplemented("collation", "let", "encryptionInformation"),
    ),
    aliases=("findandmodify",),
    writes=True,
)
async def find_and_modify(request: Request, values: dict[str, Any]) -> RawReply:
    """Change or remove one document and give it back."""
    done = await request.documents.find_and_modify(request.namespace(), statement(values))
    last: Document = {"n": int(done.found or done.upserted is not MISSING)}
    if not values["remove"]:
        last["updatedExisting"] = done.found
    if done.upserted is not MISSING:
        last["upserted"] = done.upserted
    return append_raw({"lastErrorObject": last}, "value", done.value)


def statement(values: dict[str, Any]) -> FindAndModify:
    """What the documents are asked; raises FailedToParse for a contradiction."""
    remove, update = values["remove"], values["update"]
    if remove and (update is not None or values["upsert"] or values["new"]):
        raise MongoError(
            "FailedToParse",
            "Cannot specify 'update', 'upsert' or 'new' with 'remove': the document is gone then",
        )
    if not remove and update is None:
        raise MongoError("FailedToParse", "Either an update or remove=true must be specified")
    return FindAndModify(
        filter=values["query"] or {},
        change=None if remove else writing.change(_OF, "update", update),
        sort=values["sort"] or None,
        new=values["new"],
        upsert=values["upsert"],
        projection=values["fields"] or None,
        array_filters=writing.array_filters(_OF, values["arrayFilters"]),
        hint=writing.hint(_OF, values["hint"]),
    )
