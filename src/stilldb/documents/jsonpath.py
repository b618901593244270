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
        return _negated(condition.part, root)
    parts = [_render(part, root) for part in condition.parts]
    return _joined(parts, every=isinstance(condition, Every))


def _negated(part: Condition, root: str) -> str:
    """The negation, moved inwards: outside of a comparison, which it names twice, it would double what it is about."""
    if isinstance(part, Not):
        return _render(part.part, root)
    if isinstance(part, Every | Some):
        parts = [_negated(inner, root) for inner in part.parts]
        return _joined(parts, every=isinstance(part, Some))
    inner = _render(part, root)
    return f"(!({inner}) || ({inner}) is unknown)"


def _joined(parts: list[str], *, every: bool) -> str:
    if not parts:  # the language has no constants that are predicates
        return "(1 == 1)" if every else "(1 == 2)"
    while len(parts) > 1:  # in pairs: PostgreSQL follows a chain by recursion, and its stack has an end
        pairs = zip(parts[::2], parts[1::2], strict=False)
        odd = parts[len(parts) - len(parts) % 2 :]
        parts = [f"({left} {'&&' if every else '||'} {right})" for left, right in pairs] + odd
    return parts[0]
