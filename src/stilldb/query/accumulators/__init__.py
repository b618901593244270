"""The accumulators of ``$group``: objects with ``add(value)`` and ``result()``, in a registry by name.

Rules: MongoDB manual, "Accumulators ($group)". Each refuses to hold more than ``MEMORY_LIMIT`` bytes.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any, Final, Protocol

from bson import Decimal128

from stilldb.query import numbers, order
from stilldb.query.errors import MongoError
from stilldb.query.numbers import CONTEXT, DECIMAL, DOUBLE, INT
from stilldb.query.values import MISSING, encode

MEMORY_LIMIT: Final = 100 * 2**20
_SCALAR_BYTES: Final = 24
_DOUBLES_HELD: Final = 65536


def rough_size(value: Any) -> int:
    """About how many bytes ``value`` needs: its BSON size for containers."""
    if isinstance(value, dict):
        return len(encode(value))
    if isinstance(value, list):
        return len(encode({"": value}))
    if isinstance(value, str | bytes):
        return len(value) + _SCALAR_BYTES
    return _SCALAR_BYTES


def memory_error(who: str) -> MongoError:
    """The error of an operation that would pass its memory limit."""
    words = f"Exceeded memory limit for {who}, but didn't allow external sort."
    return MongoError(
        "QueryExceededMemoryLimitNoDiskUseAllowed",
        f"{words} Pass allowDiskUse:true to opt in.",
        code=292,
    )


def merge_into(made: dict[str, Any], value: Any) -> None:
    """Lay the fields of ``value`` over ``made``; null is passed over, other types are refused."""
    if value is None or value is MISSING:
        return
    if not isinstance(value, dict):
        found = order.bson_type_name(value)
        raise MongoError(
            "Location40400", f"$mergeObjects requires object inputs, but input {value!r} is of type {found}"
        )
    made.update(value)


class Accumulator(Protocol):
    """One accumulated field of one group."""

    def add(self, value: Any) -> None:
        """Take in the next document's value, which may be MISSING."""

    def result(self) -> Any:
        """The accumulated value."""


class Total:
    """A sum of numbers, exact for integers and once rounded for doubles; what is no number is passed over."""

    __slots__ = ("count", "decimals", "doubles", "integers", "widest")

    def __init__(self) -> None:
        self.integers = 0
        self.doubles: list[float] = []
        self.decimals = decimal.Decimal(0)
        self.widest = INT
        self.count = 0

    def add(self, value: Any) -> None:
        """Take in ``value`` if it is a number."""
        which = numbers.kind(value)
        if not which:
            return
        self.count += 1
        self.widest = max(self.widest, which)
        if which < DOUBLE:
            self.integers += value
        elif which == DOUBLE:
            self.doubles.append(value)
            if len(self.doubles) >= _DOUBLES_HELD:
                self.doubles = [_exact_sum(self.doubles)]
        else:
            self.decimals = CONTEXT.add(self.decimals, value.to_decimal())

    def total(self) -> Any:
        """The sum as the widest type seen."""
        if self.widest == DECIMAL:
            rest = numbers.to_decimal(_exact_sum(self.doubles)) + self.integers
            return numbers.from_decimal(CONTEXT.add(self.decimals, rest))
        if self.widest == DOUBLE:
            return _exact_sum([*self.doubles, float(self.integers)])
        return numbers.integer(self.integers, self.widest)


