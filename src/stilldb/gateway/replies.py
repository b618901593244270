"""Replies that hold raw documents, put together from bytes: no document is decoded."""

from __future__ import annotations

import struct

from stilldb.gateway.request import RawReply
from stilldb.query.values import Document, encode

_INT = struct.Struct("<i")
_LONG = struct.Struct("<q")
_KEYS = [b"\x03" + str(number).encode() + b"\x00" for number in range(1000)]
_OK = b"\x01ok\x00" + struct.pack("<d", 1.0)


def array(documents: list[bytes]) -> bytes:
    """A BSON array of raw documents."""
    count = len(documents)
    parts = [b""] * (2 * count)
    if count <= len(_KEYS):
        parts[::2] = _KEYS[:count]
    else:
        parts[::2] = _KEYS + [b"\x03%d\x00" % number for number in range(len(_KEYS), count)]
    parts[1::2] = documents
    content = b"".join(parts)
    return b"".join((_INT.pack(len(content) + 5), content, b"\x00"))


def cursor_reply(namespace: str, cursor_id: int, batch: list[bytes], *, first: bool) -> RawReply:
    """``{cursor: {firstBatch | nextBatch, id, ns}, ok: 1}``."""
    name = namespace.encode()
    cursor = b"".join(
        (
            b"\x04firstBatch\x00" if first else b"\x04nextBatch\x00",
            array(batch),
            b"\x12id\x00",
            _LONG.pack(cursor_id),
            b"\x02ns\x00",
            _INT.pack(len(name) + 1),
            name,
            b"\x00\x00",
        )
    )
    content = b"".join((b"\x03cursor\x00", _INT.pack(len(cursor) + 4), cursor, _OK, b"\x00"))
    return RawReply(_INT.pack(len(content) + 4) + content)


def append_raw(document: Document, field: str, raw: bytes | None) -> RawReply:
    """``document``, then ``field`` with a raw document or null, then ``ok: 1``."""
    name = field.encode() + b"\x00"
    value = b"\x0a" + name if raw is None else b"".join((b"\x03", name, raw))
    content = b"".join((encode(document)[4:-1], value, _OK, b"\x00"))
    return RawReply(_INT.pack(len(content) + 4) + content)
