"""Dotted paths of filters: which values they see, and how paths are split. Aggregation paths follow other rules
(stilldb.query.expressions.fieldpath), and so do indexes (stilldb.query.multikey).

A filter enters arrays one level at each step: ``a.b`` sees the ``b`` of ``a`` and of every document in the array ``a``,
and, where ``b`` is an array, its elements and itself. A part that is a number is a position in an array and also a name.
Source: MongoDB manual, "Query an Array", "Query an Array of Embedded Documents".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from bson import DBRef

from stilldb.query.errors import MongoError
from stilldb.query.values import MISSING, Document

Path = tuple[str, ...]
Test = Callable[[Any], bool]
Sight = tuple[Any, int | None]

# Source: Amazon DocumentDB limits, "nesting depth".
MAX_PARTS: Final = 200


def split(path: str) -> Path:
    """The parts of a filter's path; empty parts are names like others. Raises MongoError for too many."""
    parts = tuple(path.split("."))
    if len(parts) > MAX_PARTS:
        raise MongoError("Overflow", f"FieldPath is too long: {len(parts)} parts, at most {MAX_PARTS}")
    return parts


def split_field_path(path: str) -> Path:
    """The parts of a path that a sort or an index names; raises MongoError as MongoDB's FieldPath does."""
    if not path:
        raise MongoError("Location40352", "FieldPath cannot be constructed with empty string")
    if path.endswith("."):
        raise MongoError("Location40353", "FieldPath must not end with a '.'.")
    parts = split(path)
    for part in parts:
        if not part:
            raise MongoError("Location15998", "FieldPath field names may not be empty strings.")
        if part.startswith("$") and part not in {"$id", "$ref", "$db"}:
            raise MongoError("Location16410", f"FieldPath field names may not start with '$': {part}")
        if "\0" in part:
            raise MongoError("Location16411", "FieldPath field names may not contain '\0'.")
    return parts


def position(part: str, count: int | None = None) -> int | None:
    """``part`` as a position in an array (of ``count`` elements), or None if it is none."""
    if not part.isdecimal() or not part.isascii() or (part[0] == "0" and part != "0") or len(part) > 9:
        return None
    number = int(part)
    return number if count is None or number < count else None


def as_document(value: Any) -> Document | None:
    """``value`` if it is a document, a DBRef as the document it stands for, else None."""
    if isinstance(value, dict):
        return value
    return dict(value.as_doc()) if isinstance(value, DBRef) else None


def compile_any(parts: Path, test: Test, *, elements: bool = True) -> Callable[[Document], bool]:
    """Whether ``test`` holds for any value that a filter on ``parts`` sees; MISSING where the path ends early.

    ``elements`` says whether a filter looks into an array at the end of the path, too (``$size`` does not).
    """
    if len(parts) > 1:
        return lambda document: _any(document, parts, test, elements)
    name = parts[0]

    def top(document: Document) -> bool:
        value = document.get(name, MISSING)
        if elements and type(value) is list:
            for item in value:
                if test(item):
                    return True
        return test(value)

    return top


def _any(value: Any, parts: Path, test: Test, elements: bool) -> bool:
    for at, part in enumerate(parts):
        if isinstance(value, dict):
            value = value.get(part, MISSING)
        elif isinstance(value, list):
            return _any_inside(value, parts[at:], test, elements)
        else:
            document = as_document(value)
            if document is None:
                return test(MISSING)
            value = document.get(part, MISSING)
    if elements and isinstance(value, list):
        for item in value:
            if test(item):
                return True
    return test(value)


def _any_inside(items: list[Any], parts: Path, test: Test, elements: bool) -> bool:
    at = position(parts[0], len(items))
    for index, item in enumerate(items):
        if isinstance(item, dict | DBRef) and _any(item, parts, test, elements):
            return True
        if index == at and _any_at(item, parts[1:], test, elements):
            return True
    return False


def _any_at(item: Any, rest: Path, test: Test, elements: bool) -> bool:
    # A path that ends at a position sees the element as it is, also an array.
    if not rest:
        return test(item)
    if isinstance(item, list):
        return _any_inside(item, rest, test, elements)
    return isinstance(item, dict | DBRef) and _any(item, rest, test, elements)


def sights(value: Any, parts: Path, *, elements: bool = True) -> Iterator[Sight]:
    """The values that ``compile_any`` tests, in its order, each with the position that the positional ``$`` takes.

    That is the position in the outermost array that the path entered without naming a position, or None.
    """
    for at, part in enumerate(parts):
        if isinstance(value, list):
            yield from _sights_inside(value, parts[at:], elements)
            return
        document = as_document(value)
        if document is None:
            yield MISSING, None
            return
        value = document.get(part, MISSING)
    if elements and isinstance(value, list):
        for index, item in enumerate(value):
            yield item, index
    yield value, None


def _sights_inside(items: list[Any], parts: Path, elements: bool) -> Iterator[Sight]:
    at = position(parts[0], len(items))
    for index, item in enumerate(items):
        if isinstance(item, dict | DBRef):
            for found, _ in sights(item, parts, elements=elements):
                yield found, index
        if index == at:
            yield from _sights_at(item, parts[1:], elements)


def _sights_at(item: Any, rest: Path, elements: bool) -> Iterator[Sight]:
    if not rest:
        yield item, None
    elif isinstance(item, list):
        yield from _sights_inside(item, rest, elements)
    elif isinstance(item, dict | DBRef):
        yield from sights(item, rest, elements=elements)
