"""The byte form of BSON order: bytes that compare as the values do, for B-trees of a database that knows no BSON.

For all values ``encode(a) < encode(b)`` exactly where ``compare(a, b) < 0``, and the bytes are equal where it is 0 (also
for 1, 1.0 and Decimal128("1")). No key is the beginning of another, so that the keys of a compound index are simply
joined. Every key begins with a byte for its class, which is neither 0x00 nor 0xFF.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final

from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from stilldb.query.multikey import Path, expand
from stilldb.query.numberkeys import decimal_payload, float_payload, integer_payload
from stilldb.query.order import CLASSES, regex_options
from stilldb.query.paths import split_field_path
from stilldb.query.values import MISSING, UNDEFINED, Document, Missing, Undefined

# The classes of BSON order as bytes; what comes first is chosen so that 0x00 and 0xFF stay free.
_BYTES: Final = {name: bytes([number + 0x10]) for name, number in CLASSES.items()}
_BYTES["minKey"], _BYTES["maxKey"] = b"\x08", b"\xf0"
_END: Final = b"\x00"
_COMPLEMENT: Final = bytes(255 - byte for byte in range(256))
_UINT: Final = Struct(">I")
_ULONG: Final = Struct(">Q")
_TIMESTAMP: Final = Struct(">II")

_NULL: Final = _BYTES["null"]
_STRING: Final = _BYTES["string"]
_OBJECT_ID: Final = _BYTES["objectId"]
_NUMBER: Final = _BYTES["number"]

# The class byte and the bytes after it; objects put a field's name between the two.
_Parts = tuple[bytes, bytes]


def _text(value: str) -> bytes:
    """UTF-8 with an end mark; the two lowest bytes are written as two, so that the end mark stays below all."""
    raw = value.encode()
    if b"\x00" in raw or b"\x01" in raw:
        raw = raw.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01")
    return raw + _END


def _object(value: dict[str, Any]) -> _Parts:
    made = []
    for name, item in value.items():
        head, payload = _MAKERS[type(item)](item)
        made += [head, _text(name), payload]
    return _BYTES["object"], b"".join(made) + _END


def _array(value: list[Any]) -> _Parts:
    return _BYTES["array"], b"".join([encode(item) for item in value]) + _END


def _binary(value: bytes) -> _Parts:
    subtype = value.subtype if isinstance(value, Binary) else 0
    return _BYTES["binData"], _UINT.pack(len(value)) + bytes([subtype]) + bytes(value)


def _regex(value: Regex[Any]) -> _Parts:
    pattern = value.pattern if isinstance(value.pattern, str) else value.pattern.decode("utf-8", "replace")
    return _BYTES["regex"], _text(pattern) + _text(regex_options(value))


def _code(value: Code) -> _Parts:
    if value.scope is None:
        return _BYTES["javascript"], _text(str(value))
    return _BYTES["javascriptWithScope"], _text(str(value)) + _object(dict(value.scope))[1]


def _constant(name: str) -> Callable[[Any], _Parts]:
    parts = (_BYTES[name], b"")
    return lambda value: parts


class _Makers(dict[type, Callable[[Any], _Parts]]):
    """What encodes each type; a subclass is found once and then remembered."""

    def __missing__(self, kind: type) -> Callable[[Any], _Parts]:
        for base in kind.__mro__:
            if base in self:
                self[kind] = self[base]
                return self[base]
        raise TypeError(f"{kind.__name__} is no BSON type")


_MAKERS: Final = _Makers(
    {
        type(None): _constant("null"),
        Missing: _constant("null"),
        Undefined: _constant("undefined"),
        bool: lambda value: (_BYTES["bool"], b"\x02" if value else b"\x01"),
        int: lambda value: (_NUMBER, integer_payload(value)),
        Int64: lambda value: (_NUMBER, integer_payload(int(value))),
        float: lambda value: (_NUMBER, float_payload(value)),
        Decimal128: lambda value: (_NUMBER, decimal_payload(value.to_decimal())),
        str: lambda value: (_STRING, _text(value)),
        dict: _object,
        DBRef: lambda value: _object(value.as_doc()),
        list: _array,
        bytes: _binary,
        Binary: _binary,
        ObjectId: lambda value: (_OBJECT_ID, value.binary),
        DatetimeMS: lambda value: (_BYTES["date"], _ULONG.pack(int(value) + 2**63)),
        Timestamp: lambda value: (_BYTES["timestamp"], _TIMESTAMP.pack(value.time, value.inc)),
        Regex: _regex,
        Code: _code,
        MinKey: _constant("minKey"),
        MaxKey: _constant("maxKey"),
    }
)


def encode(value: Any) -> bytes:
    """The key of ``value``; MISSING is encoded as null, as indexes do. Raises TypeError for what is no BSON value."""
    kind = type(value)
    if kind is ObjectId:
        return _OBJECT_ID + value.binary  # type: ignore[no-any-return]
    if kind is str:
        return _STRING + _text(value)
    head, payload = _MAKERS[kind](value)
    return head + payload


def descending(key: bytes) -> bytes:
    """The key of the opposite order."""
    return key.translate(_COMPLEMENT)


def compound(values: Sequence[Any], directions: Sequence[int]) -> bytes:
    """The key of ``values`` together, each ascending (1) or descending (-1)."""
    if len(values) == 1:
        key = encode(values[0])
        return key if directions[0] > 0 else descending(key)
    return b"".join(
        [
            encode(value) if direction > 0 else descending(encode(value))
            for value, direction in zip(values, directions, strict=True)
        ]
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of an index; ``names`` are those of the top level, None if there are deeper ones."""

    paths: tuple[Path, ...]
    directions: tuple[int, ...]
    names: tuple[str, ...] | None


@functools.lru_cache(maxsize=1024)
def _fields(pairs: tuple[tuple[str, int], ...]) -> _Fields:
    paths = tuple(split_field_path(path) for path, _ in pairs)
    names = tuple(path[0] for path in paths) if all(len(path) == 1 for path in paths) else None
    return _Fields(paths, tuple(direction for _, direction in pairs), names)


def _values(document: Document, fields: _Fields) -> list[tuple[Any, ...]]:
    """What ``expand`` gives, without its detours where no array or a single one of the top level is met."""
    names = fields.names
    if names is None:
        return expand(document, fields.paths)
    if len(names) == 1:
        value = document.get(names[0], MISSING)
        if not isinstance(value, list):
            return [(value,)]
        return [(item,) for item in value or (UNDEFINED,)]
    values = [document.get(name, MISSING) for name in names]
    return expand(document, fields.paths) if list in map(type, values) else [tuple(values)]


def index_keys(document: Document, fields: tuple[tuple[str, int], ...], sparse: bool = False) -> list[bytes]:
    """The different keys that ``document`` has in an index on ``fields``, pairs of path and direction.

    A sparse index leaves out documents with none of the fields. Raises MongoError CannotIndexParallelArrays if two fields
    lead into different arrays. Source: MongoDB manual, "Multikey Indexes", "Sparse Indexes".
    """
    known = _fields(fields)
    found = _values(document, known)
    if sparse:
        found = [values for values in found if any(value is not MISSING for value in values)]
    if len(found) == 1:
        return [compound(found[0], known.directions)]
    return list(dict.fromkeys([compound(values, known.directions) for values in found]))
