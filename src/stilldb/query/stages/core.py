"""What a stage is: its name and specification, how it runs over batches, and the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stilldb.query.errors import MongoError
from stilldb.query.expressions.core import Context, Evaluator, compile_in
from stilldb.query.values import Document

Batch = list[Document]
Source = AsyncIterator[Batch]
Runner = Callable[[Source], Source]
Transform = Callable[[Document], Document]


class Environment(Protocol):
    """What a pipeline may ask of the database around it."""

    def find(
        self, collection: str, filter: Mapping[str, Any], pipeline: Sequence[Mapping[str, Any]] = ()
    ) -> AsyncIterator[Batch]:
        """Batches of another collection of the same database."""


class NoCollections:
    """The environment of what may read no other collection: updates and projections."""

    def find(
        self, collection: str, filter: Mapping[str, Any], pipeline: Sequence[Mapping[str, Any]] = ()
    ) -> AsyncIterator[Batch]:
        """Refused."""
        raise MongoError("InvalidOptions", "another collection may not be read here")


@dataclass(frozen=True, slots=True)
class StageContext:
    """What is known while a pipeline is compiled.

    ``scope`` holds the values of the user variables while the pipeline runs; ``$lookup`` fills it for each document.
    """

    environment: Environment
    expressions: Context = field(default_factory=Context)
    scope: dict[str, Any] = field(default_factory=dict)

    def compile(self, spec: Any) -> Evaluator:
        """The evaluator of an expression within this pipeline."""
        return compile_in(spec, self.expressions)


@dataclass(frozen=True, slots=True)
class Stage:
    """One compiled stage. ``transform`` is there if it makes one document of one; ``top`` if a limit can join it."""

    name: str
    spec: Any
    run: Runner
    transform: Transform | None = None
    top: Callable[[int], Runner] | None = None
    terminal: bool = False


StageParser = Callable[[Any, StageContext], Stage]
STAGES: dict[str, StageParser] = {}


def stage(*names: str) -> Callable[[StageParser], StageParser]:
    """Register a parser under the names of a stage."""

    def register(parser: StageParser) -> StageParser:
        for name in names:
            STAGES[name] = parser
        return parser

    return register


def fail(code: int, message: str) -> MongoError:
    """The error with MongoDB's numbered ``code``."""
    return MongoError(f"Location{code}", message)


def over_batches(change: Callable[[Batch], Batch]) -> Runner:
    """A runner that changes batch by batch; batches that become empty are left out."""

    async def run(source: Source) -> Source:
        async for batch in source:
            changed = change(batch)
            if changed:
                yield changed

    return run


def mapped(name: str, spec: Any, transform: Transform) -> Stage:
    """A stage that makes one document of one."""
    return Stage(
        name, spec, over_batches(lambda batch: [transform(document) for document in batch]), transform
    )


def joined(name: str, spec: Any, parts: Sequence[Stage]) -> Stage:
    """One stage made of several."""

    def run(source: Source) -> Source:
        for part in parts:
            source = part.run(source)
        return source

    return Stage(name, spec, run)
