"""Filters: ``compile_filter`` is the door, the operators register themselves.

Owns what a filter means. Does not own which part of it a database can answer (stilldb.query.pushdown).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stilldb.query.errors import MongoError
from stilldb.query.filter import arrays, bits, comparison, element, evaluation, logical, patterns, schema
from stilldb.query.filter.arrays import element_test
from stilldb.query.filter.core import FIELD_OPERATORS, TOP_OPERATORS, Context, parse
from stilldb.query.paths import Test
from stilldb.query.values import Document

__all__ = ["FIELD_OPERATORS", "TOP_OPERATORS", "compile_element", "compile_filter", "compile_position"]

# Imported for the operators they register.
_THEMES = (arrays, bits, comparison, element, evaluation, logical, patterns, schema)


def compile_filter(spec: Document) -> Callable[[Document], bool]:
    """Whether a document matches ``spec``; raises MongoError for a malformed one, before any document is seen.

    Source: MongoDB manual, "Query Predicates".
    """
    return parse(_checked(spec), Context()).matches


def compile_position(spec: Document) -> Callable[[Document], int | None]:
    """The position that the positional ``$`` stands for in a document that matches ``spec``, or None.

    It is that of the element, in the outermost array on the way, by which the last condition on an array holds. Source:
    MongoDB manual, "$ (update)".
    """
    return parse(_checked(spec), Context()).position


def compile_element(spec: Any) -> Test:
    """Whether one element of an array passes ``spec``, the argument of an ``$elemMatch``."""
    return element_test(spec, Context())


def _checked(spec: Document) -> Document:
    if not isinstance(spec, dict):
        raise MongoError("TypeMismatch", "a filter must be a document")
    return spec
