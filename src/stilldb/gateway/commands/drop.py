"""drop and dropDatabase."""

from __future__ import annotations

from typing import Any

from stilldb.documents.model import check_database
from stilldb.gateway.registry import command
from stilldb.gateway.request import Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document


@command("drop", writes=True)
async def drop(request: Request, values: dict[str, Any]) -> Document:
    """Drop a collection with its indexes."""
    ns = request.namespace()
    indexes = await request.documents.drop_collection(ns)
    if indexes is None:
        raise MongoError("NamespaceNotFound", "ns not found")
    return {"nIndexesWas": indexes, "ns": str(ns), "ok": 1.0}


@command("dropDatabase", writes=True)
async def drop_database(request: Request, values: dict[str, Any]) -> Document:
    """Drop every collection of a database; one that is not there is no error."""
    check_database(request.database)
    dropped = await request.documents.drop_database(request.database)
    return {"dropped": request.database, "ok": 1.0} if dropped else {"ok": 1.0}
