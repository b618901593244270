"""BSON types by number and by name. Source: BSON specification 1.1; MongoDB manual, "BSON Types"."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from stilldb.query import numbers
from stilldb.query.values import Missing, Undefined

ALIASES: Final[dict[int, str]] = {
    1: "double",
    2: "string",
    3: "object",
    4: "array",
    5: "binData",
    6: "undefined",
    7: "objectId",
    8: "bool",
    9: "date",
    10: "null",
    11: "regex",
    12: "dbPointer",
    13: "javascript",
    14: "symbol",
    15: "javascriptWithScope",
    16: "int",
    17: "timestamp",
    18: "long",
    19: "decimal",
    -1: "minKey",
    127: "maxKey",
}
NUMBERS: Final[dict[str, int]] = {alias: number for number, alias in ALIASES.items()}
MISSING_TYPE: Final = 0

_Numbering = Callable[[Any], int]
_INT, _LONG = NUMBERS["int"], NUMBERS["long"]


def _integer(value: int) -> int:
    return _INT if numbers.INT32_MIN <= value <= numbers.INT32_MAX else _LONG


def _code(value: Code) -> int:
    return NUMBERS["javascript" if value.scope is None else "javascriptWithScope"]


def _fixed(alias: str) -> _Numbering:
    number = NUMBERS[alias]
    return lambda value: number


_TYPES: Final[dict[type, _Numbering]] = {
    float: _fixed("double"),
    str: _fixed("string"),
    dict: _fixed("object"),
    DBRef: _fixed("object"),
    list: _fixed("array"),
    bytes: _fixed("binData"),
    Binary: _fixed("binData"),
    Undefined: _fixed("undefined"),
    ObjectId: _fixed("objectId"),
    bool: _fixed("bool"),
    DatetimeMS: _fixed("date"),
    type(None): _fixed("null"),
    Regex: _fixed("regex"),
    Code: _code,
    int: _integer,
    Int64: _fixed("long"),
    Timestamp: _fixed("timestamp"),
    Decimal128: _fixed("decimal"),
    MinKey: _fixed("minKey"),
    MaxKey: _fixed("maxKey"),
    Missing: lambda value: MISSING_TYPE,
}


def type_number(value: Any) -> int:
    """The BSON type's number; 0 for MISSING. Raises TypeError for what is no BSON value."""
    found = _TYPES.get(type(value))
    if found is None:
        found = next((_TYPES[base] for base in type(value).__mro__ if base in _TYPES), None)
        if found is None:
            raise TypeError(f"{type(value).__name__} is no BSON type")
    return found(value)


def bson_type_name(value: Any) -> str:
    """MongoDB's alias of the BSON type ("double", "string", …); "missing" for MISSING."""
    return ALIASES.get(type_number(value), "missing")


_LETTERS: Final = (
    (re.IGNORECASE, "i"),
    (re.LOCALE, "l"),
    (re.MULTILINE, "m"),
    (re.DOTALL, "s"),
    (re.UNICODE, "u"),
    (re.VERBOSE, "x"),
)


def regex_options(value: Regex[Any]) -> str:
    """The option letters of a regular expression, in BSON's alphabetical order."""
    return "".join(letter for flag, letter in _LETTERS if value.flags & flag)
