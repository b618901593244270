"""$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin. Source: MongoDB manual, "Comparison Query Operators".

Only values of one class compare (numbers with numbers, strings with strings): "type bracketing". Null equals missing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from bson import DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex
from bson.datetime_ms import DatetimeMS

from stilldb.query.filter.core import Context, Leaf, Negation, Node, bad_value, field_operator, is_expression
from stilldb.query.filter.patterns import regex_test
from stilldb.query.numbers import is_nan, kind
from stilldb.query.order import hash_key, order_key
from stilldb.query.paths import Test
from stilldb.query.values import MISSING, UNDEFINED, Document

Relation = Callable[[Any, Any], bool]
_BINARY_NUMBERS: Final = frozenset({int, Int64, float})


def is_null(value: Any) -> bool:
    """Whether ``value`` is null or missing."""
    return value is None or value is MISSING or value is UNDEFINED


def equals(target: Any) -> Test:
    """The test for being equal to ``target``."""
    which = type(target)
    if target is None:
        return is_null
    if which is str:
        return lambda value: type(value) is str and value == target
    if which is ObjectId:
        return lambda value: bool(value == target)
    if which is bool:
        return lambda value: value is target
    if which in _BINARY_NUMBERS and not is_nan(target):
        return _relates_number(operator.eq, target)
    key = order_key(target)
    if isinstance(target, dict | list):
        return lambda value: isinstance(value, dict | list | DBRef) and order_key(value) == key
    return lambda value: order_key(value) == key


def _relates_number(relation: Relation, target: Any) -> Test:
    """The test of numbers against one that is no NaN and no decimal; NaN relates to none of them."""

    def test(value: Any) -> bool:
        which = type(value)
        if which is int or which is float or which is Int64:
            return relation(value, target)
        return which is Decimal128 and not is_nan(value) and relation(value.to_decimal(), target)

    return test


def _relates(name: str, relation: Relation, target: Any) -> Test:
    which = type(target)
    if is_nan(target):
        return equals(target) if name in {"$gte", "$lte"} else _never
    if target is None:
        return is_null if name in {"$gte", "$lte"} else _never
    if which is str or which is ObjectId:
        return lambda value: type(value) is which and relation(value, target)
    if which is DatetimeMS:
        moment = int(target)
        return lambda value: type(value) is DatetimeMS and relation(int(value), moment)
    if which in _BINARY_NUMBERS:
        return _relates_number(relation, target)
    if which is MinKey or which is MaxKey:
        return lambda value: relation(order_key(value), order_key(target))
    return _relates_by_key(relation, target)


def _relates_by_key(relation: Relation, target: Any) -> Test:
    key = order_key(target)
    number = kind(target) != 0

    def test(value: Any) -> bool:
        found = order_key(value)
        return found[0] == key[0] and relation(found, key) and not (number and is_nan(value))

    return test


def _never(value: Any) -> bool:
    return False


def _no_regex(argument: Any, name: str) -> None:
    if isinstance(argument, Regex):
        raise bad_value(f"Can't have RegEx as arg to predicate over field '{name}'.")


def _range(name: str, relation: Relation) -> None:
    @field_operator(name)
    def parse(argument: Any, siblings: Document, context: Context) -> Node:
        _no_regex(argument, name)
        return Leaf(_relates(name, relation, argument))


_range("$gt", operator.gt)
_range("$gte", operator.ge)
_range("$lt", operator.lt)
_range("$lte", operator.le)


@field_operator("$eq")
def _eq(argument: Any, siblings: Document, context: Context) -> Node:
    return Leaf(equals(argument))


@field_operator("$ne")
def _ne(argument: Any, siblings: Document, context: Context) -> Node:
    if isinstance(argument, Regex):
        raise bad_value("Can't have regex as arg to $ne.")
    return Negation(Leaf(equals(argument)))


@field_operator("$in")
def _in(argument: Any, siblings: Document, context: Context) -> Node:
    return Leaf(_member("$in", argument))


@field_operator("$nin")
def _nin(argument: Any, siblings: Document, context: Context) -> Node:
    return Negation(Leaf(_member("$nin", argument)))


def _member(name: str, argument: Any) -> Test:
    """The test for being equal to one of the values, or matched by one of the regular expressions."""
    if not isinstance(argument, list):
        raise bad_value(f"{name} needs an array")
    for item in argument:
        if is_expression(item):
            raise bad_value(f"cannot nest $ under {name}")
    patterns = [regex_test(item) for item in argument if isinstance(item, Regex)]
    wanted = {hash_key(item) for item in argument if not isinstance(item, Regex)}
    if None in argument:
        wanted |= {hash_key(MISSING)}
    if not patterns:
        return lambda value: hash_key(value) in wanted
    return lambda value: hash_key(value) in wanted or any(test(value) for test in patterns)