def _exact_sum(values: list[float]) -> float:
    """The sum as if added without rounding; infinities and overflow as IEEE 754 has them."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)


class Sum(Total):
    """``$sum``."""

    __slots__ = ()

    def result(self) -> Any:
        """The sum, the int 0 without numbers."""
        return self.total()


class Average(Total):
    """``$avg``."""

    __slots__ = ()

    def result(self) -> Any:
        """The mean, a double or decimal; null without numbers."""
        if not self.count:
            return None
        total = self.total()
        if isinstance(total, Decimal128):
            return numbers.from_decimal(CONTEXT.divide(total.to_decimal(), decimal.Decimal(self.count)))
        return float(total) / self.count


class Extreme:
    """``$min`` and ``$max`` in BSON order; null and missing are passed over."""

    __slots__ = ("_sign", "_value")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._value: Any = MISSING

    def add(self, value: Any) -> None:
        """Keep ``value`` if it is more extreme."""
        if value is None or value is MISSING:
            return
        if self._value is MISSING or order.compare(value, self._value) * self._sign > 0:
            self._value = value

    def result(self) -> Any:
        """The extreme, or null."""
        return None if self._value is MISSING else self._value


class First:
    """``$first``: the value of the first document, null if it has none."""

    __slots__ = ("_seen", "_value")

    def __init__(self) -> None:
        self._seen = False
        self._value: Any = None

    def add(self, value: Any) -> None:
        """Keep the first value."""
        if not self._seen:
            self._seen = True
            self._value = value

    def result(self) -> Any:
        """The first value."""
        return None if self._value is MISSING else self._value


class Last:
    """``$last``: the value of the last document, null if it has none."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value: Any = None

    def add(self, value: Any) -> None:
        """Keep the newest value."""
        self._value = value

    def result(self) -> Any:
        """The last value."""
        return None if self._value is MISSING else self._value


class Push:
    """``$push``: all values in order; missing ones are left out."""

    __slots__ = ("_bytes", "_values")

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._bytes = 0

    def add(self, value: Any) -> None:
        """Append ``value``; raises MongoError 292 above the memory limit."""
        if value is MISSING:
            return
        self._bytes += rough_size(value)
        if self._bytes > MEMORY_LIMIT:
            raise memory_error("$push")
        self._values.append(value)

    def result(self) -> list[Any]:
        """The array."""
        return self._values


class AddToSet:
    """``$addToSet``: the different values; missing ones are left out."""

    __slots__ = ("_bytes", "_values")

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._bytes = 0

    def add(self, value: Any) -> None:
        """Keep ``value`` if no equal one is there; raises MongoError 292 above the memory limit."""
        if value is MISSING:
            return
        key = order.hash_key(value)
        if key in self._values:
            return
        self._bytes += 2 * rough_size(value)
        if self._bytes > MEMORY_LIMIT:
            raise memory_error("$addToSet")
        self._values[key] = value

    def result(self) -> list[Any]:
        """The array, in order of first appearance."""
        return list(self._values.values())


class Count:
    """``$count``: how many documents."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def add(self, value: Any) -> None:
        """Count one."""
        self._count += 1

    def result(self) -> Any:
        """The number, an int or long."""
        return numbers.integer(self._count, INT)


class Deviation:
    """``$stdDevPop`` and ``$stdDevSamp`` by Welford's method; what is no number is passed over."""

    __slots__ = ("_count", "_mean", "_sample", "_squares")

    def __init__(self, *, sample: bool) -> None:
        self._sample = sample
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0

    def add(self, value: Any) -> None:
        """Take in ``value`` if it is a number."""
        if not numbers.kind(value):
            return
        exact = numbers.to_float(value)
        self._count += 1
        delta = exact - self._mean
        self._mean += delta / self._count
        self._squares += delta * (exact - self._mean)

    def result(self) -> float | None:
        """The deviation; null for too few numbers."""
        divisor = self._count - 1 if self._sample else self._count
        return math.sqrt(self._squares / divisor) if divisor > 0 else None


class MergeObjects:
    """``$mergeObjects``."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def add(self, value: Any) -> None:
        """Lay the fields of ``value`` over those before."""
        merge_into(self._made, value)

    def result(self) -> dict[str, Any]:
        """The merged document."""
        return self._made


ACCUMULATORS: Final[dict[str, Callable[[], Accumulator]]] = {
    "$sum": Sum,
    "$avg": Average,
    "$min": lambda: Extreme(-1),
    "$max": lambda: Extreme(1),
    "$first": First,
    "$last": Last,
    "$push": Push,
    "$addToSet": AddToSet,
    "$count": Count,
    "$stdDevPop": lambda: Deviation(sample=False),
    "$stdDevSamp": lambda: Deviation(sample=True),
    "$mergeObjects": MergeObjects,
}
