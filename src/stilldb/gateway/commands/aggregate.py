"""aggregate."""

from __future__ import annotations

from typing import Any

from stilldb.documents.model import Aggregate
from stilldb.gateway import collection_stats, writing
from stilldb.gateway.cursors import open_cursor
from stilldb.gateway.explaining import ends_in_collection, explain_aggregate
from stilldb.gateway.listing import batch_size
from stilldb.gateway.registry import REQUIRED, Param, command, ignored, not_primary, unimplemented
from stilldb.gateway.request import RawReply, Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document

PARAMS = (
    Param("pipeline", list, REQUIRED),
    Param("cursor", dict),
    Param("explain", bool, False),
    Param("hint", (str, dict)),
    *ignored("allowDiskUse", "bypassDocumentValidation", "fromMongos"),
    *unimplemented("collation", "exchange", "let"),
)


@command("aggregate", params=PARAMS)
async def aggregate(request: Request, values: dict[str, Any]) -> RawReply | Document:
    """What comes out of a pipeline, as a cursor."""
    if not isinstance(request.body[request.name], str):
        raise MongoError("FeatureNotSupported", "Feature not supported: 'aggregate without a collection'")
    ns = request.namespace()
    asked = query(values)
    if values["explain"]:
        return await explain_aggregate(request, ns, asked, "queryPlanner")
    if values["cursor"] is None:
        raise MongoError(
            "FailedToParse", "The 'cursor' option is required, except for aggregate with the explain argument"
        )
    if ends_in_collection(asked) and not request.session.context.endpoint.writer:
        raise not_primary(request.session)
    if asked.pipeline and "$collStats" in asked.pipeline[0]:
        source = collection_stats.aggregate(request, ns, asked.pipeline)
    else:
        source = request.documents.aggregate(ns, asked)
    return await open_cursor(request, str(ns), source, batch_size("aggregate", values["cursor"]))


def query(values: dict[str, Any]) -> Aggregate:
    """What the documents are asked."""
    pipeline = values["pipeline"]
    if not all(isinstance(stage, dict) for stage in pipeline):
        raise MongoError("TypeMismatch", "Each element of the 'pipeline' array must be an object")
    return Aggregate(pipeline=pipeline, hint=writing.hint("aggregate", values["hint"]))
