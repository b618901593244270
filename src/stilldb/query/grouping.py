"""Which ``$group`` a database that knows JSON can answer, as a neutral plan. Pure; no SQL here.

Only plain paths as keys, and accumulators whose result does not depend on the order of documents. What turns out at run
time not to be exact (arrays on the way, doubles to be added, values that are no numbers) is the engine's after all.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from stilldb.query.pushdown import Path, path_of
from stilldb.query.values import Document

_OVER_PATHS: Final = {"$sum": "sum", "$avg": "avg", "$min": "min", "$max": "max"}


@dataclasses.dataclass(frozen=True, slots=True)
class Accumulated:
    """One field: ``count`` times ``factor``, or sum, avg, min, max of the numbers at the path."""

    name: str
    op: str
    path: Path = ()
    factor: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class GroupPlan:
    """Keys (``names`` None: the key is the only value itself; no keys: one group, ``constant``) and fields."""

    keys: tuple[Path, ...]
    names: tuple[str, ...] | None
    constant: Any
    fields: tuple[Accumulated, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path that is accumulated, once."""
        return tuple(dict.fromkeys(field.path for field in self.fields if field.path))


def group_plan(spec: Document) -> GroupPlan | None:
    """The plan of a ``$group`` that compiled; None when it is the engine's."""
    fields = tuple(_field(name, value) for name, value in spec.items() if name != "_id")
    known = tuple(field for field in fields if field is not None)
    if len(known) != len(fields):
        return None
    return _keyed(spec["_id"], known)


def _keyed(key: Any, fields: tuple[Accumulated, ...]) -> GroupPlan | None:
    if isinstance(key, dict) and key:
        paths = [_path(value) for value in key.values()]
        found = tuple(path for path in paths if path is not None)
        return GroupPlan(found, tuple(key), None, fields) if len(found) == len(paths) else None
    if isinstance(key, str) and key.startswith("$"):
        path = _path(key)
        return None if path is None else GroupPlan((path,), None, None, fields)
    if key is None or isinstance(key, int | str | bool):
        return GroupPlan((), None, key, fields)
    return None


def _path(value: Any) -> Path | None:
    if not isinstance(value, str) or not value.startswith("$") or value.startswith("$$"):
        return None
    return path_of(value[1:])


def _field(name: str, value: Document) -> Accumulated | None:
    ((operator, argument),) = value.items()
    if operator == "$count" and argument == {}:
        return Accumulated(name, "count")
    if operator == "$sum" and type(argument) is int:
        return Accumulated(name, "count", factor=argument)
    path = _path(argument)
    if operator not in _OVER_PATHS or path is None:
        return None
    return Accumulated(name, _OVER_PATHS[operator], path)
