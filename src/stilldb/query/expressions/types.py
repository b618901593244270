"""$type, $convert and the $to... operators, $isNumber, $bsonSize, $rand. Rules: MongoDB manual, "Type Expression Operators"."""

from __future__ import annotations

import datetime
import decimal
import math
import random
import re
from collections.abc import Callable
from typing import Any

from bson import Decimal128, Int64, ObjectId, Timestamp
from bson.datetime_ms import DatetimeMS

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.expressions import calendar
from stilldb.query.expressions.arithmetic import date_of
from stilldb.query.expressions.core import (
    EMPTY,
    Constant,
    Context,
    Evaluator,
    Named,
    Scope,
    fail,
    function,
    operator,
)
from stilldb.query.expressions.texts import plain_text
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING, encode


@function("$type", 1, null=False)
def type_of(value: Any) -> str:
    """The name of the BSON type, or "missing"."""
    return "missing" if value is MISSING else bson_type_name(value)


@function("$isNumber", 1, null=False)
def is_number(value: Any) -> bool:
    """Whether the value is an int, long, double or decimal."""
    return numbers.kind(value) != 0


@function("$bsonSize", 1)
def bson_size(value: Any) -> int:
    """The BSON bytes of a document."""
    if not isinstance(value, dict):
        raise fail(31393, f"$bsonSize requires a document input, found: {bson_type_name(value)}")
    return len(encode(value))


@function("$binarySize", 1)
def binary_size(value: Any) -> int:
    """The bytes of a string or of binary data."""
    if not isinstance(value, str | bytes):
        raise fail(
            51276, f"$binarySize requires a string or BinData argument, found: {bson_type_name(value)}"
        )
    return len(value.encode() if isinstance(value, str) else value)


@operator("$rand")
def _rand(spec: Any, context: Context) -> Evaluator:
    if spec not in ({}, []):
        raise fail(3040501, "$rand does not currently accept arguments")
    return lambda document, scope=EMPTY: random.random()


def _failure(words: str) -> MongoError:
    return MongoError("ConversionFailure", f"{words} in $convert with no onError value")


def _unsupported(value: Any, target: str) -> MongoError:
    return _failure(f"Unsupported conversion from {bson_type_name(value)} to {target}")


def _unparsed(text: str, problem: str) -> MongoError:
    return MongoError(
        "ConversionFailure", f"Failed to parse number '{text}' in $convert with no onError value: {problem}"
    )


def to_bool(value: Any) -> bool:
    """Numbers by being not zero; everything else but false is true."""
    return numbers.truthy(value)


_INTEGER = re.compile(r"[+-]?\d{1,40}")
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


def _to_integer(value: Any, target: str, low: int, high: int) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise _unparsed(value, "Did not consume whole string.")
        exact = int(value)
    elif numbers.kind(value):
        exact = _truncated(value)
    elif isinstance(value, DatetimeMS) and target == "long":
        exact = int(value)
    else:
        raise _unsupported(value, target)
    if not low <= exact <= high:
        raise _failure(f"Conversion would overflow target type: {value}")
    return exact


def _truncated(value: Any) -> int:
    if isinstance(value, float | Decimal128):
        exact = value.to_decimal() if isinstance(value, Decimal128) else decimal.Decimal(value)
        if not exact.is_finite():
            raise _failure(f"Attempt to convert {value} value to integer type")
        return int(exact) if exact.adjusted() < 30 else numbers.INT64_MAX * 2
    return int(value)


def to_int(value: Any) -> int:
    """A 32-bit int; fractions are cut off."""
    return _to_integer(value, "int", numbers.INT32_MIN, numbers.INT32_MAX)


def to_long(value: Any) -> Int64:
    """A 64-bit long; fractions are cut off, dates give milliseconds."""
    return Int64(_to_integer(value, "long", numbers.INT64_MIN, numbers.INT64_MAX))


