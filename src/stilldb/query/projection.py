"""Projections of find: what ``$project`` can do, and ``$slice``, ``$elemMatch`` and the positional ``$`` besides.

The plain part is done by the pipeline stage; the special fields are done to its result. Source: MongoDB manual, "Project
Fields to Return from Query", "Projection Operators".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.filter import compile_element, compile_position
from stilldb.query.order import bson_type_name
from stilldb.query.paths import Path, Test, split_field_path
from stilldb.query.stages.core import NoCollections, StageContext
from stilldb.query.stages.shape import projector
from stilldb.query.values import MISSING, Document

Project = Callable[[Document], Document]
Slicing = Callable[[list[Any]], list[Any]]
_STAGE_PREFIX = "Invalid $project :: caused by :: "


def _fail(code: int, message: str) -> MongoError:
    return MongoError(f"Location{code}", message)


def compile_projection(spec: Document, filter_spec: Document | None = None) -> Project:
    """What ``spec`` keeps of a document; ``filter_spec`` tells the position of the positional ``$``.

    Raises MongoError for a malformed ``spec``; the projection does for a document in which ``$`` has no position. The
    document stays as it was; the result may share parts with it.
    """
    if not spec:
        return lambda document: document
    parts = _Parts()
    for path, value in _flat(spec):
        parts.take(path, value)
    base = _base(parts)
    steps = [*_slices(parts), *_positional(parts, filter_spec), *_elem_matches(parts)]
    if not steps:
        return base

    def project(document: Document) -> Document:
        made = base(document)
        for step in steps:
            made = step(document, made)
        return made

    return project


Step = Callable[[Document, Document], Document]


def _flat(spec: Document, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of ``spec`` with their whole paths; ``{a: {b: 1}}`` is ``{"a.b": 1}``."""
    for name, value in spec.items():
        if isinstance(value, dict) and value and not next(iter(value)).startswith("$"):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@dataclass(slots=True)
class _Parts:
    """A projection taken apart."""

    plain: Document = field(default_factory=dict)
    slices: dict[str, Slicing] = field(default_factory=dict)
    elements: dict[str, Test] = field(default_factory=dict)
    positional: str | None = None

    def take(self, path: str, value: Any) -> None:
        """Sort one field in."""
        operator = next(iter(value), "") if isinstance(value, dict) else ""
        if path.endswith(".$"):
            self._take_positional(path[:-2], value)
        elif "$" in path.split("."):
            words = "positional projection may only be used at the end, for example: a.b.$"
            raise _fail(
                31394,
                f"As of 4.4, it's illegal to specify positional operator in the middle of a path: {words}",
            )
        elif operator == "$elemMatch":
            self.elements[path] = _element_test(path, value["$elemMatch"])
        elif operator == "$slice" and _is_find_slice(value["$slice"]):
            self.slices[path] = _slicing(value["$slice"])
        elif operator == "$meta":
            raise MongoError("CommandNotSupported", "$meta is not supported in projections")
        else:
            split_field_path(path)
            self._take_plain(path, value)

    def _take_plain(self, path: str, value: Any) -> None:
        if path in self.plain:
            raise _fail(31250, f"Path collision at {path}")
        self.plain[path] = value

    def _take_positional(self, path: str, value: Any) -> None:
        if not numbers.truthy(value):
            raise _fail(31395, "positional projection cannot be used with exclusion")
        if self.positional is not None:
            raise _fail(31276, "Cannot specify more than one positional projection per query.")
        self.positional = path
        self._take_plain(path, True)

    @property
    def includes(self) -> bool:
        """Whether only what is named is kept."""
        if self.elements or self.positional is not None:
            return True
        chosen = {path: value for path, value in self.plain.items() if path != "_id"}
        return _keeps(next(iter(chosen.values()))) if chosen else _keeps(self.plain.get("_id", False))


def _keeps(value: Any) -> bool:
    """Whether the value of a field in a projection keeps or computes it."""
    return numbers.truthy(value) if _is_flag(value) else True


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or numbers.kind(value) != 0


