"""Updates: ``compile_update`` is the door, the operators register themselves.

Owns what an update makes of one document. Does not own pipelines as updates (stilldb.query.pipeline).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stilldb.query.errors import MongoError
from stilldb.query.filter import compile_position
from stilldb.query.order import bson_type_name, compare
from stilldb.query.update import arithmetic, arrays, fields, push
from stilldb.query.update.core import OPERATORS, Change
from stilldb.query.update.dynamic import compile_array_filters, identifiers, update_path
from stilldb.query.update.plan import Plan
from stilldb.query.update.upsert import upsert_document
from stilldb.query.update.words import document_text, element_text
from stilldb.query.values import Document

__all__ = ["OPERATORS", "CompiledUpdate", "compile_update", "is_replacement", "upsert_document"]

# Imported for the operators they register.
_THEMES = (arithmetic, arrays, fields, push)


class CompiledUpdate(Protocol):
    """An update, ready for many documents. What it is given stays as it was; the same BSON means nothing changed."""

    def apply(self, document: Document) -> Document:
        """The changed copy of ``document``; raises MongoError if it cannot be changed so."""

    def insert(self, document: Document) -> Document:
        """What an upsert inserts, ``document`` being ``upsert_document`` of the filter; ``_id`` may be missing."""


@dataclass(frozen=True, slots=True)
class _Operators:
    """The form with operators."""

    plan: Plan

    def apply(self, document: Document) -> Document:
        return self.plan.apply(document, inserting=False)

    def insert(self, document: Document) -> Document:
        return self.plan.apply(document, inserting=True)


@dataclass(frozen=True, slots=True)
class _Replacement:
    """The form that replaces a document except for its ``_id``."""

    new: Document

    def apply(self, document: Document) -> Document:
        if "_id" not in document:
            return _id_first(self.new)
        if "_id" not in self.new:
            return {"_id": document["_id"], **self.new}
        if compare(self.new["_id"], document["_id"]) != 0:
            raise MongoError(
                "ImmutableField",
                "After applying the update, the (immutable) field '_id' was found to have been altered to "
                f"{element_text('_id', self.new['_id'])[1:-1]}",
            )
        return _id_first(self.new)

    def insert(self, document: Document) -> Document:
        return self.apply(document)


def _id_first(document: Document) -> Document:
    return {"_id": document["_id"], **document} if "_id" in document else dict(document)


def is_replacement(change: Document) -> bool:
    """Whether ``change`` replaces documents: its first field, if any, is no operator."""
    return not next(iter(change), "").startswith("$")


def compile_update(
    change: Document,
    array_filters: Sequence[Document] = (),
    *,
    filter_spec: Document | None = None,
    multi: bool = False,
) -> CompiledUpdate:
    """What ``change``, operators or a replacement, does to the documents that ``filter_spec`` finds.

    ``filter_spec`` tells the position that ``$`` in a path stands for. Raises MongoError for what is no update. Source:
    MongoDB manual, "Update Operators", "Array Filters".
    """
    if is_replacement(change):
        return _replacement(change, array_filters, multi)
    changes = [made for name, argument in change.items() for made in _changes(name, argument)]
    filters = compile_array_filters(list(array_filters))
    _check_identifiers(changes, set(filters), change)
    return _Operators(Plan.of(changes, filters, _Matched(filter_spec or {})))


class _Matched:
    """``compile_position`` of a filter, compiled when a ``$`` in a path first asks for it: few updates have one."""

    def __init__(self, spec: Document) -> None:
        self._spec = spec
        self._compiled: Callable[[Document], int | None] | None = None

    def __call__(self, document: Document) -> int | None:
        if self._compiled is None:
            self._compiled = compile_position(self._spec)
        return self._compiled(document)


def _replacement(change: Document, array_filters: Sequence[Document], multi: bool) -> _Replacement:
    if multi:
        raise MongoError("FailedToParse", "multi update is not supported for replacement-style update")
    if array_filters:
        raise MongoError("FailedToParse", "arrayFilters may not be specified for replacement-style updates")
    for name in change:
        if name.startswith("$"):
            raise MongoError(
                "DollarPrefixedFieldName",
                f"The dollar ($) prefixed field '{name}' in '{name}' is not allowed in the context of an update's "
                "replacement document. Consider using an aggregation pipeline with $replaceWith.",
            )
    return _Replacement(change)


def _changes(name: str, argument: Any) -> list[Change]:
    parser = OPERATORS.get(name)
    if parser is None:
        raise MongoError(
            "FailedToParse",
            f"Unknown modifier: {name}. Expected a valid update modifier or pipeline-style update specified as an array",
        )
    if not isinstance(argument, dict):
        raise MongoError(
            "FailedToParse",
            f"Modifiers operate on fields but we found type {bson_type_name(argument)} instead. For example: "
            f"{{$mod: {{<field>: ...}}}} not {element_text(name, argument)}",
        )
    return [parser(update_path(path), value) for path, value in argument.items()]


def _check_identifiers(changes: list[Change], known: set[str], spec: Document) -> None:
    used: set[str] = set()
    for change in changes:
        names = identifiers(change.path)
        for name in sorted(names - known):
            raise MongoError(
                "BadValue", f"No array filter found for identifier '{name}' in path '{change.dotted}'"
            )
        used |= names
    for name in sorted(known - used):
        raise MongoError(
            "FailedToParse",
            f"The array filter for identifier '{name}' was not used in the update {document_text(spec)}",
        )
