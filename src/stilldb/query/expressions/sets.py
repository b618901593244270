"""Set operators: arrays seen without order and repetition. Rules: MongoDB manual, "Set Expression Operators"."""

from __future__ import annotations

from typing import Any

from stilldb.query import numbers, order
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
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING


def _require_arrays(name: str, code: int, values: list[Any]) -> bool:
    """Whether all are arrays; False if one is null; raises MongoError for other types."""
    for value in values:
        if value is None or value is MISSING:
            return False
        if not isinstance(value, list):
            words = f"All operands of {name} must be arrays. One argument is of type: {bson_type_name(value)}"
            raise fail(code, words)
    return True


def _keyed(items: list[Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for item in items:
        made.setdefault(order.hash_key(item), item)
    return made


@variadic("$setUnion")
def set_union(values: list[Any]) -> Any:
    """The different elements of all arrays."""
    if not _require_arrays("$setUnion", 17043, values):
        return None
    return list(_keyed([item for value in values for item in value]).values())


@variadic("$setIntersection")
def set_intersection(values: list[Any]) -> Any:
    """The different elements that every array has."""
    if not _require_arrays("$setIntersection", 17047, values):
        return None
    if not values:
        return []
    kept = _keyed(values[0])
    for value in values[1:]:
        other = _keyed(value)
        kept = {key: item for key, item in kept.items() if key in other}
    return list(kept.values())


@operator("$setEquals")
def _set_equals(spec: Any, context: Context) -> Evaluator:
    if not isinstance(spec, list) or len(spec) < 2:
        count = len(spec) if isinstance(spec, list) else 1
        raise fail(17045, f"$setEquals needs at least two arguments had: {count}")
    operands = [compile_in(item, context) for item in spec]

    def evaluate(document: Any, scope: Scope = EMPTY) -> bool:
        values = [operand(document, scope) for operand in operands]
        for value in values:
            if not isinstance(value, list):
                found = bson_type_name(value)
                raise fail(
                    17044, f"All operands of $setEquals must be arrays. One argument is of type: {found}"
                )
        first = _keyed(values[0]).keys()
        return all(_keyed(value).keys() == first for value in values[1:])

    return evaluate


@function("$setDifference", 2)
def set_difference(left: Any, right: Any) -> list[Any]:
    """The different elements of the first that the second has not."""
    for which, value, code in (("First", left, 17048), ("Second", right, 17049)):
        if not isinstance(value, list):
            found = f"{which} argument is of type: {bson_type_name(value)}"
            raise fail(code, f"both operands of $setDifference must be arrays. {found}")
    other = _keyed(right)
    return [item for key, item in _keyed(left).items() if key not in other]


@function("$setIsSubset", 2, null=False)
def set_is_subset(left: Any, right: Any) -> bool:
    """Whether the second has every element of the first."""
    for which, value, code in (("First", left, 17046), ("Second", right, 17042)):
        if not isinstance(value, list):
            found = f"{which} argument is of type: {bson_type_name(value)}"
            raise fail(code, f"both operands of $setIsSubset must be arrays. {found}")
    return _keyed(left).keys() <= _keyed(right).keys()


@function("$anyElementTrue", 1, null=False)
def any_element_true(items: Any) -> bool:
    """Whether one element is true."""
    if not isinstance(items, list):
        raise fail(17041, f"$anyElementTrue's argument must be an array, but is {bson_type_name(items)}")
    return any(numbers.truthy(item) for item in items)


@function("$allElementsTrue", 1, null=False)
def all_elements_true(items: Any) -> bool:
    """Whether no element is false."""
    if not isinstance(items, list):
        raise fail(17040, f"$allElementsTrue's argument must be an array, but is {bson_type_name(items)}")
    return all(numbers.truthy(item) for item in items)
