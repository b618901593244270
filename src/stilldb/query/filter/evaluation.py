"""$mod, and the operators that are not there. Source: MongoDB manual, "Miscellaneous Query Operators"."""

from __future__ import annotations

import math
from typing import Any

from bson import Decimal128

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.filter.core import Context, Leaf, Node, bad_value, field_operator, top_operator
from stilldb.query.values import Document


@field_operator("$mod")
def _mod(argument: Any, siblings: Document, context: Context) -> Node:
    if not isinstance(argument, list):
        raise bad_value("malformed mod, needs to be an array")
    if len(argument) < 2:
        raise bad_value("malformed mod, not enough elements")
    if len(argument) > 2:
        raise bad_value("malformed mod, too many elements")
    divisor = _whole("divisor", argument[0])
    remainder = _whole("remainder", argument[1])
    if divisor == 0:
        raise bad_value("divisor cannot be 0")

    def test(value: Any) -> bool:
        whole = truncated(value)
        return whole is not None and _remainder(whole, divisor) == remainder

    return Leaf(test)


def _remainder(value: int, divisor: int) -> int:
    """The remainder with the sign of ``value``, as C has it."""
    found = abs(value) % abs(divisor)
    return -found if value < 0 else found


def _whole(part: str, value: Any) -> int:
    if not numbers.kind(value):
        raise bad_value(f"malformed mod, {part} not a number")
    whole = truncated(value)
    if whole is None:
        raise bad_value(
            f"malformed mod, {part} value is invalid :: caused by :: Unable to coerce NaN/Inf to integral type"
        )
    return whole


def truncated(value: Any) -> int | None:
    """``value`` without its fraction, or None if it is no number of 64 bits."""
    which = numbers.kind(value)
    if which == 0:
        return None
    if which in (numbers.INT, numbers.LONG):
        return int(value)
    if isinstance(value, Decimal128):
        exact = value.to_decimal()
        if not exact.is_finite() or exact.adjusted() > 19:
            return None
        whole = int(exact)
    else:
        if not math.isfinite(value):
            return None
        whole = int(value)
    return whole if numbers.INT64_MIN <= whole <= numbers.INT64_MAX else None


def _refused_field(*names: str) -> None:
    @field_operator(*names)
    def parse(argument: Any, siblings: Document, context: Context) -> Node:
        found = next(name for name in names if name in siblings)
        raise MongoError(
            "CommandNotSupported",
            f"{found} is not supported: geospatial queries need an index that is missing here",
        )


_refused_field(
    "$geoWithin",
    "$geoIntersects",
    "$near",
    "$nearSphere",
    "$geoNear",
    "$within",
    "$maxDistance",
    "$minDistance",
)


@top_operator("$text")
def _text(argument: Any, context: Context) -> None:
    if not context.top:
        raise bad_value("$text can only be applied to the top-level document")
    raise MongoError(
        "CommandNotSupported", "$text is not supported: there are no text indexes; $regex searches text"
    )


@top_operator("$where")
def _where(argument: Any, context: Context) -> None:
    raise MongoError("CommandNotSupported", "$where is not supported: JavaScript is not run; use $expr")


@field_operator("$where")
def _where_of_field(argument: Any, siblings: Document, context: Context) -> None:
    raise bad_value("$where cannot be applied to a field")
