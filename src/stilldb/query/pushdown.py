"""Which part of a filter a database that knows JSON can answer, as a neutral plan. Pure; no SQL here.

A plan may only widen: whatever satisfies the filter satisfies the plan's condition. Where the condition is the filter,
no more and no less, the plan is ``exact`` and nobody needs to look again. The rules stand beside each node below; they
assume the query form of ``stilldb.documents.queryform`` and its searches, which enter arrays one level at each step.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final

from bson import Binary, DatetimeMS, Decimal128, Int64, ObjectId, Regex

from stilldb.query.values import Document

Path = tuple[str, ...]
MOST_VALUES: Final = 200  # of one $in: a longer one is left to the engine or an index
LONGEST_BINARY: Final = 256  # bytes; longer ones have no query form that can be compared
TAG: Final = "\ue000"  # begins the names that the query form uses for itself: of the private use area
_EXACT_INTEGER: Final = 2**53  # up to here integers and doubles are the same numbers
_RANGES: Final = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}
_RANGED: Final = (int, Int64, float, str, DatetimeMS, ObjectId)
_LITERAL_PREFIX: Final = re.compile(r"\^([\w \-/@:,;#%&=~`'\"!<>]+)", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Compare:
    """Some value at the path, or some element of an array there, is ``op`` (eq, gt, gte, lt, lte) to ``value``.

    Only values of the same type class compare, as in MongoDB.
    """

    path: Path
    op: str
    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Exists:
    """There is a value at the path."""

    path: Path


@dataclasses.dataclass(frozen=True, slots=True)
class NullOrMissing:
    """The field of the top level is null, holds a null, or is not there."""

    field: str


@dataclasses.dataclass(frozen=True, slots=True)
class StartsWith:
    """Some string at the path begins with ``text``, or there is a regular expression."""

    path: Path
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Element:
    """Some element of the array at the path, a document, satisfies ``condition``, whose paths begin there."""

    path: Path
    condition: Condition


@dataclasses.dataclass(frozen=True, slots=True)
class Every:
    """All parts hold; without parts, always."""

    parts: tuple[Condition, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Some:
    """One of the parts holds; without parts, never."""

    parts: tuple[Condition, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Not:
    """The part, which is exact, does not hold."""

    part: Condition


Condition = Compare | Exists | NullOrMissing | StartsWith | Element | Every | Some | Not
ALWAYS: Final = Every(())


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """A comparison of ``_id`` or of an indexed path that must hold; ``values`` are alternatives (more than one for eq)."""

    path: Path
    op: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of the database: every ``ids`` bound and ``condition``.

    ``bounds`` repeat parts of the condition that an index could serve; they need not be used.
    """

    condition: Condition
    ids: tuple[Bound, ...]
    bounds: tuple[Bound, ...]
    exact: bool


@dataclasses.dataclass(slots=True)
class _Found:
    """A translated piece. ``exact``: the condition is the piece, no more."""

    condition: Condition
    exact: bool


_WIDE: Final = _Found(ALWAYS, False)


def plan(spec: Document) -> Plan:
    """The plan of a filter that ``compile_filter`` has accepted."""
    ids: list[Bound] = []
    bounds: list[Bound] = []
    found = _document(spec, ids, bounds)
    return Plan(found.condition, tuple(ids), tuple(bounds), found.exact)


def whole_id(spec: Document) -> bool:
    """Whether the filter is one equality on ``_id`` alone: the most used query of all."""
    return len(spec) == 1 and "_id" in spec and _is_plain_id(spec["_id"])


def _is_plain_id(value: Any) -> bool:
    return not isinstance(value, dict | list | Regex)


def _document(spec: Document, ids: list[Bound] | None, bounds: list[Bound] | None) -> _Found:
    """``ids`` and ``bounds`` collect what must hold of the whole; None below $or and $nor, where nothing must."""
    return _every(_clause(key, value, ids, bounds) for key, value in spec.items())


def _every(pieces: Iterable[_Found]) -> _Found:
    found = list(pieces)
    parts = tuple(piece.condition for piece in found if piece.condition != ALWAYS)
    return _Found(parts[0] if len(parts) == 1 else Every(parts), all(piece.exact for piece in found))


