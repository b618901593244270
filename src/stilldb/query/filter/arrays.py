"""$all, $elemMatch and $size. Source: MongoDB manual, "Array Query Operators"."""

from __future__ import annotations

from typing import Any

from bson import Decimal128

from stilldb.query import numbers
from stilldb.query.filter.core import (
    FIELD_OPERATORS,
    TOP_OPERATORS,
    Context,
    Every,
    Leaf,
    Node,
    bad_value,
    conjunction,
    equality,
    field_operator,
    parse,
    parse_operators,
)
from stilldb.query.paths import Test, as_document
from stilldb.query.values import Document


@field_operator("$size")
def _size(argument: Any, siblings: Document, context: Context) -> Node:
    if not numbers.kind(argument) or isinstance(argument, Decimal128):
        raise bad_value("$size needs a number")
    count = numbers.integral(argument)
    if count is None:
        raise bad_value("$size must be a whole number")
    if count < 0:
        raise bad_value("$size may not be negative")
    if count > numbers.INT32_MAX:
        raise bad_value("$size must be representable as a 32-bit integer")
    return Leaf(lambda value: isinstance(value, list) and len(value) == count, elements=False)


@field_operator("$elemMatch")
def _elem_match(argument: Any, siblings: Document, context: Context) -> Node:
    return element_node(argument, context)


def element_node(argument: Any, context: Context) -> Leaf:
    """The node of an ``$elemMatch``: some element of the array passes."""
    test = element_test(argument, context)

    def inside(value: list[Any]) -> int | None:
        return next((index for index, item in enumerate(value) if test(item)), None)

    def some(value: Any) -> bool:
        return isinstance(value, list) and any(test(item) for item in value)

    return Leaf(some, elements=False, inside=inside)


def element_test(argument: Any, context: Context) -> Test:
    """What ``$elemMatch`` asks of one element: operators of a value, or a filter of a document."""
    spec = as_document(argument)
    if spec is None:
        raise bad_value("$elemMatch needs an Object")
    first = next(iter(spec), "")
    if first.startswith("$") and first not in TOP_OPERATORS:
        nodes = parse_operators(spec, context)
        return conjunction([node.single() for node in nodes])
    matches = parse(spec, context.inside()).matches

    def test(item: Any) -> bool:
        document = as_document(item)
        if document is not None:
            return matches(document)
        # An array is a document whose names are positions.
        return isinstance(item, list) and matches({str(at): inner for at, inner in enumerate(item)})

    return test


@field_operator("$all")
def _all(argument: Any, siblings: Document, context: Context) -> Node:
    if not isinstance(argument, list):
        raise bad_value("$all needs an array")
    if not argument:
        return Leaf(lambda value: False)
    if _is_elem_match(argument[0]):
        if not all(_is_elem_match(item) for item in argument):
            raise bad_value("$all/$elemMatch has to be consistent")
        return Every([element_node(item["$elemMatch"], context) for item in argument])
    for item in argument:
        if isinstance(item, dict) and next(iter(item), "") in FIELD_OPERATORS:
            raise bad_value("no $ expressions in $all")
    return Every([equality(item) for item in argument])


def _is_elem_match(item: Any) -> bool:
    return isinstance(item, dict) and next(iter(item), "") == "$elemMatch"
