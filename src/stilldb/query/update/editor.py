"""Changes of a document that leave the original as it was: only what is on the way to a change is copied, and once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from stilldb.query.errors import MongoError
from stilldb.query.paths import Path, as_document, position
from stilldb.query.update.words import element_text
from stilldb.query.values import MISSING, Document

# Source: MongoDB, "can't backfill more than 1500000 elements".
MAX_PADDING: Final = 1_500_000

Container = dict[str, Any] | list[Any]


class Editor:
    """A document being changed; ``document`` is the changed copy."""

    def __init__(self, original: Document) -> None:
        self.document: Document = dict(original)
        # What was copied already, by identity. The copies are held, so that no identity is used again.
        self._own: dict[int, Container] = {id(self.document): self.document}

    def modify(
        self, path: Path, change: Callable[[Any], Any], *, creates: bool = True, tolerant: bool = False
    ) -> None:
        """Replace the value at ``path`` by what ``change`` makes of it: MISSING takes it away.

        ``creates``: make what is not there, else leave it. ``tolerant``: leave a path alone that leads into a scalar or by
        a name into an array; else raise MongoError PathNotViable.
        """
        container: Container = self.document
        for at, part in enumerate(path[:-1]):
            child = self._child(container, path, at, creates, tolerant)
            if child is MISSING:
                if creates:
                    self._put(container, part, _nested(path[at + 1 :], change(MISSING)))
                return
            owned = self._owned(container, part, child)
            if owned is None:
                if not tolerant:
                    raise _not_viable(path, at + 1, child, creates)
                return
            container = owned
        self._modify_last(container, path, change, creates, tolerant)

    def _modify_last(
        self, container: Container, path: Path, change: Callable[[Any], Any], creates: bool, tolerant: bool
    ) -> None:
        old = self._child(container, path, len(path) - 1, creates, tolerant)
        if old is MISSING and not creates:
            return
        new = change(old)
        if new is old:
            return
        if new is not MISSING:
            self._put(container, path[-1], new)
        elif isinstance(container, dict):
            del container[path[-1]]
        else:
            container[int(path[-1])] = None

    def _child(self, container: Container, path: Path, at: int, creates: bool, tolerant: bool) -> Any:
        part = path[at]
        if isinstance(container, dict):
            return container.get(part, MISSING)
        index = position(part)
        if index is None:
            if tolerant:
                return MISSING
            raise _not_viable(path, at, container, creates)
        return container[index] if index < len(container) else MISSING

    def _owned(self, container: Container, part: str, child: Any) -> Container | None:
        """``child`` of ``container`` as a copy that may be changed, or None if it holds nothing."""
        if id(child) in self._own:
            return self._own[id(child)]
        made: Container | None = list(child) if isinstance(child, list) else as_document(child)
        if made is None:
            return None
        if made is child:
            made = dict(made)
        self._own[id(made)] = made
        self._put(container, part, made)
        return made

    def _put(self, container: Container, part: str, value: Any) -> None:
        if isinstance(container, dict):
            container[part] = value
            return
        index = int(part)
        if index < len(container):
            container[index] = value
            return
        missing = index - len(container)
        if missing > MAX_PADDING:
            raise MongoError(
                "CannotBackfillArray", f"can't backfill more than {MAX_PADDING} elements", code=34
            )
        container += [None] * missing
        container.append(value)

    def value_at(self, path: Path) -> Any:
        """The value that ``path`` leads to, or MISSING; raises MongoError PathNotViable as ``modify`` does."""
        value: Any = self.document
        for at, part in enumerate(path):
            document = as_document(value)
            if document is not None:
                value = document.get(part, MISSING)
            elif isinstance(value, list):
                value = self._child(value, path, at, creates=False, tolerant=False)
            elif value is MISSING:
                return MISSING
            else:
                raise _not_viable(path, at, value, creates=False)
        return value


def _nested(path: Path, value: Any) -> Any:
    for part in reversed(path):
        value = {part: value}
    return value


def _not_viable(path: Path, at: int, holder: Any, creates: bool) -> MongoError:
    """The error for a ``path`` whose part number ``at`` does not go with ``holder``, the value before it."""
    element = element_text(path[at - 1], holder)
    if creates:
        return MongoError("PathNotViable", f"Cannot create field '{path[at]}' in element {element}")
    words = f"Cannot use the part ({path[at]}) of ({'.'.join(path)}) to traverse the element ({element})"
    return MongoError("PathNotViable", words)
