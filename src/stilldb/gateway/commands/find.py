"""find."""

from __future__ import annotations

from typing import Any

from stilldb.documents.model import Find
from stilldb.gateway import writing
from stilldb.gateway.cursors import open_cursor
from stilldb.gateway.registry import Param, command, ignored, unimplemented, whole
from stilldb.gateway.replies import cursor_reply
from stilldb.gateway.request import RawReply, Request
from stilldb.query.errors import MongoError
from stilldb.query.pushdown import whole_id

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


def kept(request: Request, values: dict[str, Any]) -> RawReply | None:
    """The answer to a find of one ``_id`` whose document is in memory."""
    if values["batchSize"] is not None or not _is_one_id(values):
        return None
    ns = request.namespace()
    raw = request.documents.kept_by_id(ns, values["filter"]["_id"])
    return None if raw is None else cursor_reply(str(ns), 0, [raw], first=True)


@command("find", params=PARAMS, at_once=kept)
async def find(request: Request, values: dict[str, Any]) -> RawReply:
    """Documents by a filter, as a cursor."""
    ns = request.namespace()
    size = values["batchSize"]
    if size is None and _is_one_id(values):
        raw = await request.documents.find_by_id(ns, values["filter"]["_id"])
        return cursor_reply(str(ns), 0, [] if raw is None else [raw], first=True)
    asked = query(values)
    single = values["singleBatch"]
    if size is not None:
        size = whole("find", "batchSize", size)
    return await open_cursor(request, str(ns), request.documents.find(ns, asked), size, single=single)


def _is_one_id(values: dict[str, Any]) -> bool:
    """Whether it asks for one document by its ``_id`` and for nothing else: the most used query, which needs no cursor."""
    return bool(
        values["filter"]
        and whole_id(values["filter"])
        and not values["projection"]
        and not values["sort"]
        and not values["skip"]
        and values["hint"] is None
        and (values["limit"] in (None, 0, 1))
    )


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
