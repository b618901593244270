"""The funnel: every error becomes a reply that a driver understands and that tells nothing of the inside."""

from __future__ import annotations

from typing import Any

import bson
import bson.errors
import pytest

from stilldb.gateway import errors
from stilldb.query.errors import MongoError
from stilldb.wire.errors import ProtocolError


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (MongoError("BadValue", "no"), 2, "BadValue"),
        (MongoError("Location31249", "no"), 31249, "Location31249"),
        (ConnectionRefusedError("socket"), 6, "HostUnreachable"),
        (TimeoutError(), 6, "HostUnreachable"),
        (EOFError(), 6, "HostUnreachable"),
        (bson.errors.InvalidBSON("bad"), 22, "InvalidBSON"),
        (ProtocolError("bad"), 22, "InvalidBSON"),
        (bson.errors.InvalidDocument("bad"), 2, "BadValue"),
        (OverflowError("too big"), 2, "BadValue"),
        (RecursionError(), 15, "Overflow"),
        (KeyError("inside"), 1, "InternalError"),
    ],
)
def test_every_error_has_its_code(error: Exception, code: int, name: str) -> None:
    reply = errors.reply_for(error, "find")
    assert (reply["ok"], reply["code"], reply["codeName"]) == (0.0, code, name)
    assert "inside" not in reply["errmsg"]


def test_labels_and_details_are_part_of_the_reply() -> None:
    details: dict[str, Any] = {"keyPattern": {"a": 1}}
    error = MongoError("WriteConflict", "again", labels=("TransientTransactionError",), details=details)
    reply = bson.decode(errors.encoded_reply(error, "insert"))
    assert reply["errorLabels"] == ["TransientTransactionError"]
    assert reply["keyPattern"] == {"a": 1}


def test_details_that_are_no_bson_do_not_cost_the_answer() -> None:
    reply = bson.decode(errors.encoded_reply(MongoError("BadValue", "no", details={"x": object()}), "find"))
    assert (reply["ok"], reply["code"]) == (0.0, 1)
