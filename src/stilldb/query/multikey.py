"""What an index, or a sort, sees of a document: one tuple of values for each element of the array on its way.

Source: MongoDB manual, "Multikey Indexes". Filters see more than this (stilldb.query.paths).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stilldb.query.errors import MongoError
from stilldb.query.paths import as_document, position
from stilldb.query.values import MISSING, UNDEFINED, Document

Path = tuple[str, ...]
# A value on the way, what is left of the path, and, where the value is an array to enter, the name that led to it.
_Cursor = tuple[Any, Path, str | None]


class ParallelArrays(MongoError):
    """Two fields of a compound key lead into different arrays of one document."""

    def __init__(self, first: str | None, second: str | None) -> None:
        super().__init__("CannotIndexParallelArrays", f"cannot index parallel arrays [{first}] [{second}]")


def expand(document: Document, paths: Sequence[Path]) -> list[tuple[Any, ...]]:
    """The tuples of values at ``paths``, one for each element if an array is on the way; equal ones may repeat.

    A path that leads nowhere gives MISSING, an empty array UNDEFINED. Raises ParallelArrays if two different arrays are on
    the way, and MongoError 16746 where a number names both a position and a field.
    """
    cursors = [_advance(document, path, path[0]) for path in paths]
    if all(name is None for _, _, name in cursors):
        return [tuple([value for value, _, _ in cursors])]
    made: list[tuple[Any, ...]] = []
    _expand(cursors, made)
    return made


def _advance(value: Any, path: Path, name: str) -> _Cursor:
    """Follow ``path`` through documents up to its end or to the first array."""
    for at, part in enumerate(path):
        if isinstance(value, list):
            return value, path[at:], name
        document = as_document(value)
        if document is None:
            return MISSING, (), None
        value, name = document.get(part, MISSING), part
    return (value, (), name) if isinstance(value, list) else (value, (), None)


def _expand(cursors: list[_Cursor], made: list[tuple[Any, ...]]) -> None:
    array: list[Any] | None = None
    inside: str | None = None
    for value, _, name in cursors:
        if name is None:
            continue
        if array is None:
            array, inside = value, name
        elif array is not value:
            raise ParallelArrays(name, inside)
    if array is None:
        made.append(tuple([value for value, _, _ in cursors]))
        return
    for item in array or [UNDEFINED]:
        _expand([_into(cursor, array, item) for cursor in cursors], made)
        if all(_positional(cursor, array) for cursor in cursors):
            return


def _positional(cursor: _Cursor, array: list[Any]) -> bool:
    """Whether the cursor does not depend on which element is looked at."""
    _, path, name = cursor
    return name is None or (bool(path) and position(path[0], len(array)) is not None)


def _into(cursor: _Cursor, array: list[Any], item: Any) -> _Cursor:
    _, path, name = cursor
    if name is None:
        return cursor
    if not path:
        return item, (), None
    at = position(path[0], len(array))
    if at is not None:
        return _at_position(array, at, path)
    if isinstance(item, list):
        return MISSING, (), None
    return _advance(item, path, name)


def _at_position(array: list[Any], at: int, path: Path) -> _Cursor:
    for item in array:
        document = as_document(item)
        if document is not None and path[0] in document:
            words = "Ambiguous field name found in array (do not use numeric field names in embedded elements in an array)"
            raise MongoError("Location16746", f"{words}, field: '{path[0]}'")
    if len(path) == 1:
        return array[at], (), None
    return _advance(array[at], path[1:], path[0])
