"""Aggregation expressions, compiled to closures: ``compile_expression`` is the door, the operators register themselves.

Owns what an expression means. Does not own BSON order (stilldb.query.order) or stages (stilldb.query.stages).
"""

from __future__ import annotations

from typing import Any

from bson.datetime_ms import DatetimeMS

from stilldb.query.expressions import (
    arithmetic,
    array_walks,
    arrays,
    date_steps,
    dates,
    logic,
    regexes,
    sets,
    statistics,
    strings,
    types,
)
from stilldb.query.expressions.core import EMPTY, OPERATORS, Context, Evaluator, Scope, compile_in, now_ms

__all__ = ["EMPTY", "OPERATORS", "Evaluator", "Scope", "compile_expression"]

# Imported for the operators they register.
_THEMES = (
    arithmetic,
    array_walks,
    arrays,
    date_steps,
    dates,
    logic,
    regexes,
    sets,
    statistics,
    strings,
    types,
)


def compile_expression(
    spec: Any, variables: frozenset[str] = frozenset(), *, now: DatetimeMS | None = None
) -> Evaluator:
    """``evaluate(document, scope=EMPTY)`` for ``spec``: the value, or MISSING.

    ``variables`` are the user variables that ``scope`` will hold; ``now`` is the command's ``$$NOW`` (this moment by
    default). Raises MongoError for what is no expression. Source: MongoDB manual, "Aggregation Expressions".
    """
    return compile_in(spec, Context(variables, now_ms() if now is None else now))
