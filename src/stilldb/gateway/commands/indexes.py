"""createIndexes, listIndexes, dropIndexes."""

from __future__ import annotations

from typing import Any

from stilldb.gateway.cursors import open_cursor
from stilldb.gateway.listing import batch_size, once
from stilldb.gateway.registry import REQUIRED, Param, command, ignored
from stilldb.gateway.request import RawReply, Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document, encode


@command(
    "createIndexes",
    params=(
        Param("indexes", list, REQUIRED, bulk=True),
        *ignored("commitQuorum", "ignoreUnknownIndexOptions"),
    ),
    writes=True,
)
async def create_indexes(request: Request, values: dict[str, Any]) -> Document:
    """Create the indexes that are not there yet."""
    specs = request.decoded_documents("indexes")
    if not specs:
        raise MongoError("BadValue", "Must specify at least one index to create")
    made = await request.documents.create_indexes(request.namespace(), specs)
    reply: Document = {
        "numIndexesBefore": made.before,
        "numIndexesAfter": made.after,
        "createdCollectionAutomatically": made.created_collection,
    }
    if made.before == made.after:
        reply["note"] = "all indexes already exist"
    reply["ok"] = 1.0
    return reply


@command("listIndexes", params=(Param("cursor", dict),))
async def list_indexes(request: Request, values: dict[str, Any]) -> RawReply:
    """The indexes of a collection, as a cursor."""
    ns = request.namespace()
    found = await request.documents.list_indexes(ns)
    size = batch_size("listIndexes", values["cursor"])
    return await open_cursor(request, str(ns), once([encode(index) for index in found]), size)


@command(
    "dropIndexes",
    params=(Param("index", (str, dict, list), REQUIRED),),
    aliases=("deleteIndexes",),
    writes=True,
)
async def drop_indexes(request: Request, values: dict[str, Any]) -> Document:
    """Drop indexes by name, key or ``*``."""
    which = values["index"]
    if isinstance(which, list) and not all(isinstance(name, str) for name in which):
        raise MongoError("TypeMismatch", "BSON field 'dropIndexes.index' must hold names")
    return {"nIndexesWas": await request.documents.drop_indexes(request.namespace(), which), "ok": 1.0}
