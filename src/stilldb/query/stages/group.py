"""Stages that gather documents into groups: $group, $count, $sortByCount, $bucket."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from stilldb.query import numbers, order
from stilldb.query.accumulators import ACCUMULATORS, MEMORY_LIMIT, Accumulator, memory_error, rough_size
from stilldb.query.errors import MongoError
from stilldb.query.expressions.core import EMPTY, Evaluator
from stilldb.query.stages.core import STAGES, Batch, Runner, Source, Stage, StageContext, fail, joined, stage
from stilldb.query.stages.select import in_batches
from stilldb.query.values import MISSING, Document

_GROUP_BYTES = 200


class Groups:
    """The groups so far, by the key expression's value."""

    def __init__(self, fields: list[tuple[str, Callable[[], Accumulator], Evaluator]], scope: Any) -> None:
        self._fields = fields
        self._scope = scope
        self._arguments = [argument for _, _, argument in fields]
        self._used = 0
        # Strings, the most used keys, are their own hash keys; the others go by BSON equality (1 and 1.0 are one).
        self._by_text: dict[str, list[Callable[[Any], None]]] = {}
        self._by_key: dict[Any, list[Callable[[Any], None]]] = {}
        self._made: list[tuple[Any, list[Accumulator]]] = []

    def feed(self, batch: Batch, key: Evaluator) -> None:
        """Take in a batch; raises MongoError 292 above the memory limit."""
        scope, arguments = self._scope, self._arguments
        for document in batch:
            adders = self._adders(key(document, scope))
            for add, argument in zip(adders, arguments, strict=True):
                add(argument(document, scope))

    def _adders(self, value: Any) -> list[Callable[[Any], None]]:
        if type(value) is str:
            adders = self._by_text.get(value)
            if adders is None:
                adders = self._by_text[value] = self._new(value)
            return adders
        if value is MISSING:
            value = None
        key = order.hash_key(value)
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = self._new(value)
        return found

    def _new(self, value: Any) -> list[Callable[[Any], None]]:
        self._used += _GROUP_BYTES * (1 + len(self._fields)) + rough_size(value)
        if self._used > MEMORY_LIMIT:
            raise memory_error("$group")
        accumulators = [make() for _, make, _ in self._fields]
        self._made.append((value, accumulators))
        return [accumulator.add for accumulator in accumulators]

    def documents(self) -> Batch:
        """One document a group, in order of first appearance."""
        names = [name for name, _, _ in self._fields]
        return [
            {"_id": value, **{name: part.result() for name, part in zip(names, parts, strict=True)}}
            for value, parts in self._made
        ]


@stage("$group")
def _group(spec: Any, context: StageContext) -> Stage:
    if not isinstance(spec, dict):
        raise fail(15947, "a group's fields must be specified in an object")
    if "_id" not in spec:
        raise fail(15955, "a group specification must include an _id")
    fields = [_field(name, value, context) for name, value in spec.items() if name != "_id"]
    return Stage("$group", spec, _grouping(context.compile(spec["_id"]), fields, context))


def _field(name: str, value: Any, context: StageContext) -> tuple[str, Callable[[], Accumulator], Evaluator]:
    if "." in name:
        raise fail(40235, f"The field name '{name}' cannot contain '.'")
    if name.startswith("$"):
        raise fail(40236, f"The field name '{name}' cannot be an operator name")
    if not isinstance(value, dict):
        raise fail(40234, f"The field '{name}' must be an accumulator object")
    if len(value) != 1:
        raise fail(40238, f"The field '{name}' must specify one accumulator")
    operator, argument = next(iter(value.items()))
    if operator not in ACCUMULATORS:
        raise fail(15952, f"unknown group operator '{operator}'")
    if operator == "$count" and argument != {}:
        raise MongoError("TypeMismatch", "$count takes no arguments, i.e. $count:{}")
    return name, ACCUMULATORS[operator], _argument(operator, argument, context)


def _argument(operator: str, argument: Any, context: StageContext) -> Evaluator:
    if isinstance(argument, list):
        if len(argument) != 1:
            raise fail(40237, f"The {operator} accumulator is a unary operator")
        argument = argument[0]
    return context.compile(argument)


