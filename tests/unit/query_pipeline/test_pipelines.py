"""Whole pipelines over batches, each stage's rules and errors, and pipelines as updates."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from bson import Int64

from stilldb.query import accumulators
from stilldb.query.errors import MongoError
from stilldb.query.filter import compile_filter
from stilldb.query.pipeline import Target, compile_pipeline, compile_update_pipeline

Batch = list[dict[str, Any]]


class Collections:
    """Other collections of the database, held in memory."""

    def __init__(self, **contents: Batch) -> None:
        self.contents = contents
        self.queries = 0

    async def find(
        self, collection: str, filter: Mapping[str, Any], pipeline: Sequence[Mapping[str, Any]] = ()
    ) -> AsyncIterator[Batch]:
        self.queries += 1
        matches = compile_filter(dict(filter))
        yield [document for document in self.contents.get(collection, []) if matches(document)]


async def batches(documents: Batch, size: int = 2) -> AsyncIterator[Batch]:
    for start in range(0, len(documents), size):
        yield documents[start : start + size]


async def run(stages: list[Any], documents: Batch, **contents: Batch) -> Batch:
    before = copy.deepcopy(documents)
    pipeline = compile_pipeline(stages, environment=Collections(**contents))
    found = [document async for batch in pipeline.run(batches(documents)) for document in batch]
    assert documents == before, "a pipeline must not change its input"
    return found


SALES: Batch = [
    {"_id": 1, "item": "a", "n": 2, "tags": ["x", "y"]},
    {"_id": 2, "item": "b", "n": 5, "tags": []},
    {"_id": 3, "item": "a", "n": 3.5},
    {"_id": 4, "item": None, "n": "none", "tags": "z"},
    {"_id": 5, "n": Int64(4), "tags": None},
]

CASES: list[tuple[list[Any], list[Any]]] = [
    ([{"$match": {"item": "a"}}, {"$project": {"n": 1}}], [{"_id": 1, "n": 2}, {"_id": 3, "n": 3.5}]),
    ([{"$limit": 1}, {"$project": {"_id": 0, "item": 0, "tags": 0}}], [{"n": 2}]),
    ([{"$limit": 1}, {"$project": {"_id": 0, "z.q": "$n", "item": "$$REMOVE"}}], [{"z": {"q": 2}}]),
    (
        [{"$limit": 1}, {"$addFields": {"m": {"$add": ["$n", 1]}, "n": "$$REMOVE"}}, {"$unset": "tags"}],
        [{"_id": 1, "item": "a", "m": 3}],
    ),
    (
        [{"$skip": 3}, {"$limit": 1}, {"$set": {"tags": {"k": 1}}}, {"$project": {"tags.k": 1}}],
        [{"_id": 4, "tags": {"k": 1}}],
    ),
    ([{"$sort": {"_id": -1}}, {"$limit": 2}, {"$project": {"_id": 1}}], [{"_id": 5}, {"_id": 4}]),
    ([{"$count": "all"}], [{"all": 5}]),
    ([{"$match": {"item": "none"}}, {"$count": "all"}], []),
    (
        [{"$group": {"_id": "$item", "total": {"$sum": "$n"}, "mean": {"$avg": "$n"}, "all": {"$sum": 1}}}],
        [
            {"_id": "a", "total": 5.5, "mean": 2.75, "all": 2},
            {"_id": "b", "total": 5, "mean": 5.0, "all": 1},
            {"_id": None, "total": Int64(4), "mean": 4.0, "all": 2},
        ],
    ),
    (
        [
            {
                "$group": {
                    "_id": None,
                    "f": {"$first": "$item"},
                    "l": {"$last": "$item"},
                    "lo": {"$min": "$n"},
                    "hi": {"$max": "$n"},
                }
            }
        ],
        [{"_id": None, "f": "a", "l": None, "lo": 2, "hi": "none"}],
    ),
    (
        [
            {
                "$group": {
                    "_id": None,
                    "p": {"$push": "$item"},
                    "s": {"$addToSet": "$item"},
                    "c": {"$count": {}},
                }
            }
        ],
        [{"_id": None, "p": ["a", "b", "a", None], "s": ["a", "b", None], "c": 5}],
    ),
    (
        [
            {"$match": {"item": "a"}},
            {"$group": {"_id": {"i": "$item", "g": "$gone"}, "d": {"$stdDevPop": "$n"}}},
        ],
        [{"_id": {"i": "a"}, "d": 0.75}],
    ),
    ([{"$group": {"_id": "$item"}}, {"$count": "groups"}], [{"groups": 3}]),
    (
        [{"$unwind": "$tags"}, {"$project": {"tags": 1}}],
        [{"_id": 1, "tags": "x"}, {"_id": 1, "tags": "y"}, {"_id": 4, "tags": "z"}],
    ),
    (
        [
            {"$unwind": {"path": "$tags", "includeArrayIndex": "at", "preserveNullAndEmptyArrays": True}},
            {"$project": {"tags": 1, "at": 1}},
        ],
        [
            {"_id": 1, "tags": "x", "at": Int64(0)},
            {"_id": 1, "tags": "y", "at": Int64(1)},
            {"_id": 2, "at": None},
            {"_id": 3, "at": None},
            {"_id": 4, "tags": "z", "at": None},
            {"_id": 5, "tags": None, "at": None},
        ],
    ),
    ([{"$limit": 1}, {"$replaceRoot": {"newRoot": {"k": "$n"}}}], [{"k": 2}]),
    ([{"$limit": 1}, {"$replaceWith": {"k": "$n"}}], [{"k": 2}]),
    (
        [{"$match": {"item": {"$gt": ""}}}, {"$sortByCount": "$item"}],
        [{"_id": "a", "count": 2}, {"_id": "b", "count": 1}],
    ),
    (
        [{"$bucket": {"groupBy": "$n", "boundaries": [0, 3, 5], "default": "other"}}],
        [{"_id": 0, "count": 1}, {"_id": 3, "count": 2}, {"_id": "other", "count": 2}],
    ),
    (
        [
            {"$limit": 1},
            {"$redact": {"$cond": [{"$eq": ["$_id", 1]}, "$$KEEP", "$$PRUNE"]}},
            {"$project": {"_id": 1}},
        ],
        [{"_id": 1}],
    ),
]


@pytest.mark.parametrize(("stages", "expected"), CASES, ids=lambda item: str(item)[:70])
async def test_stages(stages: list[Any], expected: list[Any]) -> None:
    found = await run(stages, SALES)
    assert found == expected
    assert [list(document) for document in found] == [list(document) for document in expected]


async def test_sample_draws_different_documents() -> None:
    found = await run([{"$sample": {"size": 3}}], SALES)
    assert len({document["_id"] for document in found}) == 3


async def test_redact_descends_with_root_in_sight() -> None:
    document = {"_id": 1, "level": 2, "in": [{"level": 1, "k": 1}, {"level": 3, "k": 2}]}
    test = {"$cond": [{"$lte": ["$level", "$$ROOT.level"]}, "$$DESCEND", "$$PRUNE"]}
    assert await run([{"$redact": test}], [document]) == [
        {"_id": 1, "level": 2, "in": [{"level": 1, "k": 1}]}
    ]


async def test_lookup_by_equality() -> None:
    stock = [{"_id": 1, "sku": "a"}, {"_id": 2, "sku": ["a", "b"]}, {"_id": 3}]
    stages = [
        {"$lookup": {"from": "stock", "localField": "item", "foreignField": "sku", "as": "s"}},
        {"$project": {"s._id": 1}},
    ]
    found = await run(stages, SALES, stock=stock)
    assert [[part["_id"] for part in document["s"]] for document in found] == [[1, 2], [2], [1, 2], [3], [3]]


async def test_lookup_by_pipeline() -> None:
    stock = [{"_id": 1, "left": 1}, {"_id": 2, "left": 4}]
    plain = {"$lookup": {"from": "stock", "pipeline": [{"$match": {"left": 4}}], "as": "s"}}
    assert [document["s"] for document in await run([plain], SALES[:2], stock=stock)] == [
        [stock[1]],
        [stock[1]],
    ]
    match = {"$match": {"$expr": {"$gte": ["$left", "$$want"]}}}
    joined = {"$lookup": {"from": "stock", "let": {"want": "$n"}, "pipeline": [match], "as": "s"}}
    assert [document["s"] for document in await run([joined], SALES[:2], stock=stock)] == [[stock[1]], []]


async def test_lookup_asks_once_a_batch() -> None:
    collections = Collections(stock=[])
    stage = {"$lookup": {"from": "stock", "localField": "item", "foreignField": "sku", "as": "s"}}
    pipeline = compile_pipeline([stage], environment=collections)
    assert len([batch async for batch in pipeline.run(batches(SALES, 5))]) == 1
    assert collections.queries == 1


async def test_top_of_a_sort_is_stable_and_exact() -> None:
    documents = [{"_id": i, "k": i % 7} for i in range(5000)]
    found = await run([{"$sort": {"k": 1}}, {"$limit": 10}], documents)
    assert [document["_id"] for document in found] == [7 * i for i in range(10)]


async def test_limit_stops_reading() -> None:
    read = 0

    async def endless() -> AsyncIterator[Batch]:
        nonlocal read
        while True:
            read += 1
            yield [{"_id": read}]

    pipeline = compile_pipeline([{"$limit": 3}], environment=Collections())
    assert [batch async for batch in pipeline.run(endless())] == [[{"_id": 1}], [{"_id": 2}], [{"_id": 3}]]
    assert read == 3


@pytest.mark.parametrize("stage", [{"$sort": {"t": 1}}, {"$group": {"_id": "$_id", "p": {"$push": "$t"}}}])
async def test_memory_is_bounded(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("stilldb.query.accumulators", "stilldb.query.stages.select", "stilldb.query.stages.group"):
        monkeypatch.setattr(f"{module}.MEMORY_LIMIT", 1000)
    with pytest.raises(MongoError) as caught:
        await run([stage], [{"_id": 1, "t": "x" * 2000}])
    assert (caught.value.code, caught.value.name) == (292, "QueryExceededMemoryLimitNoDiskUseAllowed")


STAGE_ERRORS: list[tuple[Any, int]] = [
    ({"$nope": 1}, 40324),
    ({}, 40323),
    ("x", 14),
    ({"$match": 1}, 15959),
    ({"$project": {}}, 51272),
    ({"$project": {"a": 1, "b": 0}}, 31254),
    ({"$project": {"a": 0, "b": 1}}, 31253),
    ({"$project": {"a": 1, "a.b": 1}}, 31250),
    ({"$addFields": 1}, 40272),
    ({"$unset": [1]}, 31002),
    ({"$group": {}}, 15955),
    ({"$group": {"_id": 1, "a": {"$nope": 1}}}, 15952),
    ({"$group": {"_id": 1, "a": 1}}, 40234),
    ({"$sort": {}}, 15976),
    ({"$limit": 0}, 15958),
    ({"$limit": "x"}, 5107201),
    ({"$skip": -1}, 5107200),
    ({"$count": "$a"}, 40158),
    ({"$unwind": "a"}, 28818),
    ({"$unwind": {}}, 28812),
    ({"$sample": {}}, 28749),
    ({"$bucket": {"groupBy": "$a", "boundaries": [2, 1]}}, 40194),
    ({"$lookup": {"from": "x", "as": "y"}}, 9),
    ({"$collStats": {}}, 115),
    ({"$indexStats": {}}, 115),
]


@pytest.mark.parametrize(("stage", "code"), STAGE_ERRORS, ids=lambda item: str(item)[:60])
def test_stage_error(stage: Any, code: int) -> None:
    with pytest.raises(MongoError) as caught:
        compile_pipeline([stage], environment=Collections())
    assert caught.value.code == code


async def test_new_root_must_be_a_document() -> None:
    with pytest.raises(MongoError) as caught:
        await run([{"$replaceWith": "$n"}], SALES)
    assert caught.value.code == 40228


def test_targets_are_exposed_and_stand_last() -> None:
    pipeline = compile_pipeline([{"$out": {"db": "d", "coll": "c"}}], environment=Collections())
    assert pipeline.target == Target("$out", "d", "c")
    merge = compile_pipeline([{"$merge": {"into": "c", "whenMatched": "replace"}}], environment=Collections())
    assert merge.target == Target("$merge", None, "c", when_matched="replace")
    with pytest.raises(MongoError) as caught:
        compile_pipeline([{"$out": "c"}, {"$limit": 1}], environment=Collections())
    assert caught.value.code == 40601


def test_leading_stages_can_be_taken_over() -> None:
    pipeline = compile_pipeline([{"$match": {}}, {"$limit": 1}], environment=Collections())
    assert [stage.name for stage in pipeline.without_leading(1).stages] == ["$limit"]
    assert pipeline.stages[0].spec == {}


def test_update_pipeline() -> None:
    apply = compile_update_pipeline([{"$set": {"b": "$a"}}, {"$unset": "a"}])
    document = {"_id": 1, "a": 2}
    assert apply(document) == {"_id": 1, "b": 2}
    assert document == {"_id": 1, "a": 2}
    with pytest.raises(MongoError, match="not allowed"):
        compile_update_pipeline([{"$match": {}}])


def test_every_accumulator_answers_for_no_values() -> None:
    empty = {name: make().result() for name, make in accumulators.ACCUMULATORS.items()}
    assert empty["$sum"] == 0
    assert empty["$avg"] is None
    assert empty["$push"] == []
    assert empty["$mergeObjects"] == {}
    assert empty["$stdDevPop"] is None
    assert empty["$min"] is None


@pytest.mark.parametrize("name", ["$facet", "$unionWith", "$graphLookup", "$bucketAuto", "$changeStream"])
async def test_stages_that_are_not_there_say_so(name: str) -> None:
    with pytest.raises(MongoError) as caught:
        await run([{name: {}}], SALES)
    assert caught.value.name == "CommandNotSupported"
    assert name in caught.value.message
