"""create."""

from __future__ import annotations

from typing import Any

from stilldb.gateway.registry import Param, command, ignored, unimplemented
from stilldb.gateway.request import Request
from stilldb.query.values import Document

_REFUSED = (
    "capped",
    "changeStreamPreAndPostImages",
    "clusteredIndex",
    "collation",
    "encryptedFields",
    "expireAfterSeconds",
    "max",
    "pipeline",
    "size",
    "timeseries",
    "validator",
    "viewOn",
)


@command(
    "create",
    params=(
        Param("storageEngine", dict),
        *ignored(
            "autoIndexId", "flags", "idIndex", "indexOptionDefaults", "validationAction", "validationLevel"
        ),
        *unimplemented(*_REFUSED),
    ),
    writes=True,
)
async def create(request: Request, values: dict[str, Any]) -> Document:
    """An empty collection."""
    options = {"storageEngine": values["storageEngine"]} if values["storageEngine"] else {}
    await request.documents.create_collection(request.namespace(), options)
    return {"ok": 1.0}
