"""collStats, dbStats, dataSize."""

from __future__ import annotations

import time
from typing import Any

from bson import Int64

from stilldb.documents.model import Namespace, check_database
from stilldb.gateway.registry import Param, command, ignored
from stilldb.gateway.request import Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document

_SIZES = ("size", "storageSize", "totalIndexSize", "totalSize", "freeStorageSize")


@command("collStats", params=(Param("scale", int, 1),), aliases=("collstats",))
async def coll_stats(request: Request, values: dict[str, Any]) -> Document:
    """The size of a collection and of its indexes."""
    scale = _scale("collStats", values["scale"])
    found = dict(await request.documents.stats(request.namespace()))
    for field in _SIZES:
        if field in found:
            found[field] = _scaled(found[field], scale)
    if isinstance(found.get("indexSizes"), dict):
        found["indexSizes"] = {name: _scaled(size, scale) for name, size in found["indexSizes"].items()}
    found.pop("ok", None)
    return {**found, "scaleFactor": scale, "ok": 1.0}


@command("dbStats", params=(Param("scale", int, 1), *ignored("freeStorage")), aliases=("dbstats",))
async def db_stats(request: Request, values: dict[str, Any]) -> Document:
    """The sums over a database's collections."""
    scale = _scale("dbStats", values["scale"])
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


def _scale(of: str, value: int) -> int:
    if value < 1:
        raise MongoError(
            "Location51024", f"BSON field '{of}.scale' value must be >= 1, actual value '{value}'"
        )
    return value


def _scaled(size: int, scale: int) -> int:
    made = int(size) // scale
    return made if made < 1 << 31 else Int64(made)