def _some(pieces: Iterable[_Found]) -> _Found:
    found = list(pieces)
    if any(piece.condition == ALWAYS for piece in found):
        return _Found(ALWAYS, False)
    return _Found(Some(tuple(piece.condition for piece in found)), all(piece.exact for piece in found))


def _not(piece: _Found) -> _Found:
    return _Found(Not(piece.condition), True) if piece.exact else _WIDE


def _clause(key: str, value: Any, ids: list[Bound] | None, bounds: list[Bound] | None) -> _Found:
    if key == "$and":
        return _every(_document(item, ids, bounds) for item in value)
    if key == "$or":
        return _some(_document(item, None, None) for item in value)
    if key == "$nor":
        return _not(_some(_document(item, None, None) for item in value))
    if key == "$comment":
        return _Found(ALWAYS, True)
    if key.startswith("$"):
        return _WIDE
    if key == "_id":
        return _id(value, ids)
    return _field(key, value, bounds)


# -- _id: it has a column of its own, whose order is BSON's


def _id(value: Any, ids: list[Bound] | None) -> _Found:
    if ids is None:
        return _WIDE
    if not _is_operators(value):
        if isinstance(value, list | Regex):
            return _WIDE
        ids.append(Bound(("_id",), "eq", (value,)))
        return _Found(ALWAYS, True)
    exact = True
    for operator, operand in value.items():
        bound = _id_bound(operator, operand)
        if bound is None:
            exact = False
        else:
            ids.append(bound)
    return _Found(ALWAYS, exact)


def _id_bound(operator: str, operand: Any) -> Bound | None:
    if operator == "$eq" and not isinstance(operand, list | Regex):
        return Bound(("_id",), "eq", (operand,))
    if operator == "$in" and all(not isinstance(item, list | Regex) for item in operand):
        return Bound(("_id",), "eq", tuple(operand))
    if operator in _RANGES and _can_range(operand):
        return Bound(("_id",), _RANGES[operator], (operand,))
    return None


# -- every other field


