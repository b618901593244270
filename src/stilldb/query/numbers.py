"""BSON numbers in arithmetic: which of int, long, double, decimal a value is, and which one a result becomes.

Promotion follows MongoDB: the widest operand decides; an int result that does not fit becomes long, a long one double.
"""

from __future__ import annotations

import decimal
import math
from typing import Any, Final

from bson import Decimal128, Int64
from bson.decimal128 import create_decimal128_context

from stilldb.query.values import MISSING

INT: Final = 1
LONG: Final = 2
DOUBLE: Final = 3
DECIMAL: Final = 4

INT32_MIN: Final = -(2**31)
INT32_MAX: Final = 2**31 - 1
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

CONTEXT: Final = create_decimal128_context()
_KINDS: Final[dict[type, int]] = {int: INT, Int64: LONG, float: DOUBLE, Decimal128: DECIMAL}


def kind(value: Any) -> int:
    """INT, LONG, DOUBLE or DECIMAL, or 0 for what is no number (booleans are none)."""
    found = _KINDS.get(type(value), 0)
    if found == INT and not INT32_MIN <= value <= INT32_MAX:
        return LONG
    return found


def integer(value: int, widest: int) -> int | float:
    """``value`` as int or long, as ``widest`` of the operands says, or as a double when no long holds it."""
    if widest == INT and INT32_MIN <= value <= INT32_MAX:
        return value
    if INT64_MIN <= value <= INT64_MAX:
        return Int64(value)
    return float(value)


def to_decimal(value: Any) -> decimal.Decimal:
    """``value``, a number, as a Decimal; doubles by their first 15 digits, as MongoDB converts them."""
    if isinstance(value, Decimal128):
        return value.to_decimal()
    if isinstance(value, float):
        return decimal.Decimal(f"{value:.15g}")
    return decimal.Decimal(int(value))


def to_float(value: Any) -> float:
    """``value``, a number, as a double."""
    if isinstance(value, Decimal128):
        return float(value.to_decimal())
    return float(value)


def from_decimal(value: decimal.Decimal) -> Decimal128:
    """``value`` rounded to 34 digits."""
    return Decimal128(CONTEXT.plus(value))


def is_nan(value: Any) -> bool:
    """Whether ``value`` is a number that is none."""
    if isinstance(value, Decimal128):
        return value.to_decimal().is_nan()
    return isinstance(value, float) and math.isnan(value)


def integral(value: Any) -> int | None:
    """``value`` as a Python int if it is a number without a fraction, else None."""
    which = kind(value)
    if which in (INT, LONG):
        return int(value)
    if which == DOUBLE:
        return int(value) if math.isfinite(value) and value == int(value) else None
    if which == DECIMAL:
        exact = value.to_decimal()
        # A hostile exponent would make an int of thousands of digits; no caller wants more than 64 bits.
        if not exact.is_finite() or exact.adjusted() > 19 or exact != exact.to_integral_value():
            return None
        return int(exact)
    return None


def truthy(value: Any) -> bool:
    """MongoDB's truth: missing, null, false and zero are false; everything else, also NaN and "", is true."""
    if value is None or value is False or value is MISSING:
        return False
    which = _KINDS.get(type(value))
    if which is None:
        return True
    return bool(value.to_decimal() != 0) if which == DECIMAL else bool(value != 0)
