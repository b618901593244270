"""Arithmetic operators. Rules: MongoDB manual, "Arithmetic Expression Operators"."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any

from bson import Decimal128
from bson.datetime_ms import DatetimeMS

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.expressions.core import fail, function, variadic
from stilldb.query.numbers import CONTEXT, DECIMAL, DOUBLE, INT, LONG, from_decimal, kind, to_decimal
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING


def date_of(millis: int) -> DatetimeMS:
    """The date ``millis`` after 1970; raises MongoError when 64 bits do not hold it."""
    if not numbers.INT64_MIN <= millis <= numbers.INT64_MAX:
        raise MongoError("Overflow", "date overflow")
    return DatetimeMS(millis)


def round_millis(value: Any) -> int:
    """A number of milliseconds as an int: doubles and decimals to the nearest; raises MongoError for NaN."""
    exact = to_decimal(value)
    if not exact.is_finite() or exact.adjusted() > 19:
        raise MongoError("Overflow", "date overflow")
    return int(exact.to_integral_value(decimal.ROUND_HALF_UP))


@variadic("$add")
def add(values: list[Any]) -> Any:
    """The sum of numbers, or the one date among them moved by the sum of milliseconds."""
    if any(value is None or value is MISSING for value in values):
        return None
    dates = [value for value in values if isinstance(value, DatetimeMS)]
    if len(dates) > 1:
        raise fail(16612, "only one date allowed in an $add expression")
    rest = [value for value in values if not isinstance(value, DatetimeMS)]
    for value in rest:
        _require_number("$add only supports numeric or date types", value)
    total = add_numbers(rest)
    return date_of(int(dates[0]) + round_millis(total)) if dates else total


def _require_number(words: str, value: Any) -> None:
    if not kind(value):
        raise MongoError("TypeMismatch", f"{words}, not {bson_type_name(value)}")


def add_numbers(values: list[Any]) -> Any:
    """The sum of ``values``, which are numbers; the int 0 if there are none."""
    widest = max((kind(value) for value in values), default=INT)
    if widest == DECIMAL:
        total = decimal.Decimal(0)
        for value in values:
            total = CONTEXT.add(total, to_decimal(value))
        return from_decimal(total)
    if widest == DOUBLE:
        return sum((float(value) for value in values), 0.0)
    return numbers.integer(sum(int(value) for value in values), widest)


@variadic("$multiply")
def multiply(values: list[Any]) -> Any:
    """The product of numbers; 1 for none."""
    if any(value is None or value is MISSING for value in values):
        return None
    product: Any = 1
    for value in values:
        _require_number("$multiply only supports numeric types", value)
        product = multiply_two(product, value)
    return product


def multiply_two(left: Any, right: Any) -> Any:
    """The product of two numbers."""
    widest = max(kind(left), kind(right))
    if widest == DECIMAL:
        return from_decimal(CONTEXT.multiply(to_decimal(left), to_decimal(right)))
    if widest == DOUBLE:
        return float(left) * float(right)
    return numbers.integer(int(left) * int(right), widest)


@function("$subtract", 2)
def subtract(left: Any, right: Any) -> Any:
    """The difference of two numbers, of two dates (milliseconds), or a date moved back."""
    if isinstance(left, DatetimeMS):
        return _subtract_from_date(left, right)
    if not kind(left) or not kind(right):
        raise MongoError(
            "TypeMismatch", f"can't $subtract {bson_type_name(right)} from {bson_type_name(left)}"
        )
    widest = max(kind(left), kind(right))
    if widest == DECIMAL:
        return from_decimal(CONTEXT.subtract(to_decimal(left), to_decimal(right)))
    if widest == DOUBLE:
        return float(left) - float(right)
    return numbers.integer(int(left) - int(right), widest)


def _subtract_from_date(left: DatetimeMS, right: Any) -> Any:
    if isinstance(right, DatetimeMS):
        return numbers.integer(int(left) - int(right), LONG)
    if not kind(right):
        raise MongoError("TypeMismatch", f"can't $subtract {bson_type_name(right)} from date")
    return date_of(int(left) - round_millis(right))


@function("$divide", 2)
def divide(left: Any, right: Any) -> Any:
    """The quotient, a double unless a decimal takes part."""
    if not kind(left) or not kind(right):
        found = f"{bson_type_name(left)} and {bson_type_name(right)}"
        raise MongoError("TypeMismatch", f"$divide only supports numeric types, not {found}")
    if to_decimal(right) == 0:
        raise MongoError("BadValue", "can't $divide by zero")
    if max(kind(left), kind(right)) == DECIMAL:
        return from_decimal(CONTEXT.divide(to_decimal(left), to_decimal(right)))
    return float(left) / float(right)


@function("$mod", 2)
def mod(left: Any, right: Any) -> Any:
    """The remainder with the sign of the dividend, as in C."""
    if not kind(left) or not kind(right):
        raise fail(
            16611, f"$mod only supports numeric types, not {bson_type_name(left)} and {bson_type_name(right)}"
        )
    widest = max(kind(left), kind(right))
    if to_decimal(right) == 0:
        raise fail(16610, "can't $mod by zero")
    if widest == DECIMAL:
        return from_decimal(_decimal_remainder(to_decimal(left), to_decimal(right)))
    if widest == DOUBLE:
        return math.fmod(left, right) if math.isfinite(left) else math.nan
    remainder = abs(int(left)) % abs(int(right))
    return numbers.integer(-remainder if left < 0 else remainder, widest)


def _decimal_remainder(left: decimal.Decimal, right: decimal.Decimal) -> decimal.Decimal:
    try:
        return CONTEXT.remainder(left, right)
    except decimal.InvalidOperation:
        return decimal.Decimal("NaN")


def _numeric(name: str, value: Any) -> int:
    which = kind(value)
    if not which:
        raise fail(28765, f"{name} only supports numeric types, not {bson_type_name(value)}")
    return which


@function("$abs", 1)
def absolute(value: Any) -> Any:
    """The absolute value; the smallest long has none."""
    which = _numeric("$abs", value)
    if which == DECIMAL:
        return from_decimal(value.to_decimal().copy_abs())
    if which == LONG and value == numbers.INT64_MIN:
        raise fail(28680, "can't take $abs of long long min")
    return abs(value) if which == DOUBLE else numbers.integer(abs(int(value)), which)


def _rounder(name: str, of_float: Callable[[float], float], mode: str) -> None:
    def compute(value: Any) -> Any:
        which = _numeric(name, value)
        if which == DECIMAL:
            return from_decimal(value.to_decimal().to_integral_value(mode))
        if which == DOUBLE:
            return float(of_float(value)) if math.isfinite(value) else value
        return value

    function(name, 1)(compute)


_rounder("$ceil", math.ceil, decimal.ROUND_CEILING)
_rounder("$floor", math.floor, decimal.ROUND_FLOOR)


def _place_rounder(name: str, mode: str) -> None:
    def compute(value: Any, place: Any = 0) -> Any:
        which = kind(value)
        if not which:
            raise fail(51081, f"{name} only supports numeric types, not {bson_type_name(value)}")
        return _round_to(value, which, _place(name, place), mode)

    function(name, 1, 2)(compute)


def _place(name: str, place: Any) -> int:
    exact = numbers.integral(place)
    if exact is None:
        raise fail(51082, f"precision argument to  {name} must be a integral value")
    if not -20 <= exact <= 100:
        raise fail(51083, f"cannot apply {name} with precision value {exact} value must be in [-20, 100]")
    return exact


def _round_to(value: Any, which: int, place: int, mode: str) -> Any:
    if which in (INT, LONG):
        if place >= 0:
            return value
        return numbers.integer(int(_quantized(decimal.Decimal(int(value)), place, mode)), which)
    if which == DOUBLE:
        # Rounds the double's exact value, so that 2.675 (which is a little less) becomes 2.67.
        return float(_quantized(decimal.Decimal(value), place, mode)) if math.isfinite(value) else value
    exact = value.to_decimal()
    return from_decimal(_quantized(exact, place, mode)) if exact.is_finite() else value


_WIDE = decimal.Context(prec=1500)


def _quantized(value: decimal.Decimal, place: int, mode: str) -> decimal.Decimal:
    if -place <= _lowest_digit(value):
        return value
    return value.quantize(decimal.Decimal(1).scaleb(-place), rounding=mode, context=_WIDE)


def _lowest_digit(value: decimal.Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


_place_rounder("$round", decimal.ROUND_HALF_EVEN)
_place_rounder("$trunc", decimal.ROUND_DOWN)


def _in_decimal(compute: Callable[[], decimal.Decimal]) -> Decimal128:
    try:
        return from_decimal(compute())
    except decimal.InvalidOperation:
        return Decimal128("NaN")


@function("$sqrt", 1)
def square_root(value: Any) -> Any:
    """The square root, a double or a decimal."""
    which = _numeric("$sqrt", value)
    if to_decimal(value) < 0:
        raise fail(28714, "$sqrt's argument must be greater than or equal to 0")
    return _in_decimal(lambda: CONTEXT.sqrt(value.to_decimal())) if which == DECIMAL else math.sqrt(value)


@function("$exp", 1)
def exponential(value: Any) -> Any:
    """e to the power of the argument."""
    if _numeric("$exp", value) == DECIMAL:
        return _in_decimal(lambda: CONTEXT.exp(value.to_decimal()))
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _logarithm(
    name: str, code: int, of_float: Callable[[float], float], of_decimal: Callable[..., Any]
) -> None:
    def compute(value: Any) -> Any:
        which = _numeric(name, value)
        if not numbers.is_nan(value) and to_decimal(value) <= 0:
            raise fail(code, f"{name}'s argument must be a positive number, but is {value}")
        return _in_decimal(lambda: of_decimal(value.to_decimal())) if which == DECIMAL else of_float(value)

    function(name, 1)(compute)


_logarithm("$ln", 28766, math.log, CONTEXT.ln)
_logarithm("$log10", 28761, math.log10, CONTEXT.log10)


@function("$log", 2)
def logarithm(value: Any, base: Any) -> Any:
    """The logarithm of the first argument to the base of the second."""
    if not kind(value):
        raise fail(28756, f"$log's argument must be numeric, not {bson_type_name(value)}")
    if not kind(base):
        raise fail(28757, f"$log's base must be numeric, not {bson_type_name(base)}")
    if not numbers.is_nan(value) and to_decimal(value) <= 0:
        raise fail(28758, f"$log's argument must be a positive number, but is {value}")
    if not numbers.is_nan(base) and (to_decimal(base) <= 0 or to_decimal(base) == 1):
        raise fail(28759, f"$log's base must be a positive number not equal to 1, but is {base}")
    if DECIMAL in (kind(value), kind(base)):
        return _in_decimal(
            lambda: CONTEXT.divide(CONTEXT.ln(to_decimal(value)), CONTEXT.ln(to_decimal(base)))
        )
    return math.log(value) / math.log(base)


@function("$pow", 2)
def power(base: Any, exponent: Any) -> Any:
    """The base to the exponent; integers stay integers while 64 bits hold the result exactly."""
    if not kind(base):
        raise fail(28762, f"$pow's base must be numeric, not {bson_type_name(base)}")
    if not kind(exponent):
        raise fail(28763, f"$pow's exponent must be numeric, not {bson_type_name(exponent)}")
    if to_decimal(base) == 0 and to_decimal(exponent) < 0:
        raise fail(28764, "$pow cannot take a base of 0 and a negative exponent")
    widest = max(kind(base), kind(exponent))
    if widest == DECIMAL:
        return _in_decimal(lambda: CONTEXT.power(to_decimal(base), to_decimal(exponent)))
    if widest == DOUBLE or exponent < 0:
        return _float_power(float(base), float(exponent))
    # A base other than 0, 1, -1 leaves 64 bits at the 64th power: do not compute millions of digits.
    if abs(base) > 1 and exponent > 64:
        return _float_power(float(base), float(exponent))
    return numbers.integer(int(base) ** int(_small_exponent(base, exponent)), widest)


def _small_exponent(base: int, exponent: int) -> int:
    return exponent if abs(base) > 1 else (0 if exponent == 0 else 2 - exponent % 2)


def _float_power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf
    except ValueError:
        return math.nan