def _is_operators(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and next(iter(value)).startswith("$")


def path_of(key: str) -> Path | None:
    """The parts of a dotted path that a search can follow; None where a part may be a position of an array."""
    parts = tuple(key.split("."))
    if any(not part or part.isdigit() for part in parts) or parts[0] == "_id" or TAG in key:
        return None
    return parts


def _field(key: str, value: Any, bounds: list[Bound] | None) -> _Found:
    path = path_of(key)
    if path is None:
        return _WIDE
    if isinstance(value, Regex):
        return _pattern(path, value)
    if not _is_operators(value):
        return _operator(path, "$eq", value, bounds, value)
    return _every(_operator(path, name, operand, bounds, value) for name, operand in value.items())


def _operator(path: Path, name: str, operand: Any, bounds: list[Bound] | None, all_of: Any) -> _Found:
    if name == "$options":
        return _Found(ALWAYS, True)
    translate = _OPERATORS.get(name)
    found = _WIDE if translate is None else translate(path, operand)
    if name == "$regex" and isinstance(all_of, dict) and all_of.get("$options"):
        found = _WIDE
    if bounds is not None:
        bounds += _bounds_of(path, name, operand)
    return found


def _bounds_of(path: Path, name: str, operand: Any) -> list[Bound]:
    """What an index on the path can look up: it holds any value, so more than the query form can compare."""
    if name == "$eq" and _can_look_up(operand):
        return [Bound(path, "eq", (operand,))]
    if name == "$in" and operand and all(map(_can_look_up, operand)):
        return [Bound(path, "eq", tuple(operand))]
    if name in _RANGES and _can_range(operand):
        return [Bound(path, _RANGES[name], (operand,))]
    return []


def _can_look_up(value: Any) -> bool:
    return value is not None and not isinstance(value, list | dict | Regex)


def _can_range(value: Any) -> bool:
    return type(value) in _RANGED and not (isinstance(value, float) and math.isnan(value))


def _eq(path: Path, value: Any) -> _Found:
    if value is None:
        return _Found(NullOrMissing(path[0]), True) if len(path) == 1 else _WIDE
    exact = _comparable(value)
    if exact is None:
        return _WIDE
    if not exact:  # doubles have the shortest form, a decimal may be the double's true value
        return _Found(Some((Compare(path, "eq", value), Compare(path, "eq", Decimal(value)))), False)
    return _Found(Compare(path, "eq", value), True)


def _comparable(value: Any) -> bool | None:
    """Whether equality with the value's query form is exact; None where the form must not be compared at all."""
    kind = type(value)
    if kind is bool or kind is ObjectId or kind is DatetimeMS:
        return True
    if kind is str:
        return True if "\0" not in value and TAG not in value else None
    if kind is int or kind is Int64:
        return True if abs(value) < _EXACT_INTEGER else None
    if kind is float:
        return _exact_double(value)
    if kind is bytes or kind is Binary:
        return True if len(value) <= LONGEST_BINARY else None
    return None


def _exact_double(value: float) -> bool | None:
    if not math.isfinite(value) or abs(value) >= _EXACT_INTEGER:
        return None
    # The form is the shortest decimal that reads as this double: another number for a decimal to be compared with.
    return Decimal(repr(value)) == Decimal(value)


def _ranged(op: str) -> Callable[[Path, Any], _Found]:
    def translate(path: Path, value: Any) -> _Found:
        if not _can_range(value):
            return _WIDE
        exact = _comparable(value)
        if exact is None:
            return _WIDE
        # An inexact double is still in its place among doubles and integers; only decimals close by could differ.
        return _Found(Compare(path, op, value), True) if exact else _widened(path, op, value)

    return translate


def _widened(path: Path, op: str, value: float) -> _Found:
    """The range with its limit moved outwards to whichever is further: the double's shortest form or its true value."""
    shortest, true = Decimal(repr(value)), Decimal(value)
    limit = min(shortest, true) if op in ("gt", "gte") else max(shortest, true)
    return _Found(Compare(path, "gte" if op in ("gt", "gte") else "lte", limit), False)


def _in(path: Path, values: Any) -> _Found:
    if len(values) > MOST_VALUES:
        return _WIDE
    return _some(_matched(path, value) for value in values)


def _matched(path: Path, value: Any) -> _Found:
    """A value of $in or $all, where a pattern is matched, not compared."""
    return _pattern(path, value) if isinstance(value, Regex) else _eq(path, value)


def _exists(path: Path, wanted: Any) -> _Found:
    found = _Found(Exists(path), True)
    return found if _true(wanted) else _not(found)


def _true(value: Any) -> bool:
    return bool(value.to_decimal() != 0) if isinstance(value, Decimal128) else bool(value)


def _pattern(path: Path, value: Any) -> _Found:
    """A pattern that asks for a beginning and nothing else; any other pattern is the engine's."""
    if isinstance(value, Regex):
        if value.flags:
            return _WIDE
        value = value.pattern
    match = _LITERAL_PREFIX.fullmatch(value) if isinstance(value, str) else None
    return _WIDE if match is None else _Found(StartsWith(path, match[1]), False)


def _element(path: Path, spec: Any) -> _Found:
    if not spec or _is_operators(spec):
        return _WIDE
    inner = _document(spec, None, None)
    # A search takes a document for an array of one, and enters arrays inside the array: more than $elemMatch does. But
    # for $elemMatch such an inner array is a document itself, without any of the names.
    condition = Exists(path) if _of_empty(inner.condition) else Element(path, inner.condition)
    return _Found(condition, False)


def _of_empty(condition: Condition) -> bool:
    """Whether the condition holds of a document without fields."""
    if isinstance(condition, Every):
        return all(map(_of_empty, condition.parts))
    if isinstance(condition, Some):
        return any(map(_of_empty, condition.parts))
    if isinstance(condition, Not):
        return not _of_empty(condition.part)
    return isinstance(condition, NullOrMissing)


def _negated(path: Path, spec: Any) -> _Found:
    if isinstance(spec, dict):
        return _not(_every(_operator(path, name, operand, None, spec) for name, operand in spec.items()))
    return _not(_pattern(path, spec))


_OPERATORS: Final[dict[str, Callable[[Path, Any], _Found]]] = {
    "$eq": _eq,
    "$ne": lambda path, value: _not(_eq(path, value)),
    "$in": _in,
    "$nin": lambda path, values: _not(_in(path, values)),
    "$all": lambda path, values: (
        _every(_WIDE if isinstance(value, dict | list) else _matched(path, value) for value in values)
        if values
        else _WIDE
    ),
    "$exists": _exists,
    "$regex": _pattern,
    "$elemMatch": _element,
    "$not": _negated,
    **{name: _ranged(op) for name, op in _RANGES.items()},
}
