"""$and, $or, $nor, $not, $comment, $expr and the constants. Source: MongoDB manual, "Logical Query Operators"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bson import Regex

from stilldb.query.errors import MongoError
from stilldb.query.expressions import compile_expression
from stilldb.query.filter.comparison import equals
from stilldb.query.filter.core import (
    Context,
    Every,
    Leaf,
    Negation,
    Node,
    Predicate,
    bad_value,
    every,
    field_operator,
    none,
    parse,
    parse_operators,
    some,
    top_operator,
)
from stilldb.query.filter.patterns import regex_test
from stilldb.query.numbers import integral, truthy
from stilldb.query.paths import as_document
from stilldb.query.values import Document


def _join(name: str, build: Callable[[Sequence[Predicate]], Predicate]) -> None:
    @top_operator(name)
    def parse_all(argument: Any, context: Context) -> Predicate:
        if not isinstance(argument, list):
            raise bad_value(f"{name} must be an array")
        if not argument:
            raise bad_value("$and/$or/$nor must be a nonempty array")
        for item in argument:
            if not isinstance(item, dict):
                raise bad_value("$or/$and/$nor entries need to be full objects")
        return build([parse(item, context) for item in argument])


_join("$and", every)
_join("$or", some)
_join("$nor", none)


@field_operator("$not")
def _not(argument: Any, siblings: Document, context: Context) -> Node:
    if isinstance(argument, Regex):
        return Negation(Leaf(regex_test(argument)))
    if not isinstance(argument, dict):
        raise bad_value("$not needs a regex or a document")
    if not argument:
        raise bad_value("$not cannot be empty")
    return Negation(Every(parse_operators(argument, context)))


@top_operator("$comment")
def _comment(argument: Any, context: Context) -> None:
    return None


@top_operator("$expr")
def _expr(argument: Any, context: Context) -> Predicate:
    if not context.top:
        raise bad_value("$expr can only be applied to the top-level document")
    evaluate = compile_expression(argument)
    return Predicate(lambda document: truthy(evaluate(document)), lambda document: None)


def _constant(name: str, answer: bool) -> None:
    @top_operator(name)
    def parse_one(argument: Any, context: Context) -> Predicate:
        if integral(argument) != 1:
            raise MongoError("FailedToParse", f"{name} must be an integer value of 1")
        return Predicate(lambda document: answer, lambda document: None)


_constant("$alwaysTrue", True)
_constant("$alwaysFalse", False)


def _reference(name: str) -> None:
    """The fields of a DBRef are named like operators, and are compared like fields."""

    @top_operator(name)
    def parse_one(argument: Any, context: Context) -> Predicate:
        test = equals(argument)
        return Predicate(
            lambda document: test((as_document(document) or {}).get(name)), lambda document: None
        )


_reference("$ref")
_reference("$id")
_reference("$db")
