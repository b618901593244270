"""Stages that choose, order and unfold documents: $match, $sort, $limit, $skip, $sample, $unwind."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from bson import Int64

from stilldb.query import numbers, order
from stilldb.query.accumulators import MEMORY_LIMIT, memory_error, rough_size
from stilldb.query.expressions.fieldpath import split_path
from stilldb.query.filter import compile_filter
from stilldb.query.order import bson_type_name
from stilldb.query.stages.core import Batch, Runner, Source, Stage, StageContext, fail, over_batches, stage
from stilldb.query.values import MISSING, Document

OUTPUT_BATCH = 1000


def in_batches(documents: Batch) -> list[Batch]:
    """``documents`` cut into batches."""
    return [documents[i : i + OUTPUT_BATCH] for i in range(0, len(documents), OUTPUT_BATCH)]


@stage("$match")
def _match(spec: Any, context: StageContext) -> Stage:
    if not isinstance(spec, dict):
        raise fail(15959, "the match filter must be an expression in an object")
    matches = matcher(spec, context)
    return Stage(
        "$match", spec, over_batches(lambda batch: [document for document in batch if matches(document)])
    )


def matcher(spec: dict[str, Any], context: StageContext) -> Callable[[Document], bool]:
    """The test of a filter; ``$expr`` in it may use the pipeline's variables."""
    if not context.expressions.variables or not _has_expression(spec):
        return compile_filter(spec)
    tests = [_clause(key, value, context) for key, value in spec.items()]
    return lambda document: all(test(document) for test in tests)


def _has_expression(spec: Any) -> bool:
    if isinstance(spec, list):
        return any(_has_expression(item) for item in spec)
    return isinstance(spec, dict) and any(
        key == "$expr" or (key in _JOINS and _has_expression(value)) for key, value in spec.items()
    )


def _clause(key: str, value: Any, context: StageContext) -> Callable[[Document], bool]:
    if key == "$expr":
        evaluate = context.compile(value)
        return lambda document: numbers.truthy(evaluate(document, context.scope))
    if key in _JOINS and isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        tests = [matcher(item, context) for item in value]
        return _JOINS[key](tests)
    return compile_filter({key: value})


_Tests = list[Callable[[Document], bool]]
_JOINS: dict[str, Callable[[_Tests], Callable[[Document], bool]]] = {
    "$and": lambda tests: lambda document: all(test(document) for test in tests),
    "$or": lambda tests: lambda document: any(test(document) for test in tests),
    "$nor": lambda tests: lambda document: not any(test(document) for test in tests),
}


@stage("$sort")
def _sort(spec: Any, context: StageContext) -> Stage:
    if not isinstance(spec, dict):
        raise fail(15973, "the $sort key specification must be an object")
    if not spec:
        raise fail(15976, "$sort stage must have at least one sort key")
    key = order.compile_sort(spec)
    return Stage("$sort", spec, _sorting(key), top=lambda count: _keeping_top(key, count))


def _sorting(key: Callable[[Document], Any]) -> Runner:
    async def run(source: Source) -> Source:
        held: Batch = []
        used = 0
        async for batch in source:
            used += sum(map(rough_size, batch))
            if used > MEMORY_LIMIT:
                raise memory_error("$sort")
            held += batch
        held.sort(key=key)
        for batch in in_batches(held):
            yield batch

    return run


def _keeping_top(key: Callable[[Document], Any], count: int) -> Runner:
    """The first ``count`` in order, never holding many more than those."""

    async def run(source: Source) -> Source:
        held: list[tuple[Any, Document]] = []
        async for batch in source:
            held += [(key(document), document) for document in batch]
            if len(held) > 2 * count + OUTPUT_BATCH:
                held.sort(key=lambda pair: pair[0])
                del held[count:]
                if sum(rough_size(document) for _, document in held) > MEMORY_LIMIT:
                    raise memory_error("$sort")
        held.sort(key=lambda pair: pair[0])
        for batch in in_batches([document for _, document in held[:count]]):
            yield batch

    return run


def limit_of(spec: Any) -> int:
    """The number of ``$limit``; raises MongoError as MongoDB does."""
    exact = numbers.integral(spec)
    if exact is None:
        raise fail(5107201, f"invalid argument to $limit stage: Expected a number, but got {spec!r}")
    if exact < 0:
        raise fail(
            5107201, f"invalid argument to $limit stage: Expected a non-negative number in: $limit: {spec}"
        )
    if exact == 0:
        raise fail(15958, "the limit must be positive")
    return exact


@stage("$limit")
def _limit(spec: Any, context: StageContext) -> Stage:
    most = limit_of(spec)

    async def run(source: Source) -> Source:
        left = most
        async for batch in source:
            yield batch[:left]
            left -= len(batch)
            if left <= 0:
                return

    return Stage("$limit", spec, run)


