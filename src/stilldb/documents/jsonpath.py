"""Conditions of a plan as SQL/JSON path text (PostgreSQL 18, 'The SQL/JSON Path Language'), in lax mode.

A path that is unknown for a document (values of two types do not compare) counts as not satisfied, so a negation must ask
for unknown as well.
"""

from __future__ import annotations

from typing import Final

import orjson

from stilldb.documents.queryform import REGEX, literal
from stilldb.query.pushdown import (
    Compare,
    Condition,
    Element,
    Every,
    Exists,
    Not,
    NullOrMissing,
    Path,
    Some,
    StartsWith,
)

_COMPARISONS: Final = {"eq": "==", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def quoted(text: str) -> str:
    """A string of the path language: JSON's form."""
    return orjson.dumps(text).decode()


def render(condition: Condition) -> str:
    """The predicate for ``jsonb @@ path``."""
    return _render(condition, "$")


def _at(root: str, path: Path) -> str:
    return root + "".join(f".{quoted(part)}" for part in path)


def _render(condition: Condition, root: str) -> str:
    if isinstance(condition, Compare):
        end, value = literal(condition.value)
        return f"({_at(root, condition.path)}{end} {_COMPARISONS[condition.op]} {value})"
    if isinstance(condition, Exists):
        return f"exists({_at(root, condition.path)})"
    if isinstance(condition, NullOrMissing):
        field = _at(root, (condition.field,))
        return f"(!exists({field}) || {field} == null)"
    if isinstance(condition, StartsWith):
        at = _at(root, condition.path)
        # A pattern also matches the regular expression that it is.
        return f'({at} starts with {quoted(condition.text)} || exists({at}."{REGEX}"))'
    if isinstance(condition, Element):
        return f"exists({_at(root, condition.path)}[*] ? ({_render(condition.condition, '@')}))"
    if isinstance(condition, Not):
        inner = _render(condition.part, root)
        return f"(!({inner}) || ({inner}) is unknown)"
    return _joined(condition, root)


def _joined(condition: Every | Some, root: str) -> str:
    parts = [_render(part, root) for part in condition.parts]
    if not parts:  # the language has no constants that are predicates
        return "(1 == 1)" if isinstance(condition, Every) else "(1 == 2)"
    return f"({(' && ' if isinstance(condition, Every) else ' || ').join(parts)})"
