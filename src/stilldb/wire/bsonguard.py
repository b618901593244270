"""Limits of BSON from outside, checked before it is decoded: size, and nesting that a decoder's recursion survives. Pure.

Source: BSON specification 1.1; DocumentDB's limits (16 MiB a document, 200 levels).
"""

from __future__ import annotations

import struct

from stilldb.wire.errors import InvalidBson

MAX_DOCUMENT = 16 * 1024 * 1024
MAX_COMMAND = 48_000_000  # a command may carry many documents
MAX_DEPTH = 200
_SHALLOW = (
    MAX_DEPTH * 7
)  # a document nested that deep has at least this many bytes: shorter ones need no walk
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
_CODE_WITH_SCOPE = 0x0F
_NESTED = {0x03, 0x04, _CODE_WITH_SCOPE}


def check(document: bytes | memoryview, longest: int = MAX_DOCUMENT) -> None:
    """Raise InvalidBson for bytes that are no document, too long or nested too deep.

    The length and the end are always checked. The elements are walked only where nesting could matter: what else is wrong
    inside, the decoder finds.
    """
    size = len(document)
    if size < 5 or _INT.unpack_from(document)[0] != size or document[-1] != 0:
        raise InvalidBson("a document's length does not match its bytes")
    if size > longest:
        raise InvalidBson(f"a document of {size} bytes is larger than {longest}")
    if size > _SHALLOW:
        _walk(bytes(document))


def _walk(data: bytes) -> None:
    """Follow nested documents without recursion; everything else is skipped by its length."""
    ends = [len(data) - 1]
    at = 4
    while ends:
        if at >= ends[-1]:
            if at != ends.pop():
                raise InvalidBson("an element reaches past the end of its document")
            at += 1
            continue
        kind = data[at]
        value = data.find(b"\0", at + 1, ends[-1]) + 1
        if value == 0:
            raise InvalidBson("an element's name has no end")
        if kind == _CODE_WITH_SCOPE:  # a string, then a document as nested as any
            _read_length(data, value, ends[-1])
            value += 8 + _read_length(data, value + 4, ends[-1])
        if kind in _NESTED:
            length = _read_length(data, value, ends[-1])
            if length < 5 or data[value + length - 1] != 0:
                raise InvalidBson("an embedded document's length is wrong")
            ends.append(value + length - 1)
            if len(ends) > MAX_DEPTH:
                raise InvalidBson(f"documents are nested deeper than {MAX_DEPTH} levels")
            at = value + 4
        else:
            at = _after(data, kind, value, ends[-1])


def _read_length(data: bytes, at: int, end: int) -> int:
    if at + 4 > end:
        raise InvalidBson("an element is cut off")
    length = int(_INT.unpack_from(data, at)[0])
    if length < 0 or at + length > end:
        raise InvalidBson("an element's length reaches past its document")
    return length


def _after(data: bytes, kind: int, value: int, end: int) -> int:
    if kind in _FIXED:
        at = value + _FIXED[kind]
    elif kind in _STRINGS:
        at = value + 4 + _read_length(data, value, end)
    elif kind == 0x05:
        at = value + 5 + _read_length(data, value, end)
    elif kind == 0x0B:
        at = data.find(b"\0", data.find(b"\0", value, end) + 1, end) + 1
        if at <= value + 1:
            raise InvalidBson("a regular expression has no end")
    elif kind == 0x0C:
        at = value + 4 + _read_length(data, value, end) + 12
    else:
        raise InvalidBson(f"there is no BSON type {kind:#04x}")
    if at > end:
        raise InvalidBson("an element reaches past the end of its document")
    return at
