"""find."""

from __future__ import annotations

from typing import Any

from stilldb.documents.model import Find
from stilldb.gateway import writing
from stilldb.gateway.cursors import open_cursor
from stilldb.gateway.registry import Param, command, ignored, unimplemented, whole
from stilldb.gateway.request import RawReply, Request
from stilldb.query.errors import MongoError

PARAMS = (
    Param("filter", dict),
    Param("projection", dict),
    Param("sort", dict),
    Param("hint", (str, dict)),
    Param("skip", int),
    Param("limit", int),
    Param("batchSize", int),
    Param("singleBatch", bool, False),
    *ignored("noCursorTimeout", "allowPartialResults", "oplogReplay", "allowDiskUse"),
    *unimplemented(
        "awaitData", "collation", "let", "max", "min", "resumeAfter", "returnKey", "showRecordId", "tailable"
    ),
)


@command("find", params=PARAMS)
async def find(request: Request, values: dict[str, Any]) -> RawReply:
    """Documents by a filter, as a cursor."""
    ns = request.namespace()
    asked = query(values)
    size = values["batchSize"]
    single = values["singleBatch"]
    if size is not None:
        size = whole("find", "batchSize", size)
    return await open_cursor(request, str(ns), request.documents.find(ns, asked), size, single=single)


def query(values: dict[str, Any]) -> Find:
    """What the documents are asked."""
    sort = values["sort"]
    if sort and sort.get("$natural") == -1:
        raise MongoError("BadValue", "$natural sorts forward only")
    return Find(
        filter=values["filter"] or {},
        projection=values["projection"] or None,
        sort=sort or None,
        skip=whole("find", "skip", values["skip"]),
        limit=whole("find", "limit", values["limit"]),
        hint=writing.hint("find", values["hint"]),
    )