@stage("$skip")
def _skip(spec: Any, context: StageContext) -> Stage:
    count = numbers.integral(spec)
    if count is None or count < 0:
        raise fail(
            5107200, f"invalid argument to $skip stage: Expected a non-negative number in: $skip: {spec!r}"
        )

    async def run(source: Source) -> Source:
        left = count
        async for batch in source:
            if left < len(batch):
                yield batch[left:]
            left = max(0, left - len(batch))

    return Stage("$skip", spec, run)


@stage("$sample")
def _sample(spec: Any, context: StageContext) -> Stage:
    if not isinstance(spec, dict):
        raise fail(28745, "the $sample stage specification must be an object")
    for key in spec:
        if key != "size":
            raise fail(28748, f"unrecognized option to $sample: {key}")
    if "size" not in spec:
        raise fail(28749, "$sample stage must specify a size")
    if not numbers.kind(spec["size"]):
        raise fail(28746, "size argument to $sample must be a number")
    size = numbers.integral(spec["size"])
    if size is None or size < 0:
        raise fail(28747, "size argument to $sample must not be negative")
    return Stage("$sample", spec, _sampling(size))


def _sampling(size: int) -> Runner:
    """Reservoir sampling: one pass, never more than ``size`` documents held."""

    async def run(source: Source) -> Source:
        held: Batch = []
        seen = 0
        async for batch in source:
            for document in batch:
                seen += 1
                if len(held) < size:
                    held.append(document)
                elif (place := random.randrange(seen)) < size:
                    held[place] = document
        random.shuffle(held)
        for made in in_batches(held):
            yield made

    return run


@stage("$unwind")
def _unwind(spec: Any, context: StageContext) -> Stage:
    path, index_path, keep_empty = _unwind_parts(spec)
    parts = split_path(path)

    def change(batch: Batch) -> Batch:
        made: Batch = []
        for document in batch:
            for index, value in _unwound(_plain_value(document, parts), keep_empty):
                copy = document if index is None and value is _SAME else _with(document, parts, value)
                made.append(copy if index_path is None else _with(copy, index_path, index))
        return made

    return Stage("$unwind", spec, over_batches(change))


_SAME: Any = object()


def _unwind_parts(spec: Any) -> tuple[str, tuple[str, ...] | None, bool]:
    options = {"path": spec} if isinstance(spec, str) else spec
    if not isinstance(options, dict):
        found = bson_type_name(spec)
        raise fail(
            15981, f"expected either a string or an object as specification for $unwind stage, got {found}"
        )
    for key in options:
        if key not in {"path", "includeArrayIndex", "preserveNullAndEmptyArrays"}:
            raise fail(28811, f"unrecognized option to $unwind stage: {key}")
    if "path" not in options:
        raise fail(28812, "no path specified to $unwind stage")
    path, keep = options["path"], options.get("preserveNullAndEmptyArrays", False)
    if not isinstance(path, str):
        raise fail(28808, f"expected a string as the path for $unwind stage, got {bson_type_name(path)}")
    if not path.startswith("$"):
        raise fail(28818, f"path option to $unwind stage should be prefixed with a '$': {path}")
    if not isinstance(keep, bool):
        raise fail(28809, "expected a boolean for the preserveNullAndEmptyArrays option to $unwind stage")
    return path[1:], _index_path(options.get("includeArrayIndex", MISSING)), keep


def _index_path(value: Any) -> tuple[str, ...] | None:
    if value is MISSING:
        return None
    if not isinstance(value, str) or not value:
        raise fail(28810, "expected a non-empty string for the includeArrayIndex option to $unwind stage")
    if value.startswith("$"):
        raise fail(
            28822, f"includeArrayIndex option to $unwind stage should not be prefixed with a '$': {value}"
        )
    return split_path(value)


def _plain_value(value: Any, parts: tuple[str, ...]) -> Any:
    """The value at a path through documents alone; arrays on the way are not entered."""
    for part in parts:
        if not isinstance(value, dict):
            return MISSING
        value = value.get(part, MISSING)
    return value


def _unwound(value: Any, keep_empty: bool) -> list[tuple[Int64 | None, Any]]:
    """The index and value of each output document; the value MISSING takes the field away."""
    if isinstance(value, list):
        if value:
            return [(Int64(index), item) for index, item in enumerate(value)]
        return [(None, MISSING)] if keep_empty else []
    if value is None or value is MISSING:
        return [(None, _SAME)] if keep_empty else []
    return [(None, _SAME)]


def _with(document: Document, parts: tuple[str, ...], value: Any) -> Document:
    """A copy of ``document`` with ``value`` at the path; only the way there is copied."""
    if value is _SAME:
        return document
    made = dict(document)
    if len(parts) > 1:
        inner = made.get(parts[0])
        made[parts[0]] = _with(inner if isinstance(inner, dict) else {}, parts[1:], value)
    elif value is MISSING:
        made.pop(parts[0], None)
    else:
        made[parts[0]] = value
    return made
