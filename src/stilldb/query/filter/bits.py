"""$bitsAllSet, $bitsAllClear, $bitsAnySet, $bitsAnyClear. Source: MongoDB manual, "Bitwise Query Operators"."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.filter.core import Context, Leaf, Node, bad_value, field_operator
from stilldb.query.values import Document

# Numbers are seen as 64 bits with the sign repeated above: all positions from here on are the sign.
_SIGN = 63


def _register(name: str, answer: Callable[[Iterable[bool]], bool]) -> None:
    @field_operator(name)
    def parse(argument: Any, siblings: Document, context: Context) -> Node:
        positions = _positions(name, argument)
        in_numbers = sorted({min(at, _SIGN) for at in positions})

        def test(value: Any) -> bool:
            if isinstance(value, bytes):
                return answer(
                    at >> 3 < len(value) and bool(value[at >> 3] >> (at & 7) & 1) for at in positions
                )
            whole = numbers.integral(value)
            if whole is None or not numbers.INT64_MIN <= whole <= numbers.INT64_MAX:
                return False
            return answer(bool(whole >> at & 1) for at in in_numbers)

        return Leaf(test)


_register("$bitsAllSet", all)
_register("$bitsAnySet", any)
_register("$bitsAllClear", lambda bits: not any(bits))
_register("$bitsAnyClear", lambda bits: not all(bits))


def _positions(name: str, argument: Any) -> list[int]:
    if isinstance(argument, list):
        return sorted({_position(item) for item in argument})
    if isinstance(argument, bytes):
        return [at for at in range(8 * len(argument)) if argument[at >> 3] >> (at & 7) & 1]
    if not numbers.kind(argument):
        raise bad_value(f"{name} takes an Array, a number, or a BinData but received: {name}: {argument!r}")
    mask = numbers.integral(argument)
    if mask is None or mask > numbers.INT64_MAX:
        raise MongoError("FailedToParse", f"Expected an integer: {name}: {argument!r}")
    if mask < 0:
        raise MongoError("FailedToParse", f"Expected a non-negative number in: {name}: {argument!r}")
    return [at for at in range(64) if mask >> at & 1]


def _position(item: Any) -> int:
    at = numbers.integral(item)
    if at is None:
        raise bad_value(f"bit positions must be an integer but got: {item!r}")
    if at > numbers.INT32_MAX or at < numbers.INT32_MIN:
        raise bad_value(f"bit positions cannot be represented as a 32-bit signed integer: {item!r}")
    if at < 0:
        raise bad_value(f"bit positions must be >= 0 but got: {item!r}")
    return at
