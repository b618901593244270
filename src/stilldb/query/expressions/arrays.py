"""Array operators over whole values. Rules: MongoDB manual, "Array Expression Operators".

Those that bind variables ($map, $filter, $reduce) and those with named arguments are in array_walks.py.
"""

from __future__ import annotations

from typing import Any

from stilldb.query import numbers, order
from stilldb.query.accumulators import merge_into
from stilldb.query.errors import MongoError
from stilldb.query.expressions.core import (
    EMPTY,
    Context,
    Evaluator,
    Scope,
    compile_in,
    fail,
    function,
    operator,
    variadic,
)
from stilldb.query.expressions.strings import index_bounds
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING

RANGE_LIMIT = 10_000_000


@function("$arrayElemAt", 2)
def array_elem_at(items: Any, index: Any) -> Any:
    """The element at ``index``, from the end if negative; MISSING outside."""
    if not isinstance(items, list):
        raise fail(28689, f"$arrayElemAt's first argument must be an array, but is {bson_type_name(items)}")
    if not numbers.kind(index):
        raise fail(
            28690, f"$arrayElemAt's second argument must be a numeric value, but is {bson_type_name(index)}"
        )
    exact = numbers.integral(index)
    if exact is None:
        raise fail(
            28691, f"$arrayElemAt's second argument must be representable as a 32-bit integer: {index}"
        )
    return items[exact] if -len(items) <= exact < len(items) else MISSING


def _end_of_array(name: str, index: int) -> None:
    def compute(items: Any) -> Any:
        if not isinstance(items, list):
            raise fail(28689, f"{name}'s argument must be an array, but is {bson_type_name(items)}")
        return items[index] if items else MISSING

    function(name, 1)(compute)


_end_of_array("$first", 0)
_end_of_array("$last", -1)


@variadic("$concatArrays")
def concat_arrays(values: list[Any]) -> Any:
    """The arrays in one; null if one of them is null or missing."""
    joined: list[Any] = []
    for value in values:
        if value is None or value is MISSING:
            return None
        if not isinstance(value, list):
            raise fail(28664, f"$concatArrays only supports arrays, not {bson_type_name(value)}")
        joined.extend(value)
    return joined


@function("$in", 2, null=False)
def contains(value: Any, items: Any) -> bool:
    """Whether ``items`` has an element equal to ``value``."""
    if not isinstance(items, list):
        raise fail(40081, f"$in requires an array as a second argument, found: {bson_type_name(items)}")
    return any(order.compare(item, value) == 0 for item in items)


@function("$indexOfArray", 2, 4, null=False)
def index_of_array(items: Any, value: Any, start: Any = 0, end: Any = MISSING) -> int | None:
    """The first position of ``value`` within the window, or -1; null for a null array."""
    if items is None or items is MISSING:
        return None
    if not isinstance(items, list):
        raise fail(
            40090, f"$indexOfArray requires an array as a first argument, found: {bson_type_name(items)}"
        )
    low, high = index_bounds("$indexOfArray", len(items), start, end)
    return next((i for i in range(low, high) if order.compare(items[i], value) == 0), -1)


@function("$isArray", 1, null=False)
def is_array(value: Any) -> bool:
    """Whether the value is an array."""
    return isinstance(value, list)


@function("$range", 2, 3, null=False)
def number_range(start: Any, end: Any, step: Any = 1) -> list[int]:
    """The ints from ``start`` to ``end``, which is left out."""
    low = _range_argument("starting value", start, 34443, 34444)
    high = _range_argument("ending value", end, 34445, 34446)
    by = _range_argument("step value", step, 34447, 34448)
    if by == 0:
        raise fail(34449, "$range requires a non-zero step value")
    made = range(low, high, by)
    if len(made) > RANGE_LIMIT:
        raise MongoError("ExceededMemoryLimit", "$range would use too much memory", code=146)
    return list(made)


def _range_argument(what: str, value: Any, not_number: int, not_integral: int) -> int:
    if not numbers.kind(value):
        raise fail(
            not_number, f"$range requires a numeric {what}, found value of type: {bson_type_name(value)}"
        )
    exact = numbers.integral(value)
    if exact is None or not numbers.INT32_MIN <= exact <= numbers.INT32_MAX:
        raise fail(
            not_integral,
            f"$range requires a {what} that can be represented as a 32-bit integer, found: {value}",
        )
    return exact


