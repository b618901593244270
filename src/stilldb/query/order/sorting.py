"""Sort specifications made into key functions. Source: MongoDB manual, "sort()" and "Comparison/Sort Order"."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Sequence
from typing import Any, Final

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.multikey import ParallelArrays, expand
from stilldb.query.order.compare import CLASSES, NAN, OrderKey, order_key
from stilldb.query.paths import split_field_path
from stilldb.query.values import MISSING, Document

SortKey = Callable[[Document], Any]
# Source: MongoDB's limit of a compound index, which sorts share.
MAX_KEYS: Final = 32
_NUMBER, _STRING, _DATE = CLASSES["number"], CLASSES["string"], CLASSES["date"]


class Inverted:
    """Turns the order of what it holds around."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: Inverted) -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inverted) and bool(self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)


class _AboveNumbers:
    """NaN where the order of numbers is turned around: above every number."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return other is not self


_LAST_NUMBER: Final = _AboveNumbers()
# UTF-8 has no bytes above 0xF4, so that 0xFF can end an inverted string and stays above all its bytes.
_COMPLEMENT: Final = bytes((0xFE - byte) % 256 for byte in range(256))


def _inverted_number(key: Any) -> Any:
    if key is NAN:
        return _LAST_NUMBER
    return key.copy_negate() if isinstance(key, decimal.Decimal) else -key


def descending_key(value: Any) -> OrderKey:
    """Like ``order_key`` with the order turned around.

    What is sorted most becomes a value that Python compares without calling back.
    """
    kind, key = order_key(value)
    if kind == _NUMBER:
        return (-kind, _inverted_number(key))
    if kind == _STRING:
        return (-kind, key.encode().translate(_COMPLEMENT) + b"\xff")
    if kind == _DATE:
        return (-kind, -key)
    return (-kind, Inverted(key))


def compile_sort(spec: Document) -> SortKey:
    """A key function for ``list.sort`` that orders documents by ``spec``: ``{path: 1 or -1}``.

    Missing fields sort as null. Of an array the smallest element counts where the order ascends and the largest where it
    descends; an empty array is below null. ``{"$natural": 1}`` and ``{}`` keep the order. Raises MongoError for a malformed
    ``spec``; the key function does for a document in which two paths lead into different arrays.
    """
    if spec.get("$natural") == 1 and len(spec) == 1:
        return lambda document: ()
    if len(spec) > MAX_KEYS:
        raise MongoError("BadValue", f"too many compound keys: a sort has at most {MAX_KEYS}")
    paths = tuple(split_field_path(path) for path in spec)
    makers = [_direction(path, value) for path, value in spec.items()]
    if len(paths) == 1:
        return _single(paths, makers[0])
    return _compound(paths, makers)


def _direction(path: str, value: Any) -> Callable[[Any], OrderKey]:
    if isinstance(value, dict):
        if set(value) == {"$meta"}:
            raise MongoError("CommandNotSupported", "sorting by $meta is not supported")
        raise MongoError("Location17312", "$meta is the only expression supported by $sort right now")
    if not numbers.kind(value):
        raise MongoError("Location15974", f"Illegal key in $sort specification: {path}: {value!r}")
    exact = numbers.integral(value)
    if exact == 1:
        return order_key
    if exact == -1:
        return descending_key
    raise MongoError("Location15975", "$sort key ordering must be 1 (for ascending) or -1 (for descending)")


def _expanded(document: Document, paths: Sequence[tuple[str, ...]]) -> list[tuple[Any, ...]]:
    try:
        return expand(document, paths)
    except ParallelArrays:
        raise MongoError("BadValue", "cannot sort with keys that are parallel arrays") from None


def _or_null(value: Any) -> Any:
    return None if value is MISSING else value


def _single(paths: tuple[tuple[str, ...], ...], make: Callable[[Any], OrderKey]) -> SortKey:
    path = paths[0]
    name = path[0]

    def top(document: Document) -> OrderKey:
        value = document.get(name)
        if isinstance(value, list):
            return min(make(_or_null(found[0])) for found in expand(document, paths))
        return make(value)

    def deep(document: Document) -> OrderKey:
        value: Any = document
        for part in path:
            if not isinstance(value, dict):
                break
            value = value.get(part)
        else:
            if not isinstance(value, list):
                return make(value)
        return min(make(_or_null(found[0])) for found in _expanded(document, paths))

    return top if len(path) == 1 else deep


def _compound(paths: tuple[tuple[str, ...], ...], makers: list[Callable[[Any], OrderKey]]) -> SortKey:
    """The smallest of the compound keys that an index on the paths would hold."""
    names = [path[0] for path in paths]
    plain = all(len(path) == 1 for path in paths)
    pairs = list(zip(names, makers, strict=True))

    def key(document: Document) -> tuple[OrderKey, ...]:
        if plain and not any(isinstance(document.get(name), list) for name in names):
            return tuple([make(document.get(name)) for name, make in pairs])
        return min(
            tuple([make(_or_null(value)) for make, value in zip(makers, found, strict=True)])
            for found in _expanded(document, paths)
        )

    return key
