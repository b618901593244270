"""The filter compiler: registries of operators, and what a parsed filter is.

An operator on a field becomes a node, which knows nothing of the field: bound to a path it is a predicate on documents,
and as it stands it tests a single value, which is what ``$elemMatch`` asks of an array's elements. Errors are raised while
parsing, so that a malformed filter fails on an empty collection too. Source: MongoDB manual, "Query Predicates".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from bson import Regex

from stilldb.query import paths
from stilldb.query.errors import MongoError
from stilldb.query.paths import Path, Test
from stilldb.query.values import Document

Matches = Callable[[Document], bool]
Position = Callable[[Any], int | None]

# Each level costs a few interpreter frames while parsing and matching, and the interpreter allows 1,000.
MAX_DEPTH: Final = 100


def bad_value(message: str) -> MongoError:
    """The error MongoDB has for most malformed filters."""
    return MongoError("BadValue", message)


@dataclass(frozen=True, slots=True)
class Context:
    """What is known while a filter is parsed: how deep it is, and whether it is about whole documents."""

    depth: int = 0
    top: bool = True

    def deeper(self) -> Context:
        """One level down; refuses hostile nesting before the interpreter's stack would."""
        if self.depth >= MAX_DEPTH:
            raise MongoError("Overflow", f"Query nesting exceeds the limit of {MAX_DEPTH} levels")
        return replace(self, depth=self.depth + 1)

    def inside(self) -> Context:
        """The context of filters on parts of a document."""
        return replace(self, top=False)


@dataclass(frozen=True, slots=True)
class Predicate:
    """A parsed filter. ``position`` is asked only of documents that match: what the positional ``$`` stands for."""

    matches: Matches
    position: Position


class Node(Protocol):
    """An operator on a field, not yet bound to a path."""

    def at(self, parts: Path) -> Predicate:
        """The predicate on documents."""

    def single(self) -> Test:
        """The test of one value, arrays as they are."""


def _nowhere(document: Any) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Leaf:
    """Some value at the path passes ``test``, which gets MISSING where there is none.

    ``elements``: the elements of an array at the path count too. ``inside``: the position within a value that passed.
    """

    test: Test
    elements: bool = True
    inside: Position = _nowhere

    def at(self, parts: Path) -> Predicate:
        """The predicate on documents."""
        return Predicate(
            paths.compile_any(parts, self.test, elements=self.elements),
            lambda document: self._find(document, parts),
        )

    def _find(self, document: Document, parts: Path) -> int | None:
        for value, position in paths.sights(document, parts, elements=self.elements):
            if self.test(value):
                return self.inside(value) if position is None else position
        return None

    def single(self) -> Test:
        """The test of one value."""
        return self.test


@dataclass(frozen=True, slots=True)
class Every:
    """All of ``nodes`` hold, each perhaps by another value."""

    nodes: Sequence[Node]

    def at(self, parts: Path) -> Predicate:
        """The predicate on documents."""
        return every([node.at(parts) for node in self.nodes])

    def single(self) -> Test:
        """The test of one value."""
        return conjunction([node.single() for node in self.nodes])


@dataclass(frozen=True, slots=True)
class Negation:
    """``node`` does not hold."""

    node: Node

    def at(self, parts: Path) -> Predicate:
        """The predicate on documents."""
        inner = self.node.at(parts).matches
        return Predicate(lambda document: not inner(document), _nowhere)

    def single(self) -> Test:
        """The test of one value."""
        inner = self.node.single()
        return lambda value: not inner(value)


def conjunction(tests: Sequence[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    """Whether all of ``tests`` hold."""
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda value: first(value) and second(value)

    def check(value: Any) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs more than the tests
            if not test(value):
                return False
        return True

    return check


def every(predicates: Sequence[Predicate]) -> Predicate:
    """All hold; the last one that knows a position gives it."""
    if len(predicates) == 1:
        return predicates[0]

    def position(document: Any) -> int | None:
        found = (predicate.position(document) for predicate in reversed(predicates))
        return next((at for at in found if at is not None), None)

    return Predicate(conjunction([predicate.matches for predicate in predicates]), position)


def some(predicates: Sequence[Predicate]) -> Predicate:
    """One holds; the first that does gives the position."""
    tests = [predicate.matches for predicate in predicates]

    def matches(document: Document) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs more than the tests
            if test(document):
                return True
        return False

    def position(document: Any) -> int | None:
        return next((item.position(document) for item in predicates if item.matches(document)), None)

    return Predicate(matches, position)


def none(predicates: Sequence[Predicate]) -> Predicate:
    """None holds."""
    inner = some(predicates).matches
    return Predicate(lambda document: not inner(document), _nowhere)


# A parser of an operator on a field gets the argument, the operators beside it and the context; None adds nothing.
FieldParser = Callable[[Any, Document, Context], Node | None]
TopParser = Callable[[Any, Context], Predicate | None]
FIELD_OPERATORS: Final[dict[str, FieldParser]] = {}
TOP_OPERATORS: Final[dict[str, TopParser]] = {}


def field_operator(*names: str) -> Callable[[FieldParser], FieldParser]:
    """Register the parser of an operator that stands in a field's value."""

    def register(parser: FieldParser) -> FieldParser:
        for name in names:
            FIELD_OPERATORS[name] = parser
        return parser

    return register


def top_operator(*names: str) -> Callable[[TopParser], TopParser]:
    """Register the parser of an operator that stands in a field's place."""

    def register(parser: TopParser) -> TopParser:
        for name in names:
            TOP_OPERATORS[name] = parser
        return parser

    return register


def is_expression(value: Any) -> bool:
    """Whether ``value`` is a document of operators. A DBRef begins with ``$`` too, and is a value."""
    if not isinstance(value, dict) or not next(iter(value), "").startswith("$"):
        return False
    return not ("$ref" in value and "$id" in value)


def parse(spec: Document, context: Context) -> Predicate:
    """The predicate of a whole filter; raises MongoError for a malformed one."""
    context = context.deeper()
    found = [made for key, value in spec.items() for made in _parse_entry(key, value, context)]
    return every(found)


def _parse_entry(key: str, value: Any, context: Context) -> list[Predicate]:
    if key.startswith("$"):
        parser = TOP_OPERATORS.get(key)
        if parser is None:
            raise bad_value(
                f"unknown top level operator: {key}. If you have a field name that starts with a '$' symbol, consider "
                "using $getField or $setField."
            )
        made = parser(value, context)
        return [] if made is None else [made]
    parts = paths.split(key)
    if is_expression(value):
        return [node.at(parts) for node in parse_operators(value, context)]
    return [equality(value).at(parts)]


def parse_operators(spec: Document, context: Context) -> list[Node]:
    """The nodes of ``{"$gt": 1, "$lt": 5}``; raises MongoError for unknown operators."""
    context = context.deeper()
    made = []
    for name, argument in spec.items():
        parser = FIELD_OPERATORS.get(name)
        if parser is None:
            raise bad_value(f"unknown operator: {name}")
        node = parser(argument, spec, context)
        if node is not None:
            made.append(node)
    return made


def equality(value: Any) -> Node:
    """The node of a field's plain value: equal to it, or, for a regular expression, matched by it."""
    from_value = FIELD_OPERATORS["$regex" if isinstance(value, Regex) else "$eq"]
    node = from_value(value, {}, Context())
    assert node is not None
    return node
