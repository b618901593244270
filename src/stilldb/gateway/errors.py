"""The one funnel for errors of the data plane: what a client is told."""

from __future__ import annotations

import logging
import uuid

import bson
import bson.errors

from stilldb.query.errors import MongoError
from stilldb.query.values import Document, encode
from stilldb.util.log import event
from stilldb.wire.errors import ProtocolError

log = logging.getLogger("stilldb.gateway")


def reply_for(error: Exception, command: str) -> Document:
    """The error reply. What nobody expects is logged under an id, and only the id is shown."""
    if not isinstance(error, MongoError):
        error = expected(error) or _internal(error, command)
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


def encoded_reply(error: Exception, command: str) -> bytes:
    """The error reply's BSON; without the error's details when they are no BSON."""
    try:
        return encode(reply_for(error, command))
    except Exception as unfit:  # noqa: BLE001 - a client is always answered
        return encode(reply_for(_internal(unfit, command), command))


def out_of_time() -> MongoError:
    """The answer when maxTimeMS has passed."""
    return MongoError("MaxTimeMSExpired", "operation exceeded time limit")


def expected(error: Exception) -> MongoError | None:
    """The MongoError that an error of another kind stands for; None for what nobody expects."""
    if isinstance(error, OSError | EOFError):  # TimeoutError too: PostgreSQL did not answer
        return MongoError("HostUnreachable", "the instance's storage does not answer; try again")
    if isinstance(error, bson.errors.InvalidBSON | ProtocolError):
        return MongoError("InvalidBSON", f"the command holds BSON that can't be read: {error}")
    if isinstance(error, bson.errors.InvalidDocument | OverflowError):
        return MongoError("BadValue", f"a value can't be stored as BSON: {error}")
    if isinstance(error, RecursionError):
        return MongoError("Overflow", "the command is nested too deep")
    return None


def _internal(error: Exception, command: str) -> MongoError:
    request_id = uuid.uuid4().hex
    log.error(event("internal error", command=command, request=request_id), exc_info=error)
    return MongoError(
        "InternalError", f"An internal error occurred. The gateway's log has it as {request_id}."
    )
