"""What an update operator is: a parser that makes changes of one field each, and the registry.

A change knows its path and what it does there. Paths may be dynamic (``$``, ``$[]``, ``$[name]``); before anything is
changed they are resolved against the document as it was (stilldb.query.update.dynamic).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bson import Timestamp
from bson.datetime_ms import DatetimeMS

from stilldb.query.errors import MongoError
from stilldb.query.paths import Path
from stilldb.query.update.editor import Editor
from stilldb.query.values import Document


def bad_value(message: str) -> MongoError:
    """The error MongoDB has for most malformed updates."""
    return MongoError("BadValue", message)


class Run:
    """One application of an update: the document as it was, and the one moment that ``$currentDate`` sets."""

    def __init__(self, document: Document, *, inserting: bool) -> None:
        self.document = document
        self.inserting = inserting

    @functools.cached_property
    def _nanoseconds(self) -> int:
        return time.time_ns()

    @property
    def date(self) -> DatetimeMS:
        """This moment as a date."""
        return DatetimeMS(self._nanoseconds // 1_000_000)

    @property
    def timestamp(self) -> Timestamp:
        """This moment as a timestamp; its increment is never zero."""
        seconds, rest = divmod(self._nanoseconds, 1_000_000_000)
        return Timestamp(seconds, rest + 1)


Act = Callable[[Editor, Path, Run], None]
Compute = Callable[[Any, Path, Run], Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What one operator does at one path. ``also``: another path it changes (``$rename`` has two)."""

    operator: str
    path: Path
    act: Act
    also: Path | None = None
    only_inserting: bool = False

    @property
    def dotted(self) -> str:
        """The path as it is written."""
        return ".".join(self.path)


def computing(compute: Compute, *, creates: bool = True, tolerant: bool = False) -> Act:
    """The act of replacing the value at the path by what ``compute`` makes of it.

    ``compute`` gets MISSING where there is nothing, and gives MISSING to take the field away. ``creates``: a field that is
    not there is made; ``tolerant``: a path that cannot be followed is left alone.
    """

    def act(editor: Editor, path: Path, run: Run) -> None:
        editor.modify(path, lambda old: compute(old, path, run), creates=creates, tolerant=tolerant)

    return act


# A parser gets the path and the operator's argument for it, and gives the change.
Parser = Callable[[Path, Any], Change]
OPERATORS: Final[dict[str, Parser]] = {}


def operator(name: str) -> Callable[[Parser], Parser]:
    """Register the parser of an update operator."""

    def register(parser: Parser) -> Parser:
        OPERATORS[name] = parser
        return parser

    return register
