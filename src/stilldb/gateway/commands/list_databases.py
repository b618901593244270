"""listDatabases."""

from __future__ import annotations

from typing import Any

from bson import Int64

from stilldb.gateway.listing import matching
from stilldb.gateway.registry import Param, command, ignored
from stilldb.gateway.request import Request
from stilldb.query.values import Document


@command(
    "listDatabases",
    params=(Param("filter", dict), Param("nameOnly", bool, False), *ignored("authorizedDatabases")),
    admin=True,
)
async def list_databases(request: Request, values: dict[str, Any]) -> Document:
    """The databases and their sizes in bytes."""
    infos = await request.documents.list_databases()
    shown = [
        {"name": info.name, "sizeOnDisk": Int64(info.size), "empty": info.size == 0}
        for info in sorted(infos, key=lambda info: info.name)
    ]
    found = matching(shown, values["filter"])
    if values["nameOnly"]:
        return {"databases": [{"name": one["name"]} for one in found], "ok": 1.0}
    total = sum(one["sizeOnDisk"] for one in found)
    return {
        "databases": found,
        "totalSize": Int64(total),
        "totalSizeMb": Int64(total // (1024 * 1024)),
        "ok": 1.0,
    }
