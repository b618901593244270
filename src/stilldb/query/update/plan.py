"""The changes of an update together: conflicts, order, application.

Source: MongoDB manual, "Update Operators", "Behavior": fields are changed in the order of their names, numbers as numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stilldb.query.errors import MongoError
from stilldb.query.order import compare
from stilldb.query.paths import Path, position
from stilldb.query.update.core import Change, Run
from stilldb.query.update.dynamic import ElementTest, is_array_step, is_dynamic, resolve
from stilldb.query.update.editor import Editor
from stilldb.query.update.words import element_text
from stilldb.query.values import MISSING, Document


def path_order(path: Path) -> list[tuple[int, int, str]]:
    """A key that orders paths as updates are applied."""
    made = []
    for part in path:
        at = position(part)
        made.append((1, 0, part) if at is None else (0, at, ""))
    return made


def _every_path(changes: Iterable[Change]) -> list[Path]:
    return [path for change in changes for path in (change.path, change.also) if path is not None]


def check_conflicts(paths: Iterable[Path]) -> None:
    """Raise MongoError ConflictingUpdateOperators if a path is named twice or goes through another.

    An array's ``$[…]`` steps do not go together with other steps into it.
    """
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for at, part in enumerate(path):
            if node and is_array_step(part) != is_array_step(next(iter(node))):
                raise _conflict(path, path[:at])
            if part in node and (at == len(path) - 1 or not node[part]):
                raise _conflict(path, path[: at + 1])
            node = node.setdefault(part, {})


def _conflict(path: Path, at: Path) -> MongoError:
    return MongoError(
        "ConflictingUpdateOperators",
        f"Updating the path '{'.'.join(path)}' would create a conflict at '{'.'.join(at)}'",
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes of one update, in the order of their paths, for the documents of one filter."""

    changes: tuple[Change, ...]
    filters: Mapping[str, ElementTest]
    matched: Callable[[Document], int | None]
    dynamic: bool

    @classmethod
    def of(
        cls,
        changes: Sequence[Change],
        filters: Mapping[str, ElementTest],
        matched: Callable[[Document], int | None],
    ) -> Plan:
        """The plan for ``changes``; raises MongoError if they conflict."""
        check_conflicts(_every_path(changes))
        ordered = tuple(sorted(changes, key=lambda change: path_order(change.path)))
        return cls(ordered, filters, matched, any(is_dynamic(change.path) for change in changes))

    def apply(self, document: Document, *, inserting: bool) -> Document:
        """The changed copy of ``document``; raises MongoError if it cannot be changed so."""
        run = Run(document, inserting=inserting)
        editor = Editor(document)
        changes = [change for change in self.changes if inserting or not change.only_inserting]
        for change, path in self._resolved(changes, document) if self.dynamic else _as_written(changes):
            change.act(editor, path, run)
        check_id(document, editor.document)
        return editor.document

    def _resolved(self, changes: Sequence[Change], document: Document) -> list[tuple[Change, Path]]:
        matched = functools.cache(lambda: self.matched(document))
        made = [
            (change, path)
            for change in changes
            for path in resolve(change.path, document, self.filters, matched)
        ]
        made.sort(key=lambda pair: path_order(pair[1]))
        check_conflicts([path for _, path in made])
        return made


def _as_written(changes: Sequence[Change]) -> list[tuple[Change, Path]]:
    return [(change, change.path) for change in changes]


def check_id(before: Document, after: Document) -> None:
    """Raise MongoError ImmutableField if an ``_id`` that was there is not there as it was."""
    if "_id" not in before or before["_id"] is after.get("_id", MISSING):
        return
    if compare(before["_id"], after.get("_id", MISSING)) != 0:
        raise MongoError(
            "ImmutableField",
            "Performing an update on the path '_id' would modify the immutable field '_id': "
            f"{element_text('_id', before['_id'])}",
        )
