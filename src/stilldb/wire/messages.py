"""Messages: OP_MSG, the legacy handshake's OP_QUERY and OP_REPLY, OP_COMPRESSED. Bytes in, values out. Pure.

Source: MongoDB manual, 'Wire Protocol'.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib

import google_crc32c
import zstandard

from stilldb.wire import bsonguard
from stilldb.wire.errors import ProtocolError
from stilldb.wire.frames import HEADER, MAX_MESSAGE

try:
    import snappy
except ImportError:  # an optional dependency
    snappy = None

OP_REPLY = 1
OP_QUERY = 2004
OP_COMPRESSED = 2012
OP_MSG = 2013

CHECKSUM_PRESENT = 1 << 0
MORE_TO_COME = 1 << 1
EXHAUST_ALLOWED = 1 << 16
_REQUIRED_BITS = 0xFFFF  # unknown bits among these are an error, the others may be ignored

_INT = struct.Struct("<i")
_UINT = struct.Struct("<I")
_COMPRESSED = struct.Struct("<iiB")  # originalOpcode, uncompressedSize, compressorId
_REPLY = struct.Struct("<iqii")  # responseFlags, cursorID, startingFrom, numberReturned
_AWAIT_CAPABLE = 8

COMPRESSORS: dict[str, int] = {"zlib": 2, "zstd": 3} | ({"snappy": 1} if snappy is not None else {})
_NAMES = {number: name for name, number in COMPRESSORS.items()}
_LEVEL = 1


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


def parse(data: bytes) -> Message:
    """The message in ``data``, a whole one; raises ProtocolError for anything else."""
    _, request_id, _, opcode = HEADER.unpack_from(data)
    if opcode == OP_MSG:
        return _op_msg(data, request_id)
    if opcode == OP_COMPRESSED:
        return _op_compressed(data, request_id)
    if opcode == OP_QUERY:
        return _op_query(data, request_id)
    raise ProtocolError(f"the opcode {opcode} is not supported")


def _op_msg(data: bytes, request_id: int) -> Message:
    if len(data) < HEADER.size + 4:
        raise ProtocolError("an OP_MSG is cut off")
    (flags,) = _UINT.unpack_from(data, HEADER.size)
    if flags & _REQUIRED_BITS & ~(CHECKSUM_PRESENT | MORE_TO_COME):
        raise ProtocolError(f"an OP_MSG has unknown required flags {flags:#x}")
    end = len(data)
    if flags & CHECKSUM_PRESENT:
        end -= 4
        if end < HEADER.size + 4 or google_crc32c.value(data[:end]) != _UINT.unpack_from(data, end)[0]:
            raise ProtocolError("an OP_MSG's checksum is wrong")
    body: bytes | None = None
    sequences: dict[str, list[bytes]] = {}
    at = HEADER.size + 4
    while at < end:
        kind = data[at]
        if kind == 0 and body is None:
            body, at = _document(data, at + 1, end, bsonguard.MAX_COMMAND)
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


def _document(data: bytes, at: int, end: int, longest: int) -> tuple[bytes, int]:
    if at + 4 > end:
        raise ProtocolError("a document is cut off")
    (length,) = _INT.unpack_from(data, at)
    if length < 5 or at + length > end:
        raise ProtocolError("a document's length reaches past its message")
    document = data[at : at + length]
    bsonguard.check(document, longest)
    return document, at + length


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
    try:
        name = data[at + 4 : name_end].decode()
    except UnicodeDecodeError:
        raise ProtocolError("a document sequence's name is not UTF-8") from None
    documents = []
    at = name_end + 1
    while at < stop:
        document, at = _document(data, at, stop, bsonguard.MAX_DOCUMENT + 16 * 1024)
        documents.append(document)
    return name, documents, stop


def _op_query(data: bytes, request_id: int) -> Message:
    """Drivers begin with it; everything after the handshake comes as OP_MSG."""
    start = HEADER.size + 4
    name_end = data.find(b"\0", start)
    if name_end < 0 or name_end + 9 > len(data):
        raise ProtocolError("an OP_QUERY is cut off")
    try:
        collection = data[start:name_end].decode()
    except UnicodeDecodeError:
        raise ProtocolError("an OP_QUERY's collection name is not UTF-8") from None
    body, _ = _document(data, name_end + 9, len(data), bsonguard.MAX_DOCUMENT)
    return Message(request_id, OP_QUERY, 0, body, {}, collection)


def _op_compressed(data: bytes, request_id: int) -> Message:
    if len(data) < HEADER.size + _COMPRESSED.size:
        raise ProtocolError("an OP_COMPRESSED is cut off")
    opcode, size, number = _COMPRESSED.unpack_from(data, HEADER.size)
    if opcode == OP_COMPRESSED or number not in _NAMES:
        raise ProtocolError(f"an OP_COMPRESSED holds opcode {opcode} with compressor {number}")
    if not 0 <= size <= MAX_MESSAGE - HEADER.size:
        raise ProtocolError(f"an OP_COMPRESSED can't hold {size} bytes")
    content = _decompress(_NAMES[number], data[HEADER.size + _COMPRESSED.size :], size)
    message = parse(HEADER.pack(HEADER.size + size, request_id, 0, opcode) + content)
    message.compressor = _NAMES[number]
    return message


def _decompress(name: str, data: bytes, size: int) -> bytes:
    """Never more than ``size`` bytes are made, whatever the data says of itself."""
    try:
        if name == "zlib":
            content = zlib.decompressobj().decompress(data, size + 1)
        elif name == "zstd":
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as reader:
                content = reader.read(size + 1)
        else:
            if _snappy_length(data) != size:
                raise ProtocolError("snappy data has another length than its message says")
            content = bytes(snappy.uncompress(data))
    except (zlib.error, zstandard.ZstdError, ValueError, OSError) as error:
        raise ProtocolError(f"{name} data is damaged: {error}") from None
    if len(content) != size:
        raise ProtocolError(f"{name} data has another length than its message says")
    return content


def _snappy_length(data: bytes) -> int:
    """The length that a snappy block claims: a varint in front (snappy format description)."""
    value = shift = 0
    for byte in data[:5]:
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value
        shift += 7
    raise ProtocolError("snappy data has no length")


def reply(document: bytes, message: Message, reply_id: int, *, more_to_come: bool = False) -> bytes:
    """The bytes that answer ``message`` with ``document``, in the opcode that it came with."""
    if message.opcode == OP_QUERY:
        size = HEADER.size + _REPLY.size + len(document)
        return b"".join(
            (
                HEADER.pack(size, reply_id, message.request_id, OP_REPLY),
                _REPLY.pack(_AWAIT_CAPABLE, 0, 0, 1),
                document,
            )
        )
    size = HEADER.size + 5 + len(document)
    flags = MORE_TO_COME if more_to_come else 0
    return b"".join(
        (HEADER.pack(size, reply_id, message.request_id, OP_MSG), _UINT.pack(flags), b"\0", document)
    )


def compressed(data: bytes, name: str) -> bytes:
    """The message ``data`` as OP_COMPRESSED."""
    _, request_id, response_to, opcode = HEADER.unpack_from(data)
    content = data[HEADER.size :]
    if name == "zlib":
        packed = zlib.compress(content, _LEVEL)
    elif name == "zstd":
        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(content)
    else:
        packed = bytes(snappy.compress(content))
    head = HEADER.pack(HEADER.size + _COMPRESSED.size + len(packed), request_id, response_to, OP_COMPRESSED)
    return b"".join((head, _COMPRESSED.pack(opcode, len(content), COMPRESSORS[name]), packed))
