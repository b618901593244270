"""The document that an upsert begins with. Source: MongoDB manual, "Upsert Behavior"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson import Regex

from stilldb.query.errors import MongoError
from stilldb.query.filter.core import is_expression
from stilldb.query.paths import Path, split
from stilldb.query.update.editor import Editor
from stilldb.query.values import Document


def upsert_document(filter_spec: Document) -> Document:
    """The fields that ``filter_spec`` says by equality: plain values, ``$eq``, and ``$in``, ``$all``, ``$or`` of one.

    Raises MongoError NotSingleValueField if a path is given twice or within another.
    """
    equal: dict[Path, Any] = {}
    for path, value in _equalities(filter_spec):
        _check(path, equal)
        equal[path] = value
    editor = Editor({})
    for path in sorted(equal):
        editor.modify(path, _constant(equal[path]))
    return editor.document


def _constant(value: Any) -> Any:
    return lambda old: value


def _equalities(spec: Document) -> Iterator[tuple[Path, Any]]:
    for key, value in spec.items():
        if key == "$expr":
            raise MongoError(
                "QueryFeatureNotAllowed",
                "$expr is not allowed in the query predicate for an upsert",
                code=224,
            )
        if key == "$and" or (key == "$or" and len(value) == 1):
            for item in value:
                yield from _equalities(item)
        elif not key.startswith("$"):
            for found in _values(value):
                yield split(key), found


def _values(value: Any) -> list[Any]:
    """What ``value``, a field's condition, says the field is equal to."""
    if isinstance(value, Regex):
        return []
    if not is_expression(value):
        return [value]
    made = []
    for name, argument in value.items():
        if name == "$eq":
            made.append(argument)
        elif name == "$in" and len(argument) == 1:
            made += [item for item in argument if not isinstance(item, Regex)]
        elif name == "$all":
            made += [item for item in argument if not isinstance(item, Regex) and not is_expression(item)]
    return made


def _check(path: Path, equal: dict[Path, Any]) -> None:
    dotted = ".".join(path)
    for other in equal:
        shared = min(len(path), len(other))
        if path[:shared] != other[:shared]:
            continue
        words = f"both paths '{dotted}' and '{'.'.join(other)}' are matched"
        if path == other:
            words = f"path '{dotted}' is matched twice"
        raise MongoError("NotSingleValueField", f"cannot infer query fields to set, {words}", code=54)