def to_double(value: Any) -> float:
    """A double; decimals above its range are refused."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            raise _unparsed(value, "Did not consume whole string.")
        return float(value)
    if isinstance(value, DatetimeMS):
        return float(int(value))
    if not numbers.kind(value):
        raise _unsupported(value, "double")
    made = numbers.to_float(value)
    if isinstance(value, Decimal128) and math.isinf(made) and value.to_decimal().is_finite():
        raise _failure(f"Conversion would overflow target type: {value}")
    return made


def to_decimal(value: Any) -> Decimal128:
    """A decimal."""
    if isinstance(value, Decimal128):
        return value
    if isinstance(value, bool):
        return Decimal128(str(int(value)))
    if isinstance(value, str):
        return _parsed_decimal(value)
    if isinstance(value, DatetimeMS):
        return Decimal128(str(int(value)))
    if not numbers.kind(value):
        raise _unsupported(value, "decimal")
    return numbers.from_decimal(numbers.to_decimal(value))


def _parsed_decimal(text: str) -> Decimal128:
    if not _DECIMAL.fullmatch(text):
        raise _unparsed(text, "Did not consume whole string.")
    try:
        return numbers.from_decimal(decimal.Decimal(text))
    except decimal.DecimalException:
        raise _unparsed(text, "Conversion from string to decimal would overflow.") from None


def to_text(value: Any) -> str:
    """A string."""
    made = plain_text(value)
    if made is None:
        raise _unsupported(value, "string")
    return made


def to_object_id(value: Any) -> ObjectId:
    """An ObjectId of 24 hexadecimal digits."""
    if isinstance(value, ObjectId):
        return value
    if not isinstance(value, str):
        raise _unsupported(value, "objectId")
    if not re.fullmatch(r"[0-9a-fA-F]{24}", value):
        found = f"Failed to parse objectId '{value}' in $convert with no onError value"
        raise MongoError("ConversionFailure", f"{found}: expected 24 hexadecimal digits")
    return ObjectId(value)


def to_date(value: Any) -> DatetimeMS:
    """A date: of milliseconds, an ISO string, an ObjectId or a timestamp."""
    if isinstance(value, DatetimeMS):
        return value
    if isinstance(value, str):
        return DatetimeMS(calendar.parse_date(value, None, datetime.UTC, zone_given=False))
    if isinstance(value, ObjectId | Timestamp):
        return DatetimeMS(calendar.millis_of(value))
    if numbers.kind(value) in (0, numbers.INT):
        raise _unsupported(value, "date")
    return date_of(_to_integer(value, "long", numbers.INT64_MIN, numbers.INT64_MAX))


TARGETS: dict[str, Callable[[Any], Any]] = {
    "double": to_double,
    "string": to_text,
    "objectId": to_object_id,
    "bool": to_bool,
    "date": to_date,
    "int": to_int,
    "long": to_long,
    "decimal": to_decimal,
}
_TARGET_NUMBERS = {
    1: "double",
    2: "string",
    7: "objectId",
    8: "bool",
    9: "date",
    16: "int",
    18: "long",
    19: "decimal",
}

for _operator, _target in {
    "$toBool": "bool",
    "$toDate": "date",
    "$toDecimal": "decimal",
    "$toDouble": "double",
    "$toInt": "int",
    "$toLong": "long",
    "$toObjectId": "objectId",
    "$toString": "string",
}.items():
    function(_operator, 1)(TARGETS[_target])

_CONVERT = Named("$convert", {"input": 9, "to": 9}, ("onError", "onNull"))


@operator("$convert")
def _convert(spec: Any, context: Context) -> Evaluator:
    parts = _CONVERT.compile(spec, context)
    source, target = parts["input"], parts["to"]
    on_null, on_error = parts.get("onNull", Constant(None)), parts.get("onError")

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        value, wanted = source(document, scope), target(document, scope)
        if value is None or value is MISSING:
            return on_null(document, scope)
        if wanted is None or wanted is MISSING:
            return None
        converter = TARGETS[_target_name(wanted)]
        try:
            return converter(value)
        except MongoError:
            if on_error is None:
                raise
            return on_error(document, scope)

    return evaluate


def _target_name(value: Any) -> str:
    name = value if isinstance(value, str) else _TARGET_NUMBERS.get(numbers.integral(value) or 0)
    if name is None or name not in TARGETS:
        raise MongoError("BadValue", f"Unknown type name: {value}")
    return name
