"""count."""

from __future__ import annotations

from typing import Any

from bson import Int64

from stilldb.documents.model import Find
from stilldb.gateway import writing
from stilldb.gateway.registry import Param, command, ignored, unimplemented, whole
from stilldb.gateway.request import Request
from stilldb.query.values import Document

_INT32_MAX = 2**31 - 1


@command(
    "count",
    params=(
        Param("query", dict),
        Param("limit", int),
        Param("skip", int),
        Param("hint", (str, dict)),
        *ignored("fields"),
        *unimplemented("collation"),
    ),
)
async def count(request: Request, values: dict[str, Any]) -> Document:
    """How many documents a filter finds."""
    found = await request.documents.count(request.namespace(), query(values))
    return {"n": found if found <= _INT32_MAX else Int64(found), "ok": 1.0}


def query(values: dict[str, Any]) -> Find:
    """What the documents are asked; a negative limit means its amount."""
    return Find(
        filter=values["query"] or {},
        skip=whole("count", "skip", values["skip"]),
        limit=abs(values["limit"] or 0),
        hint=writing.hint("count", values["hint"]),
    )
