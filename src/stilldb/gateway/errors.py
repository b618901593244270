"""The one funnel for errors of the data plane: what a client is told."""

from __future__ import annotations

import asyncio
import logging
import uuid

import bson
import bson.errors

from stilldb.query.errors import MongoError
from stilldb.query.values import Document
from stilldb.util.log import event

log = logging.getLogger("stilldb.gateway")


def reply_for(error: BaseException, command: str) -> Document:
    """The error reply. What is not a MongoError is logged under an id, and only the id is shown."""
    if isinstance(error, TimeoutError | asyncio.CancelledError):
        error = MongoError("MaxTimeMSExpired", "operation exceeded time limit")
    elif isinstance(error, bson.errors.InvalidBSON):
        error = MongoError("InvalidBSON", f"the command holds BSON that can't be read: {error}")
    elif isinstance(error, bson.errors.InvalidDocument | OverflowError):
        error = MongoError("BadValue", f"a value can't be stored as BSON: {error}")
    elif isinstance(error, RecursionError):
        error = MongoError("Overflow", "the command is nested too deep")
    if not isinstance(error, MongoError):
        request_id = uuid.uuid4().hex
        log.error(event("internal error", command=command, request=request_id), exc_info=error)
        error = MongoError(
            "InternalError", f"An internal error occurred. The gateway's log has it as {request_id}."
        )
    reply: Document = {
        "ok": 0.0,
        "errmsg": error.message,
        "code": error.code,
        "codeName": error.name,
        **error.details,
    }
    if error.labels:
        reply["errorLabels"] = list(error.labels)
    return reply
