"""The byte form of numbers in BSON order, exact across ints, longs, doubles and decimals.

A number is written as its nearest double and a remainder. Rounding keeps the order, so the doubles decide unless they are
equal; then one byte says whether the number is below its double, equal to it or above it, and where it is not equal the
number itself follows in decimal. Ints up to 2**53 and all doubles thus take nine bytes.
"""

from __future__ import annotations

import decimal
import math
import sys
from struct import Struct
from typing import Final

_DOUBLE: Final = Struct(">d")
_POSITIVE: Final = [bytes((byte | 0x80,)) for byte in range(0x80)]  # above every negative one

_BELOW, _SAME, _ABOVE = b"\x40", b"\x80", b"\xc0"
_NAN: Final = bytes(8) + _SAME
_EXACT: Final = 2**53
_LARGEST: Final = sys.float_info.max
# Decimal exponents reach from -6176 to 6144.
_EXPONENT_BIAS: Final = 0x4000
_COMPLEMENT: Final = bytes(255 - byte for byte in range(256))


def _ordered(value: float) -> bytes:
    """Eight bytes that compare as doubles do; zero has one form."""
    packed = _DOUBLE.pack(value + 0.0)
    first = packed[0]
    return _POSITIVE[first] + packed[1:] if first < 0x80 else packed.translate(_COMPLEMENT)


def float_payload(value: float) -> bytes:
    """The bytes of a double; NaN is below all."""
    if math.isnan(value):
        return _NAN
    return _ordered(value) + _SAME


def integer_payload(value: int) -> bytes:
    """The bytes of an int or long."""
    if -_EXACT <= value <= _EXACT:
        return _ordered(float(value)) + _SAME
    nearest = float(value)
    if nearest == value:
        return _ordered(nearest) + _SAME
    return _ordered(nearest) + _remainder(decimal.Decimal(value), nearest)


def decimal_payload(value: decimal.Decimal) -> bytes:
    """The bytes of a decimal; NaN is below all."""
    if value.is_nan():
        return _NAN
    nearest = float(value)
    if math.isinf(nearest) and value.is_finite():
        nearest = math.copysign(_LARGEST, nearest)
    if value == nearest:
        return _ordered(nearest) + _SAME
    return _ordered(nearest) + _remainder(value, nearest)


def _remainder(value: decimal.Decimal, nearest: float) -> bytes:
    return (_ABOVE if value > nearest else _BELOW) + _digits(value)


def _digits(value: decimal.Decimal) -> bytes:
    """``value``, not zero, as exponent and digits, two a byte from 0x01 on, with an end mark; complemented if negative."""
    text = "".join(map(str, value.as_tuple().digits)).rstrip("0")
    if len(text) % 2:
        text += "0"
    pairs = bytes(int(text[at : at + 2]) + 1 for at in range(0, len(text), 2))
    made = (value.adjusted() + _EXPONENT_BIAS).to_bytes(2, "big") + pairs + b"\x00"
    return made.translate(_COMPLEMENT) if value.is_signed() else made
