"""Paths of updates: checked, and where they are dynamic, resolved against one document.

Source: MongoDB manual, "$ (update)", "$[]", "$[<identifier>]".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from stilldb.query.errors import MongoError
from stilldb.query.filter import compile_filter
from stilldb.query.paths import Path, as_document, position, split
from stilldb.query.update.words import element_text
from stilldb.query.values import MISSING, Document

ElementTest = Callable[[Any], bool]
_IDENTIFIER: Final = re.compile(r"[a-z][a-zA-Z0-9]*")
_REFERENCE: Final = frozenset({"$id", "$ref", "$db"})


def update_path(text: str) -> Path:
    """The parts of an update's path; raises MongoError for one that no field can have."""
    if not text:
        raise MongoError("EmptyFieldName", "An empty update path is not valid.")
    parts = split(text)
    for at, part in enumerate(parts):
        if not part:
            raise MongoError(
                "EmptyFieldName",
                f"The update path '{text}' contains an empty field name, which is not allowed.",
            )
        if is_array_step(part):
            if at == 0:
                words = "Cannot have array filter identifier (i.e. '$[<id>]') element in the first position in path"
                raise MongoError("BadValue", f"{words} '{text}'")
        elif part.startswith("$") and part != "$" and (part not in _REFERENCE or at == 0):
            raise MongoError(
                "DollarPrefixedFieldName",
                f"The dollar ($) prefixed field '{part}' in '{text}' is not valid for storage.",
            )
    _check_positional(parts, text)
    return parts


def _check_positional(parts: Path, text: str) -> None:
    if parts.count("$") > 1:
        raise MongoError("BadValue", f"Too many positional (i.e. '$') elements found in path '{text}'")
    if parts[0] == "$":
        raise MongoError(
            "BadValue", f"Cannot have positional (i.e. '$') element in the first position in path '{text}'"
        )


def is_array_step(part: str) -> bool:
    """Whether ``part`` is ``$[]`` or ``$[name]``."""
    return part.startswith("$[") and part.endswith("]")


def is_dynamic(path: Path) -> bool:
    """Whether what ``path`` leads to depends on the document."""
    return any(part == "$" or is_array_step(part) for part in path)


def identifiers(path: Path) -> set[str]:
    """The names in ``$[name]`` steps of ``path``."""
    return {part[2:-1] for part in path if is_array_step(part) and part != "$[]"}


def compile_array_filters(specs: list[Document]) -> dict[str, ElementTest]:
    """The tests of elements by name; raises MongoError for malformed filters.

    Source: MongoDB manual, "arrayFilters".
    """
    made: dict[str, ElementTest] = {}
    for spec in specs:
        if not isinstance(spec, dict):
            raise MongoError("TypeMismatch", "each array filter must be a document")
        matches = compile_filter(spec)
        name = _single_name(spec)
        if not _IDENTIFIER.fullmatch(name):
            words = "The top-level field name must be an alphanumeric string beginning with a lowercase letter, found"
            raise MongoError("BadValue", f"Error parsing array filter :: caused by :: {words} '{name}'")
        if name in made:
            raise MongoError(
                "FailedToParse", f"Found multiple array filters with the same top-level field name {name}"
            )
        made[name] = _element_test(name, matches)
    return made


def _element_test(name: str, matches: Callable[[Document], bool]) -> ElementTest:
    return lambda item: matches({name: item})


def _names(spec: Document) -> set[str]:
    found: set[str] = set()
    for key, value in spec.items():
        if key in {"$and", "$or", "$nor"}:
            found = found.union(*[_names(item) for item in value])
        elif not key.startswith("$"):
            found.add(key.partition(".")[0])
    return found


def _single_name(spec: Document) -> str:
    names = sorted(_names(spec))
    prefix = "Error parsing array filter :: caused by ::"
    if not names:
        raise MongoError(
            "FailedToParse",
            f"{prefix} Cannot use an expression without a top-level field name in arrayFilters",
        )
    if len(names) > 1:
        raise MongoError(
            "FailedToParse",
            f"{prefix} Expected a single top-level field name, found '{names[0]}' and '{names[1]}'",
        )
    return names[0]


def resolve(
    path: Path, document: Document, filters: Mapping[str, ElementTest], matched: Callable[[], int | None]
) -> list[Path]:
    """The paths of fields and positions that ``path`` stands for in ``document``; ``matched`` gives that of ``$``."""
    found: list[tuple[Path, Any]] = [((), document)]
    for part in path:
        found = [step for done, value in found for step in _steps(part, done, value, filters, matched)]
    return [done for done, _ in found]


def _steps(
    part: str, done: Path, value: Any, filters: Mapping[str, ElementTest], matched: Callable[[], int | None]
) -> list[tuple[Path, Any]]:
    if is_array_step(part):
        return _elements(part, done, value, filters)
    if part == "$":
        at = matched()
        if at is None:
            raise MongoError(
                "BadValue", "The positional operator did not find the match needed from the query."
            )
        part = str(at)
    return [((*done, part), _step(value, part))]


def _step(value: Any, part: str) -> Any:
    if isinstance(value, list):
        at = position(part, len(value))
        return MISSING if at is None else value[at]
    return (as_document(value) or {}).get(part, MISSING)


def _elements(
    part: str, done: Path, value: Any, filters: Mapping[str, ElementTest]
) -> list[tuple[Path, Any]]:
    if value is MISSING:
        words = f"The path '{'.'.join(done)}' must exist in the document in order to apply array updates."
        raise MongoError("BadValue", words)
    if not isinstance(value, list):
        raise MongoError(
            "BadValue",
            f"Cannot apply array updates to non-array element {element_text(done[-1], value)[1:-1]}",
        )
    test = None if part == "$[]" else filters[part[2:-1]]
    return [((*done, str(at)), item) for at, item in enumerate(value) if test is None or test(item)]
