"""Messages are read as drivers make them; whatever else comes is a ProtocolError and nothing else."""

from __future__ import annotations

import struct
from typing import Any

import bson
import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.wire import messages
from stilldb.wire.compression import COMPRESSORS
from stilldb.wire.errors import ProtocolError
from stilldb.wire.frames import HEADER, MAX_MESSAGE
from support.wire import frame, op_msg, op_query

DOCUMENTS = st.dictionaries(
    st.text("abc$.", min_size=1, max_size=4),
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.text(max_size=10),
        st.booleans(),
        st.none(),
        st.binary(max_size=9),
    ),
    max_size=5,
)
BODY = {"ping": 1, "$db": "admin"}


@given(DOCUMENTS, st.dictionaries(st.text("abc", min_size=1), st.lists(DOCUMENTS, max_size=4), max_size=3))
def test_an_op_msg_is_read_as_it_was_made(body: dict[str, Any], sequences: dict[str, Any]) -> None:
    message = messages.parse(op_msg(body, sequences, request_id=7))
    assert message.request_id == 7
    assert message.body == bson.encode(body)
    assert message.sequences == {name: [bson.encode(d) for d in given] for name, given in sequences.items()}


def test_an_op_query_is_read() -> None:
    message = messages.parse(op_query("admin.$cmd", {"isMaster": 1}))
    assert (message.opcode, message.collection) == (messages.OP_QUERY, "admin.$cmd")
    assert bson.decode(message.body) == {"isMaster": 1}


@given(st.binary(max_size=120), st.sampled_from([1, 2004, 2010, 2012, 2013]))
def test_random_content_raises_nothing_but_a_protocol_error(content: bytes, opcode: int) -> None:
    try:
        messages.parse(frame(content, opcode))
    except ProtocolError:
        pass


@given(st.data())
def test_a_message_with_damaged_bytes_raises_nothing_but_a_protocol_error(data: st.DataObject) -> None:
    good = bytearray(
        op_msg({"insert": "c", "$db": "d", "o": {"p": [1, "x"]}}, {"documents": [{"a": 1}, {"b": "c"}]})
    )
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(16, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        messages.parse(bytes(good))
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\0", "cut off"),
        (struct.pack("<I", 1 << 4) + b"\0" + bson.encode(BODY), "unknown required flags"),
        (struct.pack("<I", 0), "no body"),
        (struct.pack("<I", 0) + b"\2" + bson.encode(BODY), "section of kind 2"),
        (struct.pack("<I", 0) + 2 * (b"\0" + bson.encode(BODY)), "section of kind 0"),
        (struct.pack("<I", 0) + b"\0\xff\0\0\0\0", "length"),
        (struct.pack("<I", 0) + b"\0" + bson.encode(BODY)[:-1] + b"\1", "length"),
        (struct.pack("<I", 0) + b"\1\x06\0\0\0a\0", "no body"),
        (struct.pack("<I", 0) + b"\1\xff\0\0\0a\0", "reaches past"),
        (struct.pack("<I", 0) + b"\1\x06\0\0\0ab", "no end"),
        (struct.pack("<I", 0) + b"\1\x06\0\0\0\xff\0", "UTF-8"),
        (struct.pack("<I", 0) + 2 * b"\1\x06\0\0\0a\0", "one name"),
    ],
)
def test_what_an_op_msg_can_not_be(content: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        messages.parse(frame(content, 2013))


def test_optional_flags_that_nobody_knows_are_let_pass() -> None:
    assert messages.parse(op_msg(BODY, flags=1 << 20)).flags == 1 << 20


def checksummed(checksum: int | None = None) -> bytes:
    data = bytearray(op_msg(BODY, flags=messages.CHECKSUM_PRESENT) + b"\0\0\0\0")
    data[:4] = struct.pack("<i", len(data))
    data[-4:] = struct.pack("<I", google_crc32c.value(bytes(data[:-4])) if checksum is None else checksum)
    return bytes(data)


def test_a_right_checksum_is_taken() -> None:
    assert messages.parse(checksummed()).body == bson.encode(BODY)


def test_a_wrong_checksum_is_refused() -> None:
    with pytest.raises(ProtocolError, match="checksum"):
        messages.parse(checksummed(1))


def test_a_message_too_short_for_its_checksum_is_refused() -> None:
    with pytest.raises(ProtocolError, match="checksum"):
        messages.parse(frame(struct.pack("<I", messages.CHECKSUM_PRESENT) + b"\0\0", 2013))


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
@given(body=DOCUMENTS)
def test_compressed_messages_are_read(name: str, body: dict[str, Any]) -> None:
    message = messages.parse(messages.compressed(op_msg(body, request_id=9), name))
    assert (message.compressor, message.request_id, message.body) == (name, 9, bson.encode(body))


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
@given(content=st.binary(max_size=60), size=st.integers(-1, 1000))
def test_damaged_compressed_content_is_a_protocol_error(name: str, content: bytes, size: int) -> None:
    data = frame(struct.pack("<iiB", 2013, size, COMPRESSORS[name]) + content, messages.OP_COMPRESSED)
    with pytest.raises(ProtocolError):
        messages.parse(data)


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_a_compression_bomb_makes_no_more_than_it_says(name: str) -> None:
    bomb = messages.compressed(frame(b"\0" * 20_000_000, 2013), name)
    told = bytearray(bomb)
    struct.pack_into("<i", told, HEADER.size + 4, 1000)
    with pytest.raises(ProtocolError, match="another length"):
        messages.parse(bytes(told))


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_a_bomb_that_tells_its_size_is_refused_by_the_limit(name: str) -> None:
    with pytest.raises(ProtocolError, match="can't hold"):
        messages.parse(messages.compressed(frame(b"\0" * 100_000, 2013), name), 64 * 1024)


@pytest.mark.parametrize("opcode", [messages.OP_COMPRESSED, messages.OP_REPLY, 2010])
def test_compressed_messages_hold_commands_only(opcode: int) -> None:
    with pytest.raises(ProtocolError, match="holds opcode"):
        messages.parse(messages.compressed(frame(b"", opcode), "zlib"))


def test_the_largest_size_is_the_one_that_hello_tells() -> None:
    assert MAX_MESSAGE == 48_000_000


def test_replies_are_what_drivers_read() -> None:
    document = bson.encode({"ok": 1.0})
    reply = messages.reply(document, messages.OP_MSG, 5, 6, more_to_come=True)
    assert HEADER.unpack_from(reply) == (len(reply), 6, 5, messages.OP_MSG)
    assert reply[HEADER.size :] == struct.pack("<I", messages.MORE_TO_COME) + b"\0" + document
    legacy = messages.reply(document, messages.OP_QUERY, 5, 6)
    assert HEADER.unpack_from(legacy) == (len(legacy), 6, 5, messages.OP_REPLY)
    assert legacy[-len(document) :] == document
