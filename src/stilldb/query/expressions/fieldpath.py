"""Field paths of expressions: ``$a.b.c`` over documents, mapped over arrays; array positions are no names here.

Not for filters or updates, whose paths follow other rules (stilldb.query.paths).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stilldb.query.errors import MongoError
from stilldb.query.values import MISSING


def split_path(path: str) -> tuple[str, ...]:
    """The parts of ``path`` (without its ``$``); raises MongoError as MongoDB's FieldPath does."""
    if not path:
        raise MongoError("Location16872", "'$' by itself is not a valid FieldPath")
    if path.endswith("."):
        raise MongoError("Location40353", "FieldPath must not end with a '.'.")
    parts = tuple(path.split("."))
    for part in parts:
        _check_part(part)
    return parts


def _check_part(part: str) -> None:
    if not part:
        raise MongoError("Location15998", "FieldPath field names may not be empty strings.")
    if part.startswith("$"):
        raise MongoError("Location16410", f"FieldPath field names may not start with '$': {part}")
    if "\0" in part:
        raise MongoError("Location16411", "FieldPath field names may not contain '\0'.")


def path_of_value(value: Any, parts: tuple[str, ...]) -> Any:
    """What ``parts`` lead to within ``value``, or MISSING; arrays on the way are mapped, missing elements left out."""
    for index, part in enumerate(parts):
        if isinstance(value, dict):
            value = value.get(part, MISSING)
        elif isinstance(value, list):
            return _over_array(value, parts[index:])
        else:
            return MISSING
    return value


def _over_array(items: list[Any], parts: tuple[str, ...]) -> list[Any]:
    found = (path_of_value(item, parts) for item in items if isinstance(item, dict | list))
    return [value for value in found if value is not MISSING]


def field_getter(parts: tuple[str, ...]) -> Callable[..., Any]:
    """An evaluator of the path ``parts``; a single name, the most used, reads the document itself."""
    if len(parts) == 1:
        return _single(parts[0])
    return lambda document, scope=None: path_of_value(document, parts)


def _single(name: str) -> Callable[..., Any]:
    def evaluate(document: Any, scope: Any = None) -> Any:
        if isinstance(document, dict):
            return document.get(name, MISSING)
        return path_of_value(document, (name,))

    return evaluate
