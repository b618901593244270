"""Messages: OP_MSG, the legacy handshake's OP_QUERY and OP_REPLY, OP_COMPRESSED. Bytes in, values out. Pure.

Source: MongoDB manual, 'Wire Protocol'.
"""

from __future__ import annotations

import dataclasses
import struct

from stilldb.wire import bsonguard
from stilldb.wire.compression import COMPRESSORS, NAMES, compress, decompress
from stilldb.wire.errors import ProtocolError
from stilldb.wire.frames import HEADER, MAX_MESSAGE

OP_REPLY = 1
OP_QUERY = 2004
OP_COMPRESSED = 2012
OP_MSG = 2013

CHECKSUM_PRESENT = 1 << 0
MORE_TO_COME = 1 << 1
EXHAUST_ALLOWED = 1 << 16
_REQUIRED_BITS = 0xFFFF  # unknown bits among these are an error, the others may be ignored
_FLAGS_END = HEADER.size + 4
# A document sequence's statement holds a document of the largest size and what is said about it.
_MAX_STATEMENT = bsonguard.MAX_DOCUMENT + 16 * 1024

_INT = struct.Struct("<i")
_UINT = struct.Struct("<I")
_COMPRESSED = struct.Struct("<iiB")  # originalOpcode, uncompressedSize, compressorId
_REPLY = struct.Struct("<iiiiiqii")  # header, then responseFlags, cursorID, startingFrom, numberReturned
_MSG = struct.Struct("<iiiiIB")  # header, flags, kind of the section
_AWAIT_CAPABLE = 8


@dataclasses.dataclass(slots=True)
class Message:
    """One request: the command document's bytes, and the document sequences beside it."""

    request_id: int
    opcode: int
    flags: int
    body: bytes
    sequences: dict[str, list[bytes]]
    collection: str = ""  # OP_QUERY's full collection name
    compressor: str | None = None


def parse(data: bytes, limit: int = MAX_MESSAGE) -> Message:
    """The message in ``data``, a whole one; raises ProtocolError for anything else.

    ``limit`` is how many bytes it may have when it is decompressed.
    """
    _, request_id, _, opcode = HEADER.unpack_from(data)
    if opcode == OP_MSG:
        return _op_msg(data, request_id)
    if opcode == OP_COMPRESSED:
        return _op_compressed(data, request_id, limit)
    if opcode == OP_QUERY:
        return _op_query(data, request_id)
    raise ProtocolError(f"the opcode {opcode} is not supported")


def _op_msg(data: bytes, request_id: int) -> Message:
    end = len(data)
    if end < _FLAGS_END:
        raise ProtocolError("an OP_MSG is cut off")
    (flags,) = _UINT.unpack_from(data, HEADER.size)
    if flags & _REQUIRED_BITS & ~(CHECKSUM_PRESENT | MORE_TO_COME):
        raise ProtocolError(f"an OP_MSG has unknown required flags {flags:#x}")
    if flags & CHECKSUM_PRESENT:
        end = _before_checksum(data)
    body: bytes | None = None
    sequences: dict[str, list[bytes]] = {}
    at = _FLAGS_END
    while at < end:
        kind = data[at]
        if kind == 0 and body is None:
            body, at = bsonguard.document_at(data, at + 1, end, bsonguard.MAX_COMMAND)
        elif kind == 1:
            name, documents, at = _sequence(data, at + 1, end)
            if name in sequences:
                raise ProtocolError("an OP_MSG has two document sequences of one name")
            sequences[name] = documents
        else:
            raise ProtocolError(f"an OP_MSG has a section of kind {kind} that it can't have")
    if body is None:
        raise ProtocolError("an OP_MSG has no body")
    return Message(request_id, OP_MSG, flags, body, sequences)


def _before_checksum(data: bytes) -> int:
    """Where the sections end in a message that has a checksum, a right one."""
    import google_crc32c  # noqa: PLC0415 - few drivers send checksums, and it costs a start 5 ms and 1 MB

    end = len(data) - 4
    if end < _FLAGS_END or google_crc32c.value(data[:end]) != _UINT.unpack_from(data, end)[0]:
        raise ProtocolError("an OP_MSG's checksum is wrong")
    return end


def _sequence(data: bytes, at: int, end: int) -> tuple[str, list[bytes], int]:
    if at + 4 > end:
        raise ProtocolError("a document sequence is cut off")
    (length,) = _INT.unpack_from(data, at)
    stop = at + length
    if length < 6 or stop > end:
        raise ProtocolError("a document sequence's length reaches past its message")
    name_end = data.find(b"\0", at + 4, stop)
    if name_end < 0:
        raise ProtocolError("a document sequence's name has no end")
    name = _text(data[at + 4 : name_end])
    documents: list[bytes] = []
    at = name_end + 1
    while at < stop:
        document, at = bsonguard.document_at(data, at, stop, _MAX_STATEMENT)
        documents.append(document)
    return name, documents, stop


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolError("a name is not UTF-8") from None


def _op_query(data: bytes, request_id: int) -> Message:
    """Drivers begin with it; everything after the handshake comes as OP_MSG."""
    name_end = data.find(b"\0", _FLAGS_END)
    if name_end < 0 or name_end + 9 > len(data):
        raise ProtocolError("an OP_QUERY is cut off")
    collection = _text(data[_FLAGS_END:name_end])
    body, _ = bsonguard.document_at(data, name_end + 9, len(data), bsonguard.MAX_DOCUMENT)
    return Message(request_id, OP_QUERY, 0, body, {}, collection)


def _op_compressed(data: bytes, request_id: int, limit: int) -> Message:
    if len(data) < HEADER.size + _COMPRESSED.size:
        raise ProtocolError("an OP_COMPRESSED is cut off")
    opcode, size, number = _COMPRESSED.unpack_from(data, HEADER.size)
    if opcode not in (OP_MSG, OP_QUERY) or number not in NAMES:
        raise ProtocolError(f"an OP_COMPRESSED holds opcode {opcode} with compressor {number}")
    if not 0 <= size <= limit - HEADER.size:
        raise ProtocolError(f"an OP_COMPRESSED can't hold {size} bytes")
    content = decompress(NAMES[number], data[HEADER.size + _COMPRESSED.size :], size)
    message = parse(HEADER.pack(HEADER.size + size, request_id, 0, opcode) + content)
    message.compressor = NAMES[number]
    return message


def reply(
    document: bytes, opcode: int, response_to: int, reply_id: int, *, more_to_come: bool = False
) -> bytes:
    """The bytes that answer request ``response_to``, which came in ``opcode``, with ``document``."""
    if opcode == OP_QUERY:
        size = _REPLY.size + len(document)
        return _REPLY.pack(size, reply_id, response_to, OP_REPLY, _AWAIT_CAPABLE, 0, 0, 1) + document
    flags = MORE_TO_COME if more_to_come else 0
    return _MSG.pack(_MSG.size + len(document), reply_id, response_to, OP_MSG, flags, 0) + document


def compressed(data: bytes, name: str) -> bytes:
    """The message ``data`` as OP_COMPRESSED."""
    _, request_id, response_to, opcode = HEADER.unpack_from(data)
    content = data[HEADER.size :]
    packed = compress(name, content)
    head = HEADER.pack(HEADER.size + _COMPRESSED.size + len(packed), request_id, response_to, OP_COMPRESSED)
    return b"".join((head, _COMPRESSED.pack(opcode, len(content), COMPRESSORS[name]), packed))