def _base(parts: _Parts) -> Project:
    """What the plain fields do; the special ones are kept whole for the steps after."""
    if parts.elements and parts.positional is not None:
        raise _fail(31256, "Cannot specify positional operator and $elemMatch.")
    plain = dict(parts.plain)
    if parts.includes:
        _check_collisions(parts)
        plain |= dict.fromkeys(parts.slices, True)
        if not plain or (len(plain) == 1 and _is_flag(plain.get("_id"))):
            # Only the special fields are named besides _id, which alone would not tell the stage to leave out the rest.
            whole = numbers.truthy(plain.get("_id", True))
            return lambda document: {"_id": document["_id"]} if whole and "_id" in document else {}
    if not plain:
        return lambda document: document
    try:
        return projector(plain, StageContext(NoCollections()))
    except MongoError as error:
        raise MongoError(
            error.name, error.message.removeprefix(_STAGE_PREFIX), code=error.code, details=error.details
        ) from None


def _check_collisions(parts: _Parts) -> None:
    for path in (*parts.elements, *parts.slices):
        if path in parts.plain:
            raise _fail(31250, f"Path collision at {path}")
    for path, value in parts.plain.items():
        if path != "_id" and not _keeps(value):
            raise _fail(31254, f"Cannot do exclusion on field {path} in inclusion projection")


# $slice


def _is_find_slice(value: Any) -> bool:
    """Whether ``value`` is find's ``$slice``; otherwise it is the expression's, which names its array first."""
    if isinstance(value, list):
        return len(value) == 2 and bool(numbers.kind(value[0]))
    return bool(numbers.kind(value))


def _whole(value: Any) -> int:
    if not numbers.kind(value):
        raise _fail(28724, f"$slice requires numbers, but found {bson_type_name(value)}")
    return int(min(max(numbers.to_float(value), -(2.0**31)), 2.0**31 - 1)) if not numbers.is_nan(value) else 0


def _slicing(value: Any) -> Slicing:
    if not isinstance(value, list):
        count = _whole(value)
        return lambda items: items[:count] if count >= 0 else items[count:]
    skip, limit = _whole(value[0]), _whole(value[1])
    if limit <= 0:
        raise _fail(28724, "$slice limit must be positive")

    def cut(items: list[Any]) -> list[Any]:
        start = min(skip, len(items)) if skip >= 0 else max(0, len(items) + skip)
        return items[start : start + limit]

    return cut


def _slices(parts: _Parts) -> list[Step]:
    return [_slice_step(split_field_path(path), cut) for path, cut in parts.slices.items()]


def _slice_step(path: Path, cut: Slicing) -> Step:
    return lambda document, made: _sliced(made, path, cut)


def _sliced(value: Any, path: Path, cut: Slicing) -> Any:
    """A copy of ``value`` with the arrays at ``path`` cut; arrays on the way are mapped."""
    if not path:
        return cut(value) if isinstance(value, list) else value
    if isinstance(value, list):
        return [_sliced(item, path, cut) if isinstance(item, dict) else item for item in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    return {**value, path[0]: _sliced(value[path[0]], path[1:], cut)}


# $elemMatch


def _element_test(path: str, value: Any) -> Test:
    if "." in path:
        raise _fail(31255, "Cannot use $elemMatch projection on a nested field")
    if not isinstance(value, dict):
        raise _fail(31274, f"elemMatch: Invalid argument, object required, but got {bson_type_name(value)}")
    return compile_element(value)


def _elem_matches(parts: _Parts) -> list[Step]:
    return [_elem_match_step(name, test) for name, test in parts.elements.items()]


def _elem_match_step(name: str, test: Test) -> Step:
    def step(document: Document, made: Document) -> Document:
        value = document.get(name)
        if not isinstance(value, list):
            return made
        found = next((item for item in value if test(item)), MISSING)
        return made if found is MISSING else {**made, name: [found]}

    return step


# the positional $


def _positional(parts: _Parts, filter_spec: Document | None) -> list[Step]:
    if parts.positional is None:
        return []
    path = split_field_path(parts.positional)
    position = compile_position(filter_spec or {})

    def step(document: Document, made: Document) -> Document:
        return _only(made, path, lambda: position(document))  # type: ignore[no-any-return]

    return [step]


def _only(value: Any, path: Path, position: Callable[[], int | None]) -> Any:
    """A copy of ``value`` whose first array on ``path`` holds only the element that the filter found."""
    if isinstance(value, list):
        at = position()
        if at is None:
            raise _fail(
                51246,
                "Executor error during find command :: caused by :: positional operator '.$' couldn't find a matching "
                "element in the array",
            )
        if at >= len(value):
            raise _fail(
                51247,
                "Executor error during find command :: caused by :: positional operator '.$' element mismatch",
            )
        return [value[at]]
    if not path or not isinstance(value, dict) or path[0] not in value:
        return value
    return {**value, path[0]: _only(value[path[0]], path[1:], position)}
