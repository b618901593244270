"""BSON from outside, looked at without decoding it: its size, and an array's documents as they are. Pure.

What is wrong inside a document, its decoder finds; it survives any depth. Source: BSON specification 1.1; DocumentDB's
limit of 16 MiB a document.
"""

from __future__ import annotations

import struct

from stilldb.wire.errors import ProtocolError

MAX_DOCUMENT = 16 * 1024 * 1024
MAX_COMMAND = 48_000_000  # a command may carry many documents
_INT = struct.Struct("<i")

# Element type -> size of its value in bytes; the others have a length of their own.
_FIXED = {
    0x01: 8,
    0x06: 0,
    0x07: 12,
    0x08: 1,
    0x09: 8,
    0x0A: 0,
    0x10: 4,
    0x11: 8,
    0x12: 8,
    0x13: 16,
    0xFF: 0,
    0x7F: 0,
}
_STRINGS = {0x02, 0x0D, 0x0E}
_DOCUMENT, _ARRAY, _BINARY, _REGEX, _POINTER, _CODE_WITH_SCOPE = 0x03, 0x04, 0x05, 0x0B, 0x0C, 0x0F
_NESTED = {_DOCUMENT, _ARRAY, _CODE_WITH_SCOPE}


def document_at(data: bytes, at: int, end: int, longest: int) -> tuple[bytes, int]:
    """The document that begins at ``at`` and where it ends; raises ProtocolError unless it lies before ``end``."""
    if at + 4 > end:
        raise ProtocolError("a document is cut off")
    (length,) = _INT.unpack_from(data, at)
    stop = at + length
    if length < 5 or stop > end or data[stop - 1] != 0:
        raise ProtocolError("a document's length does not match its bytes")
    if length > longest:
        raise ProtocolError(f"a document of {length} bytes is larger than {longest}")
    return data[at:stop], stop


def take_array(command: bytes, field: bytes) -> tuple[bytes, list[bytes]] | None:
    """``command`` without its top-level array ``field``, and the documents of that array as they are.

    None when there is no such field, or it is no array of documents: then the decoder may have it. Raises ProtocolError
    for what is no BSON.
    """
    at, end = 4, len(command) - 1
    while at < end:
        value = _end_of_name(command, at, end)
        after = _after(command, command[at], value, end)
        if command[at] == _ARRAY and command[at + 1 : value - 1] == field:
            documents = _array_documents(command, value, after)
            if documents is None:
                return None
            size = _INT.pack(len(command) - (after - at))
            return b"".join((size, command[4:at], command[after:])), documents
        at = after
    return None


def _array_documents(data: bytes, start: int, stop: int) -> list[bytes] | None:
    documents: list[bytes] = []
    at, end = start + 4, stop - 1
    while at < end:
        if data[at] != _DOCUMENT:
            return None
        document, at = document_at(data, _end_of_name(data, at, end), end, MAX_COMMAND)
        documents.append(document)
    return documents


def _end_of_name(data: bytes, at: int, end: int) -> int:
    value = data.find(b"\0", at + 1, end) + 1
    if value == 0:
        raise ProtocolError("an element's name has no end")
    return value


def _read_length(data: bytes, at: int, end: int) -> int:
    if at + 4 > end:
        raise ProtocolError("an element is cut off")
    length = int(_INT.unpack_from(data, at)[0])
    if length < 0 or at + length > end:
        raise ProtocolError("an element's length reaches past its document")
    return length


def _after(data: bytes, kind: int, value: int, end: int) -> int:
    """Where the element ends whose value of type ``kind`` begins at ``value``."""
    if kind in _FIXED:
        at = value + _FIXED[kind]
    elif kind in _STRINGS:
        at = value + 4 + _read_length(data, value, end)
    elif kind in _NESTED:
        length = _read_length(data, value, end)
        if length < 5:
            raise ProtocolError("an embedded document's length is wrong")
        at = value + length
    elif kind == _BINARY:
        at = value + 5 + _read_length(data, value, end)
    elif kind == _REGEX:
        pattern = data.find(b"\0", value, end) + 1
        at = data.find(b"\0", pattern, end) + 1
        if pattern == 0 or at == 0:
            raise ProtocolError("a regular expression has no end")
    elif kind == _POINTER:
        at = value + 4 + _read_length(data, value, end) + 12
    else:
        raise ProtocolError(f"there is no BSON type {kind:#04x}")
    if at > end:
        raise ProtocolError("an element reaches past the end of its document")
    return at
