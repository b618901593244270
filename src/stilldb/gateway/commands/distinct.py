"""distinct."""

from __future__ import annotations

from typing import Any

from stilldb.gateway.registry import REQUIRED, Param, command, ignored, unimplemented
from stilldb.gateway.request import Request
from stilldb.query.values import Document


@command(
    "distinct",
    params=(Param("key", str, REQUIRED), Param("query", dict), *ignored("hint"), *unimplemented("collation")),
)
async def distinct(request: Request, values: dict[str, Any]) -> Document:
    """The values of a field, each once."""
    found = await request.documents.distinct(request.namespace(), values["key"], values["query"] or {})
    return {"values": found, "ok": 1.0}
