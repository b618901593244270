"""listCollections."""

from __future__ import annotations

from typing import Any

from bson import Binary

from stilldb.documents.model import CollectionInfo, check_database
from stilldb.gateway.cursors import open_cursor
from stilldb.gateway.listing import batch_size, matching, once
from stilldb.gateway.registry import Param, command, ignored
from stilldb.gateway.request import RawReply, Request
from stilldb.query.values import Document, encode

_UUID = 4  # binary subtype


@command(
    "listCollections",
    params=(
        Param("filter", dict),
        Param("nameOnly", bool, False),
        Param("cursor", dict),
        *ignored("authorizedCollections"),
    ),
)
async def list_collections(request: Request, values: dict[str, Any]) -> RawReply:
    """The collections of a database, as a cursor."""
    database = request.database
    check_database(database)
    infos = await request.documents.list_collections(database)
    found = matching([_shown(info) for info in infos], values["filter"])
    if values["nameOnly"]:
        found = [{"name": one["name"], "type": one["type"]} for one in found]
    source = once([encode(one) for one in found])
    size = batch_size("listCollections", values["cursor"])
    return await open_cursor(request, f"{database}.$cmd.listCollections", source, size)


def _shown(info: CollectionInfo) -> Document:
    return {
        "name": info.name,
        "type": "collection",
        "options": info.options,
        "info": {"readOnly": False, "uuid": Binary(info.uuid, _UUID)},
        "idIndex": {"v": 4, "key": {"_id": 1}, "name": "_id_"},
    }
