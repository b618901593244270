"""getMore and killCursors."""

from __future__ import annotations

from typing import Any

from bson import Int64

from stilldb.gateway.cursors import continue_cursor
from stilldb.gateway.registry import REQUIRED, Param, command, whole
from stilldb.gateway.request import RawReply, Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document


@command(
    "getMore",
    params=(Param("getMore", int, REQUIRED), Param("collection", str, REQUIRED), Param("batchSize", int)),
)
async def get_more(request: Request, values: dict[str, Any]) -> RawReply:
    """The next documents of a cursor."""
    size = whole("getMore", "batchSize", values["batchSize"]) or None
    return await continue_cursor(request, values["getMore"], values["collection"], size)


@command("killCursors", params=(Param("killCursors", str, REQUIRED), Param("cursors", list, REQUIRED)))
async def kill_cursors(request: Request, values: dict[str, Any]) -> Document:
    """Close cursors."""
    killed: list[Int64] = []
    absent: list[Int64] = []
    for cursor_id in values["cursors"]:
        if isinstance(cursor_id, bool) or not isinstance(cursor_id, int):
            raise MongoError("TypeMismatch", "Field 'cursors' contains an element that is not of type long")
        found = await request.session.context.cursors.kill(cursor_id, request.session.user)
        (killed if found else absent).append(Int64(cursor_id))
    return {
        "cursorsKilled": killed,
        "cursorsNotFound": absent,
        "cursorsAlive": [],
        "cursorsUnknown": [],
        "ok": 1.0,
    }
