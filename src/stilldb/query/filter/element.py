"""$exists and $type. Source: MongoDB manual, "Element Query Operators"."""

from __future__ import annotations

from typing import Any, Final

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.filter.core import Context, Leaf, Negation, Node, bad_value, field_operator
from stilldb.query.order import ALIASES, NUMBERS, type_number
from stilldb.query.paths import Test
from stilldb.query.values import MISSING, Document

NUMERIC: Final = frozenset(NUMBERS[alias] for alias in ("double", "int", "long", "decimal"))


@field_operator("$exists")
def _exists(argument: Any, siblings: Document, context: Context) -> Node:
    found = Leaf(lambda value: value is not MISSING)
    return found if numbers.truthy(argument) else Negation(found)


@field_operator("$type")
def _type(argument: Any, siblings: Document, context: Context) -> Node:
    return Leaf(type_test(parse_types("$type", argument)))


def type_test(wanted: frozenset[int]) -> Test:
    """The test for values of the types with these numbers."""
    return lambda value: type_number(value) in wanted


def parse_types(name: str, argument: Any) -> frozenset[int]:
    """The numbers of the types that ``argument`` names: a number, an alias, "number", or an array of those."""
    items = argument if isinstance(argument, list) else [argument]
    if not items:
        raise MongoError("FailedToParse", f"{name} must match at least one type")
    return frozenset().union(*[_types_of(item) for item in items])


def _types_of(item: Any) -> frozenset[int]:
    if isinstance(item, str):
        if item == "number":
            return NUMERIC
        if item not in NUMBERS:
            raise bad_value(f"Unknown type name alias: {item}")
        return frozenset({NUMBERS[item]})
    if not numbers.kind(item):
        raise MongoError("TypeMismatch", "type must be represented as a number or a string")
    code = numbers.integral(item)
    if code == 0:
        raise bad_value("Invalid numerical type code: 0. Instead use {$exists:false}.")
    if code not in ALIASES:
        raise bad_value(f"Invalid numerical type code: {item}")
    return frozenset({code})
