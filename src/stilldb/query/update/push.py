"""$push with $each, $position, $sort and $slice. Source: MongoDB manual, "$push"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from stilldb.query import numbers
from stilldb.query.order import bson_type_name, descending_key, order_key
from stilldb.query.paths import Path, as_document, position
from stilldb.query.update.core import Change, Run, bad_value, computing, operator
from stilldb.query.update.words import id_text
from stilldb.query.values import MISSING

_CLAUSES: Final = frozenset({"$each", "$slice", "$sort", "$position"})
SortKey = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Push:
    """The clauses: items go in at the position, then the whole array is sorted, then cut."""

    items: list[Any]
    position: int | None = None
    key: SortKey | None = None
    slice: int | None = None

    def into(self, array: list[Any]) -> list[Any]:
        """The array with the items in it."""
        made = list(array)
        at = len(made) if self.position is None else self.position
        made[at:at] = self.items
        if self.key is not None:
            made.sort(key=self.key)
        if self.slice is not None:
            made = made[: self.slice] if self.slice >= 0 else made[self.slice :]
        return made


@operator("$push")
def _push(path: Path, argument: Any) -> Change:
    push = _parsed(argument)

    def compute(old: Any, path: Path, run: Run) -> Any:
        if old is MISSING:
            return push.into([])
        if not isinstance(old, list):
            words = f"The field '{'.'.join(path)}' must be an array but is of type {bson_type_name(old)}"
            raise bad_value(f"{words} in document {id_text(run.document)}")
        return push.into(old)

    return Change("$push", path, computing(compute))


def _parsed(argument: Any) -> _Push:
    if not isinstance(argument, dict) or "$each" not in argument:
        return _Push([argument])
    for name in argument:
        if name not in _CLAUSES:
            raise bad_value(f"Unrecognized clause in $push: {name}")
    items = argument["$each"]
    if not isinstance(items, list):
        raise bad_value(
            f"The argument to $each in $push must be an array but it was of type: {bson_type_name(items)}"
        )
    key = _sort_key(argument["$sort"]) if "$sort" in argument else None
    return _Push(
        items,
        _integer(argument, "$position", "be an integer value, not of type: "),
        key,
        _integer(argument, "$slice", "be an integer value but was given type: "),
    )


def _integer(argument: dict[str, Any], name: str, words: str) -> int | None:
    if name not in argument:
        return None
    found = numbers.integral(argument[name])
    if found is None or not numbers.INT64_MIN <= found <= numbers.INT64_MAX:
        raise bad_value(f"The value for {name} must {words}{bson_type_name(argument[name])}")
    # Positions beyond any array's length are all the same, and Python's slices take them.
    return found


def _sort_key(spec: Any) -> SortKey:
    if isinstance(spec, dict):
        return _pattern_key(spec)
    if not numbers.kind(spec):
        raise bad_value(
            "The $sort is invalid: use 1/-1 to sort the whole element, or {field:1/-1} to sort embedded fields"
        )
    return _direction(spec)


def _direction(value: Any) -> SortKey:
    which = numbers.integral(value)
    if which not in (1, -1):
        raise bad_value("The $sort element value must be either 1 or -1")
    return order_key if which == 1 else descending_key


def _pattern_key(spec: dict[str, Any]) -> SortKey:
    if not spec:
        raise bad_value("The $sort pattern is empty when it should be a set of fields.")
    pairs = [(_field(path), _direction(value)) for path, value in spec.items()]
    return lambda element: tuple([make(_value_at(element, parts)) for parts, make in pairs])


def _field(path: str) -> Path:
    if not path:
        raise bad_value("The $sort field cannot be empty")
    parts = tuple(path.split("."))
    if not all(parts):
        raise bad_value(f"The $sort field is a dotted field but has an empty part: {path}")
    return parts


def _value_at(value: Any, parts: Path) -> Any:
    """The value of an element's field, null if there is none; arrays on the way are entered only by position."""
    for part in parts:
        if isinstance(value, list):
            at = position(part, len(value))
            value = None if at is None else value[at]
        else:
            value = (as_document(value) or {}).get(part)
    return value
