"""The sizes of a collection, as the collStats command and the ``$collStats`` stage show them."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator
from typing import Any

from bson import Int64

from stilldb.documents.model import Namespace
from stilldb.gateway.registry import whole
from stilldb.gateway.request import Request
from stilldb.query.errors import MongoError
from stilldb.query.pipeline import compile_pipeline
from stilldb.query.stages.core import NoCollections
from stilldb.query.values import Document, encode

_SIZES = ("size", "storageSize", "totalIndexSize", "totalSize")
_OPTIONS = frozenset({"latencyStats", "storageStats", "count", "queryExecStats"})


async def sizes(request: Request, ns: Namespace, scale: int) -> Document:
    """The sizes in units of ``scale`` bytes."""
    found = dict(await request.documents.stats(ns))
    found.setdefault("totalSize", found.get("storageSize", 0) + found.get("totalIndexSize", 0))
    for field in _SIZES:
        found[field] = _scaled(found.get(field, 0), scale)
    found["indexSizes"] = {name: _scaled(size, scale) for name, size in found.get("indexSizes", {}).items()}
    found.pop("ns", None)
    return {**found, "capped": False, "scaleFactor": scale}


def scale_of(of: str, value: Any) -> int:
    """A scale, a whole number of at least 1; 1 when absent."""
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise MongoError("TypeMismatch", f"BSON field '{of}.scale' must be a whole number")
    if whole(of, "scale", int(value)) < 1:
        raise MongoError(
            "Location51024", f"BSON field '{of}.scale' value must be >= 1, actual value '{value}'"
        )
    return int(value)


async def aggregate(
    request: Request, ns: Namespace, pipeline: list[Document]
) -> AsyncGenerator[list[bytes], None]:
    """What comes out of a pipeline that begins with ``$collStats``."""
    options = pipeline[0]["$collStats"]
    if not isinstance(options, dict) or not options.keys() <= _OPTIONS:
        raise MongoError("Location40415", "BSON field '$collStats' has an unknown field.")
    rest = compile_pipeline(pipeline[1:], environment=NoCollections())
    if rest.target is not None:
        raise MongoError("FeatureNotSupported", "Feature not supported: '$collStats into a collection'")
    async for batch in rest.run(_one(request, ns, options)):
        yield [encode(document) for document in batch]


async def _one(request: Request, ns: Namespace, options: Document) -> AsyncGenerator[list[Document], None]:
    shown: Document = {
        "ns": str(ns),
        "host": request.session.context.endpoint.me,
        "localTime": datetime.datetime.now(datetime.UTC),
    }
    storage = options.get("storageStats")
    if storage is not None:
        scale = storage.get("scale") if isinstance(storage, dict) else None
        shown["storageStats"] = await sizes(request, ns, scale_of("$collStats.storageStats", scale))
    if "count" in options:
        shown["count"] = Int64((await request.documents.stats(ns)).get("count", 0))
    yield [shown]


def _scaled(size: int, scale: int) -> int:
    made = int(size) // scale
    return made if made < 1 << 31 else Int64(made)
