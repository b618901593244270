"""collStats, dbStats, dataSize."""

from __future__ import annotations

import time
from typing import Any

from bson import Int64

from stilldb.documents.model import Namespace, check_database
from stilldb.gateway.collection_stats import scale_of, sizes
from stilldb.gateway.registry import Param, command, ignored
from stilldb.gateway.request import Request
from stilldb.query.values import Document


@command("collStats", params=(Param("scale", (int, float)),), aliases=("collstats",))
async def coll_stats(request: Request, values: dict[str, Any]) -> Document:
    """The size of a collection and of its indexes."""
    ns = request.namespace()
    found = await sizes(request, ns, scale_of("collStats", values["scale"]))
    return {"ns": str(ns), **found, "ok": 1.0}


@command("dbStats", params=(Param("scale", (int, float)), *ignored("freeStorage")), aliases=("dbstats",))
async def db_stats(request: Request, values: dict[str, Any]) -> Document:
    """The sums over a database's collections."""
    scale = scale_of("dbStats", values["scale"])
    check_database(request.database)
    names = [info.name for info in await request.documents.list_collections(request.database)]
    all_of = [await request.documents.stats(Namespace(request.database, name)) for name in names]
    objects = sum(one.get("count", 0) for one in all_of)
    size = sum(one.get("size", 0) for one in all_of)
    storage = sum(one.get("storageSize", 0) for one in all_of)
    index_size = sum(one.get("totalIndexSize", 0) for one in all_of)
    return {
        "db": request.database,
        "collections": len(names),
        "views": 0,
        "objects": Int64(objects),
        "avgObjSize": size / objects if objects else 0.0,
        "dataSize": size / scale,
        "storageSize": storage / scale,
        "indexes": sum(one.get("nindexes", 0) for one in all_of),
        "indexSize": index_size / scale,
        "totalSize": (storage + index_size) / scale,
        "scaleFactor": scale,
        "ok": 1.0,
    }


@command("dataSize", params=(*ignored("estimate"),), aliases=("datasize",))
async def data_size(request: Request, values: dict[str, Any]) -> Document:
    """The bytes of a collection's documents; the command names it with its database."""
    begun = time.perf_counter()
    database, _, collection = str(request.body[request.name]).partition(".")
    found = await request.documents.stats(Namespace.checked(database, collection))
    return {
        "size": Int64(found.get("size", 0)),
        "numObjects": Int64(found.get("count", 0)),
        "millis": round((time.perf_counter() - begun) * 1000),
        "estimate": False,
        "ok": 1.0,
    }
