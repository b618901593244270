"""How values become strings: for the string operators that coerce, for ``$toString`` and for date output."""

from __future__ import annotations

import math
from typing import Any

from bson import Decimal128, ObjectId, Timestamp
from bson.datetime_ms import DatetimeMS

from stilldb.query.expressions import calendar
from stilldb.query.expressions.core import fail
from stilldb.query.numbers import kind
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING


def float_text(value: float) -> str:
    """A double as MongoDB prints it: at most 15 significant digits if those say it all, no ``.0``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    short = f"{value:.15g}"
    return short if float(short) == value else f"{value:.17g}"


def number_text(value: Any) -> str:
    """A BSON number as a string."""
    if isinstance(value, float):
        return float_text(value)
    return str(value) if isinstance(value, Decimal128) else str(int(value))


def coerce_text(value: Any) -> str:
    """``value`` as the coercing string operators see it; null is "", arrays and documents are refused."""
    if isinstance(value, str):
        return value
    if value is None or value is MISSING:
        return ""
    if kind(value):
        return number_text(value)
    if isinstance(value, DatetimeMS):
        return calendar.iso_text(int(value))
    if isinstance(value, Timestamp):
        return f"Timestamp({value.time}, {value.inc})"
    raise fail(16007, f"can't convert from BSON type {bson_type_name(value)} to String")


def plain_text(value: Any) -> str | None:
    """``value`` as ``$toString`` gives it, or None for types it refuses."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, str) or kind(value) or isinstance(value, DatetimeMS):
        return coerce_text(value)
    return None
