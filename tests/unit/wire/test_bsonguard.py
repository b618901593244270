"""BSON looked at without decoding: depth, arrays taken out as they are, and no error but a ProtocolError."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import bson
import pytest
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from stilldb.wire import bsonguard
from stilldb.wire.errors import ProtocolError

EVERY_TYPE: dict[str, Any] = {
    "double": 1.5,
    "string": "s\0t",
    "document": {"a": {"b": 1}},
    "array": [1, [2]],
    "binary": b"\0\1",
    "id": ObjectId(),
    "yes": True,
    "date": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "null": None,
    "regex": Regex("a.b", "i"),
    "code": Code("f()"),
    "scoped": Code("f()", {"x": {"y": 1}}),
    "int": 1,
    "timestamp": Timestamp(1, 2),
    "long": Int64(1),
    "decimal": Decimal128("1.5"),
    "min": MinKey(),
    "max": MaxKey(),
}


def test_every_type_is_passed_over() -> None:
    documents = [{"a": 1}, EVERY_TYPE]
    raw = bson.encode({"insert": "c", **EVERY_TYPE, "documents": documents, "after": EVERY_TYPE})
    taken = bsonguard.take_array(raw, b"documents")
    assert taken is not None
    assert taken[0] == bson.encode({"insert": "c", **EVERY_TYPE, "after": EVERY_TYPE})
    assert taken[1] == [bson.encode(document) for document in documents]


@pytest.mark.parametrize(
    "body", [{"insert": "c"}, {"insert": "c", "documents": [1]}, {"documents": {"a": 1}}]
)
def test_what_is_no_array_of_documents_is_left_to_the_decoder(body: dict[str, Any]) -> None:
    assert bsonguard.take_array(bson.encode(body), b"documents") is None


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_but_a_protocol_error(content: bytes) -> None:
    raw = (len(content) + 5).to_bytes(4, "little") + content + b"\0"
    with contextlib.suppress(ProtocolError):
        bsonguard.take_array(raw, b"documents")


@given(st.data())
def test_damaged_documents_raise_nothing_but_a_protocol_error(data: st.DataObject) -> None:
    raw = bytearray(bson.encode({**EVERY_TYPE, "documents": [EVERY_TYPE]}))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(4, len(raw) - 2))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        bsonguard.take_array(bytes(raw), b"documents")