def _grouping(key: Evaluator, fields: list[Any], context: StageContext) -> Runner:
    async def run(source: Source) -> Source:
        groups = Groups(fields, context.scope or EMPTY)
        async for batch in source:
            groups.feed(batch, key)
        for made in in_batches(groups.documents()):
            yield made

    return run


@stage("$count")
def _count(spec: Any, context: StageContext) -> Stage:
    if not isinstance(spec, str) or not spec:
        raise fail(40156, "the count field must be a non-empty string")
    if spec.startswith("$"):
        raise fail(40158, "the count field cannot be a $-prefixed path")
    if "\0" in spec:
        raise fail(40159, "the count field cannot contain a null byte")
    if "." in spec:
        raise fail(40160, "the count field cannot contain '.'")

    async def run(source: Source) -> Source:
        total = 0
        async for batch in source:
            total += len(batch)
        if total:
            yield [{spec: numbers.integer(total, numbers.INT)}]

    return Stage("$count", spec, run)


@stage("$sortByCount")
def _sort_by_count(spec: Any, context: StageContext) -> Stage:
    if not (isinstance(spec, str) and spec.startswith("$")) and not (isinstance(spec, dict) and spec):
        raise fail(
            40149,
            "the sortByCount field must be defined as a $-prefixed path or an expression inside an object",
        )
    if isinstance(spec, dict) and not next(iter(spec)).startswith("$"):
        raise fail(40147, "the sortByCount field must be an expression inside an object")
    parts = [
        STAGES["$group"]({"_id": spec, "count": {"$sum": 1}}, context),
        STAGES["$sort"]({"count": -1}, context),
    ]
    return joined("$sortByCount", spec, parts)


@stage("$bucket")
def _bucket(spec: Any, context: StageContext) -> Stage:
    boundaries, default = _bucket_parts(spec)
    group_by = context.compile(spec["groupBy"])
    output = spec.get("output", {"count": {"$sum": 1}})
    fields = [_field(name, value, context) for name, value in output.items()]

    def key(document: Document, scope: Any) -> Any:
        value = group_by(document, scope)
        return _bucket_of(None if value is MISSING else value, boundaries, default)

    grouped = Stage("$group", spec, _grouping(key, fields, context))
    return joined("$bucket", spec, [grouped, STAGES["$sort"]({"_id": 1}, context)])


def _bucket_parts(spec: Any) -> tuple[list[Any], Any]:
    if not isinstance(spec, dict):
        raise fail(
            40201,
            f"Argument to $bucket stage must be an object, but found type: {order.bson_type_name(spec)}.",
        )
    for key in spec:
        if key not in {"groupBy", "boundaries", "default", "output"}:
            raise fail(40197, f"Unrecognized option to $bucket: {key}.")
    if "groupBy" not in spec or "boundaries" not in spec:
        raise fail(40198, "$bucket requires 'groupBy' and 'boundaries' to be specified.")
    if not isinstance(spec.get("output", {}), dict):
        raise fail(40196, "The $bucket 'output' field must be an object")
    boundaries = spec["boundaries"]
    if not isinstance(boundaries, list):
        raise fail(40200, "The $bucket 'boundaries' field must be an array")
    if len(boundaries) < 2:
        raise fail(
            40192,
            f"The $bucket 'boundaries' field must have at least 2 values, but found {len(boundaries)} value(s).",
        )
    for low, high in itertools.pairwise(boundaries):
        if order.compare(low, high) >= 0:
            raise fail(
                40194,
                "The 'boundaries' option to $bucket must be sorted, but elements are not in ascending order",
            )
    return boundaries, spec.get("default", MISSING)


def _bucket_of(value: Any, boundaries: list[Any], default: Any) -> Any:
    if order.compare(value, boundaries[0]) >= 0 and order.compare(value, boundaries[-1]) < 0:
        low, high = 0, len(boundaries) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if order.compare(value, boundaries[middle]) >= 0 else (low, middle)
        return boundaries[low]
    if default is MISSING:
        raise fail(
            40066, "$switch could not find a matching branch for an input, and no default was specified."
        )
    return default