@function("$reverseArray", 1)
def reverse_array(items: Any) -> list[Any]:
    """The array from its end."""
    if not isinstance(items, list):
        raise fail(
            34435, f"The argument to $reverseArray must be an array, but was of type: {bson_type_name(items)}"
        )
    return items[::-1]


@function("$size", 1, null=False)
def size(items: Any) -> int:
    """The number of elements; anything but an array is refused, also null."""
    if not isinstance(items, list):
        raise fail(17124, f"The argument to $size must be an array, but was of type: {bson_type_name(items)}")
    return len(items)


@function("$slice", 2, 3)
def slice_array(items: Any, first: Any, count: Any = MISSING) -> list[Any]:
    """``count`` elements from a position, or the first (last if negative) ``first`` elements."""
    if not isinstance(items, list):
        raise fail(
            28724, f"First argument to $slice must be an array, but is of type: {bson_type_name(items)}"
        )
    position = _slice_argument("Second", first, 28725, 28726)
    if count is MISSING:
        return items[:position] if position >= 0 else items[position:]
    taken = _slice_argument("Third", count, 28727, 28728)
    if taken <= 0:
        raise fail(28729, f"Third argument to $slice must be positive: {taken}")
    low = position if position >= 0 else max(0, len(items) + position)
    return items[low : low + taken]


def _slice_argument(which: str, value: Any, not_number: int, not_integral: int) -> int:
    if not numbers.kind(value):
        raise fail(
            not_number,
            f"{which} argument to $slice must be a numeric value, but is of type: {bson_type_name(value)}",
        )
    exact = numbers.integral(value)
    if exact is None:
        raise fail(
            not_integral, f"{which} argument to $slice can't be represented as a 32-bit integer: {value}"
        )
    return exact


@function("$arrayToObject", 1)
def array_to_object(items: Any) -> dict[str, Any]:
    """The document of [key, value] pairs or {k, v} documents; a later key wins."""
    if not isinstance(items, list):
        raise fail(40386, f"$arrayToObject requires an array input, found: {bson_type_name(items)}")
    made: dict[str, Any] = {}
    wanted = type(items[0]) if items else dict
    for item in items:
        if not isinstance(item, list | dict):
            raise fail(40398, f"Unrecognised input type format for $arrayToObject: {bson_type_name(item)}")
        if type(item) is not wanted:
            raise fail(
                40391 if wanted is dict else 40396, "$arrayToObject requires a consistent input format"
            )
        key, value = _pair(item) if isinstance(item, list) else _key_value(item)
        made[key] = value
    return made


def _pair(item: list[Any]) -> tuple[str, Any]:
    if len(item) != 2:
        raise fail(
            40397, f"$arrayToObject requires an array of size 2 arrays,found array of size: {len(item)}"
        )
    return _object_key(item[0], 40395), item[1]


def _key_value(item: dict[str, Any]) -> tuple[str, Any]:
    if len(item) != 2:
        raise fail(
            40392,
            f"$arrayToObject requires an object keys of 'k' and 'v'. Found incorrect number of keys:{len(item)}",
        )
    if "k" not in item or "v" not in item:
        raise fail(
            40393, "$arrayToObject requires an object with keys 'k' and 'v'. Missing either or both keys"
        )
    return _object_key(item["k"], 40394), item["v"]


def _object_key(key: Any, code: int) -> str:
    if not isinstance(key, str):
        raise fail(code, f"$arrayToObject requires keys to be strings, found: {bson_type_name(key)}")
    if "\0" in key:
        raise fail(4940400, "Key field cannot contain an embedded null byte")
    return key


@function("$objectToArray", 1)
def object_to_array(value: Any) -> list[dict[str, Any]]:
    """One {k, v} document a field."""
    if not isinstance(value, dict):
        raise fail(40390, f"$objectToArray requires a document input, found: {bson_type_name(value)}")
    return [{"k": key, "v": item} for key, item in value.items()]


@operator("$mergeObjects")
def _merge_objects(spec: Any, context: Context) -> Evaluator:
    if not isinstance(spec, list):
        return _merge_one(compile_in(spec, context))
    operands = [compile_in(item, context) for item in spec]

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        made: dict[str, Any] = {}
        for operand in operands:
            merge_into(made, operand(document, scope))
        return made

    return evaluate


def _merge_one(operand: Evaluator) -> Evaluator:
    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        value = operand(document, scope)
        made: dict[str, Any] = {}
        for item in value if isinstance(value, list) else [value]:
            merge_into(made, item)
        return made

    return evaluate
