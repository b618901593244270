"""The query form of a document: JSON that PostgreSQL's SQL/JSON paths can search. The BSON beside it is the truth.

Numbers become JSON numbers, and the digits behind the point tell which BSON type each was, since PostgreSQL keeps them:

    int32 ``5``      double ``5.0``, ``0.25``, ``1e16``      int64 ``5.00``      decimal128 ``5.000``, ``0.1000``

A double's shortest form never ends in two zeros, and one without a point is larger than any int32. Types that JSON lacks
become an object with one member whose name begins with TAG. A document that has no faithful form (see ``encode``) has
none, and a query must look at its BSON. ``_id`` is left out: it has a column of its own.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import orjson
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.dbref import DBRef

from stilldb.query.pushdown import LONGEST_BINARY, TAG
from stilldb.query.values import Document

_TAG_BYTES: Final = TAG.encode()  # a document that has it anywhere gets no form
_TAG_FIRST: Final = _TAG_BYTES[:1]
DATE: Final = TAG + "d"  # milliseconds
OBJECT_ID: Final = TAG + "o"  # 24 hexadecimal digits
REGEX: Final = TAG + "r"  # pattern and flags
BINARY: Final = TAG + "b"  # subtype and bytes, hexadecimal
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME
_MAYBE_NOT_FINITE: Final = re.compile(rb"[\xf0-\xff][\x7f\xff]")
_MINUS_ZERO: Final = re.compile(rb"-0\.0(?![0-9])")
_LONGEST_DECIMAL: Final = 400  # digits that a decimal128 may need when it is written out


class NoForm(Exception):
    """The document holds a value that has no form."""


def encode(document: Document, raw: bytes) -> bytes | None:
    """The query form of ``document``, whose BSON is ``raw``; None when it has no faithful one.

    JSON has no NaN and no infinities; jsonb no NUL in strings and no minus zero; TAG would be taken for ours.
    """
    # One byte is found ten times faster than several: each search for a rare one comes first.
    if _TAG_FIRST in raw and _TAG_BYTES in raw:
        return None
    fields = document
    if "_id" in document:
        fields = document.copy()
        del fields["_id"]
    try:
        text = orjson.dumps(fields, default=_tagged, option=_OPTIONS)
    except (orjson.JSONEncodeError, NoForm):
        return None
    if (b"\\" in text and b"\\u0000" in text) or (b"-" in text and _MINUS_ZERO.search(text)):
        return None
    # orjson writes null for what is not finite; look for one only where there can be one.
    if b"null" in text and _MAYBE_NOT_FINITE.search(raw) and _has_not_finite(fields):
        return None
    return text


def _has_not_finite(value: Any) -> bool:
    if type(value) is float:
        return value - value != 0
    if isinstance(value, dict):
        return any(map(_has_not_finite, value.values()))
    return isinstance(value, list) and any(map(_has_not_finite, value))


def _tagged(value: Any) -> Any:
    kind = type(value)
    if kind is Int64:
        return orjson.Fragment(b"%d.00" % value)
    if kind is ObjectId:
        return {OBJECT_ID: str(value)}
    if kind is DatetimeMS:
        return {DATE: int(value)}
    if kind is bytes:
        return binary(value, 0)
    return _RARE[kind](value) if kind in _RARE else _unknown(value)


def _unknown(value: Any) -> Any:
    raise NoForm(type(value).__name__)


def binary(value: bytes, subtype: int) -> dict[str, str]:
    """The form of binary data; of long data a digest, which compares with nothing."""
    if len(value) > LONGEST_BINARY:
        return {TAG + "l": hashlib.sha256(value).hexdigest()}
    return {BINARY: f"{subtype:02x}{value.hex()}"}


def decimal_text(value: Decimal128) -> str:
    """A decimal128 with three more zeros than it needs."""
    exact = value.to_decimal()
    if not exact.is_finite():
        raise NoForm("a decimal that is no number")
    if abs(exact.adjusted()) > _LONGEST_DECIMAL or (exact == 0 and exact.is_signed()):
        raise NoForm("a decimal too far from one to be written out")
    text = f"{exact:f}"
    return text + "000" if "." in text else text + ".000"


_RARE: Final[dict[type, Any]] = {
    Binary: lambda value: binary(bytes(value), value.subtype),
    Decimal128: lambda value: orjson.Fragment(decimal_text(value).encode()),
    Regex: lambda value: {REGEX: [str(value.pattern), value.flags]},
    Timestamp: lambda value: {TAG + "t": [value.time, value.inc]},
    MinKey: lambda value: {TAG + "m": -1},
    MaxKey: lambda value: {TAG + "m": 1},
    Code: lambda value: {TAG + "c": str(value)},
    DBRef: lambda value: dict(value.as_doc()),
}


def literal(value: Any) -> tuple[str, str]:
    """How a path must end and what it must equal to find ``value``: ``('', '5')`` or ``('."<TAG>d"', '1234')``.

    For values that ``stilldb.query.pushdown`` compares, and no others.
    """
    kind = type(value)
    if kind is bool:
        return "", "true" if value else "false"
    if kind is str:
        return "", orjson.dumps(value).decode()
    if kind is ObjectId:
        return f'."{OBJECT_ID}"', f'"{value}"'
    if kind is DatetimeMS:
        return f'."{DATE}"', str(int(value))
    if kind is bytes or kind is Binary:
        form = binary(bytes(value), value.subtype if kind is Binary else 0)
        return f'."{BINARY}"', f'"{form[BINARY]}"'
    return "", repr(value) if kind is float else f"{value:f}" if not isinstance(value, int) else str(
        int(value)
    )


_INTEGER_LIMIT: Final = 2**31


def decode_scalar(text: str) -> Any:
    """The BSON value of a scalar's form as PostgreSQL prints it; raises NoForm for what can't be told exactly."""
    if text[0] in "-0123456789":
        return decode_number(text)
    value = orjson.loads(text)
    if isinstance(value, dict):
        return _untagged(value)
    if isinstance(value, list):
        raise NoForm("an array")
    return value


def decode_number(text: str) -> Any:
    """The int, Int64 or float whose form is ``text``; raises NoForm for a decimal128."""
    whole, point, fraction = text.partition(".")
    if not point:
        number = int(whole)
        return number if -_INTEGER_LIMIT <= number < _INTEGER_LIMIT else float(number)
    if fraction == "00":
        return Int64(whole)
    if fraction.endswith("000"):
        raise NoForm("a decimal")
    return float(text)


def _untagged(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        ((name, content),) = value.items()
        if name == OBJECT_ID:
            return ObjectId(content)
        if name == DATE:
            return DatetimeMS(int(content))
    raise NoForm("an object, whose order of fields is not kept")
