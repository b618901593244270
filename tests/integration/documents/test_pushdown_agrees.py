"""Pushdown may only widen: with it and without it, the same documents come back for every filter and group."""

from __future__ import annotations

import datetime
import math
import random
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from stilldb.documents import Documents, jsonpath
from stilldb.documents.model import Aggregate, Find, Namespace
from stilldb.query import pushdown

Document = dict[str, Any]
DAY = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
SCALARS: list[Any] = [
    *(None, True, False, 0, 1, -1, 5, 2**31 - 1, Int64(5), Int64(2**53), Int64(2**53 + 1), Int64(-(2**63))),
    *(
        0.0,
        -0.0,
        0.1,
        0.25,
        5.0,
        -2.5,
        1e16,
        1e300,
        5e-324,
        float(2**53),
        1.2345678901234568e18,
        math.nan,
        math.inf,
    ),
    *(Decimal128("5"), Decimal128("0.1"), Decimal128("1E+400"), Decimal128("NaN"), Decimal128("0.10")),
    *("", "a", "abc", "abd", "ünï", "\U0001f600", "\uffff", "a\0b", "\ue000d", "5", "null"),
    *(ObjectId(b"\0" * 12), ObjectId(b"abcdefghijkl"), DAY, DAY + datetime.timedelta(milliseconds=1)),
    *(b"", b"ab", Binary(b"ab", 4), Binary(b"x" * 300, 0), Timestamp(1, 2), Regex("^a"), MinKey(), MaxKey()),
]
FIELDS = ["a", "b", "c.d", "a.b", "a.0", "c", "c.e.f", "missing"]


def _value(chance: random.Random, depth: int = 0) -> Any:
    roll = chance.random()
    if depth < 3 and roll < 0.15:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if depth < 3 and roll < 0.35:
        return {name: _value(chance, depth + 1) for name in chance.sample(["a", "b", "d", "e", "f"], 2)}
    return chance.choice(SCALARS)


def _documents(chance: random.Random, count: int) -> list[Document]:
    made = []
    for number in range(count):
        names = chance.sample(["a", "b", "c"], chance.randrange(1, 4))
        made.append({"_id": number, **{name: _value(chance) for name in names}})
    made += [
        {"_id": "odd 1", "a": {"\ue000d": 5}, "b": {"$d": 5}},
        {"_id": "odd 2", "c": [[{"d": 5}], {"d": [5, [6]]}, 7]},
        {"_id": {"x": 1}, "a": [None, {"b": None}]},
    ]
    return made


def _operators(chance: random.Random) -> Document:
    name = chance.choice(
        [
            "$eq",
            "$ne",
            "$gt",
            "$gte",
            "$lt",
            "$lte",
            "$in",
            "$nin",
            "$exists",
            "$not",
            "$all",
            "$elemMatch",
            "$size",
            "$type",
            "$regex",
        ]
    )
    if name in ("$in", "$nin", "$all"):
        return {name: [chance.choice(SCALARS) for _ in range(chance.randrange(4))]}
    if name == "$exists":
        return {name: chance.choice([True, False, 1, 0])}
    if name == "$not":
        return {name: _operators(chance)}
    if name == "$elemMatch":
        return {name: chance.choice([_filter(chance, 2), {"$gt": 0}, {"d": 5}])}
    if name == "$size":
        return {name: chance.randrange(3)}
    if name == "$type":
        return {name: chance.choice(["string", "number", "null", "array", "object", 2])}
    if name == "$regex":
        return {name: chance.choice(["^a", "b", "^ab.*c", "^"])}
    value = chance.choice(SCALARS)
    if isinstance(value, Regex):
        value = "abc"
    if name in ("$gt", "$gte", "$lt", "$lte") and chance.random() < 0.4:
        return {
            "$gte": value,
            "$lt": chance.choice([item for item in SCALARS if not isinstance(item, Regex)]),
        }
    return {name: value}


def _filter(chance: random.Random, depth: int = 0) -> Document:
    made: Document = {}
    for _ in range(chance.randrange(1, 3)):
        roll = chance.random()
        if depth < 2 and roll < 0.2:
            made[chance.choice(["$and", "$or", "$nor"])] = [
                _filter(chance, depth + 1) for _ in range(chance.randrange(1, 3))
            ]
        elif roll < 0.5:
            made[chance.choice(FIELDS)] = chance.choice([*SCALARS, [5], {"d": 5}])
        elif roll < 0.6:
            made["_id"] = chance.choice(
                [3, {"$gte": 10}, {"$lt": "p"}, {"$in": [1, 2.0, "odd 1"]}, {"x": 1}, {"$ne": 4}, None]
            )
        else:
            made[chance.choice(FIELDS)] = _operators(chance)
    return made


async def _ids(documents: Documents, namespace: Namespace, spec: Document) -> list[Any]:
    return [
        bson.decode(raw)["_id"] async for raws in documents.find(namespace, Find(filter=spec)) for raw in raws
    ]


async def _filled(documents: Documents, namespace: Namespace, rows: list[Document]) -> None:
    done = await documents.insert(namespace, [bson.encode(row) for row in rows], ordered=True)
    assert not done.errors


@pytest.mark.parametrize("seed", range(6))
async def test_every_filter(
    documents: Documents, engine_only: Documents, namespace: Namespace, seed: int
) -> None:
    chance = random.Random(seed)
    await _filled(documents, namespace, _documents(chance, 150))
    if seed % 2:
        specs = [
            {"key": {"a": 1}, "name": "a"},
            {"key": {"b": -1, "_id": 1}, "name": "b"},
            {"key": {"c.d": 1}, "name": "cd", "sparse": True},
        ]
        await documents.create_indexes(namespace, specs)
    pushed = exact = 0
    for _ in range(250):
        # As the gateway hands a filter over: decoded from BSON.
        spec = bson.decode(bson.encode({"f": _filter(chance)}), _codec())["f"]
        expected = await _ids(engine_only, namespace, spec)
        assert await _ids(documents, namespace, spec) == expected, spec
        assert await documents.count(namespace, Find(filter=spec)) == len(expected), spec
        plan = pushdown.plan(spec)
        pushed += plan.condition != pushdown.ALWAYS or bool(plan.ids)
        exact += plan.exact
    assert pushed > 80
    assert exact > 40


def _codec() -> Any:
    from stilldb.query.values import CODEC

    return CODEC


EDGES: list[tuple[Document, Document]] = [
    # names that the query form uses for itself
    ({"a": DatetimeMS(5)}, {"a.\ue000d": {"$exists": True}}),
    ({"a": DatetimeMS(5)}, {"a.\ue000d": {"$exists": False}}),
    # a decimal that is exactly a double whose shortest form is another number
    ({"a": Decimal128("1.000000000931322574615478515625")}, {"a": 1 + 2**-30}),
    # an array inside an array is a document of positions to $elemMatch
    ({"a": [[{"b": 5}]]}, {"a": {"$elemMatch": {"b": {"$ne": 5}}}}),
    ({"a": [[{"b": 5}]]}, {"a": {"$elemMatch": {"b": {"$exists": False}}}}),
    ({"a": [[]]}, {"a": {"$elemMatch": {"b": None}}}),
    ({"a": "\x01\x1f\x7f\"\\\u2028'"}, {"a": "\x01\x1f\x7f\"\\\u2028'"}),
    ({"\x01\"\\\u2028'$": 1}, {"\x01\"\\\u2028'$": 1}),
    ({"a": "\U0001f600"}, {"a": {"$gt": "\uffff"}}),
    ({"a": DatetimeMS(-5)}, {"a": {"$lt": DatetimeMS(-4)}}),
    ({"a": [1, 9]}, {"a": {"$gt": 3, "$lt": 5}}),
    ({"a": [{}, 5]}, {"a.b": {"$exists": False}}),
    ({"a": Code("x")}, {"a": {"$gte": ""}}),
    ({"a": 1.2345678901234568e18}, {"a": Int64(1234567890123456768)}),
    ({"a": {"$ref": "x", "$id": 5}}, {"a.$id": 5}),
]


@pytest.mark.parametrize("direction", [None, 1, -1])
async def test_edges(
    documents: Documents, engine_only: Documents, namespace: Namespace, direction: int | None
) -> None:
    if direction is not None:
        specs = [{"key": {"a": direction}}, {"key": {"a.b": direction, "a.$id": 1}}]
        await documents.create_indexes(namespace, specs)
    await _filled(documents, namespace, [{"_id": n, **row} for n, (row, _) in enumerate(EDGES)])
    for _, given in EDGES:
        spec = bson.decode(bson.encode({"f": given}), _codec())["f"]
        expected = await _ids(engine_only, namespace, spec)
        assert await _ids(documents, namespace, spec) == expected, spec
        assert await documents.count(namespace, Find(filter=spec)) == len(expected), spec


ODD_IDS: list[Any] = [
    *(None, math.nan, math.inf, Int64(2**53 + 1), float(2**53), Decimal128("9007199254740995"), True),
    *(
        {"a": 1},
        {"a": 1.5, "b": None},
        {},
        "",
        "a\0b",
        "\ue000",
        "\U0001f600",
        DatetimeMS(-1),
        Timestamp(1, 1),
    ),
    *(MinKey(), MaxKey(), b"x", Binary(b"x", 4), Code("f"), bson.DBRef("x", 1)),
]


async def test_odd_ids(documents: Documents, engine_only: Documents, namespace: Namespace) -> None:
    await _filled(documents, namespace, [{"_id": value} for value in ODD_IDS])
    for value in [*ODD_IDS, Decimal128("NaN"), Int64(2**53), Decimal128("Infinity")]:
        for asked in (value, {"$in": [value]}, {"$gte": value}, {"$lt": value}, {"$ne": value}):
            spec = bson.decode(bson.encode({"_id": asked}), _codec())
            expected = await _ids(engine_only, namespace, spec)
            assert repr(await _ids(documents, namespace, spec)) == repr(expected), spec


def test_negations_inside_each_other_stay_small() -> None:
    spec: Document = {"a": 5, "b": 6}
    for _ in range(40):
        spec = {"$nor": [spec, {"c": 1}]}
    assert len(jsonpath.render(pushdown.plan(spec).condition)) < 10_000


async def test_filters_of_many_parts(documents: Documents, namespace: Namespace) -> None:
    await _filled(documents, namespace, [{"_id": 1, "a": 5}])
    assert await _ids(documents, namespace, {"$or": [{"a": n} for n in range(15_000)]}) == [1]
    assert await _ids(documents, namespace, {"$and": [{"a": {"$ne": -n}} for n in range(15_000)]}) == [1]


KEYS: list[Any] = [None, "$k", "$o.p", {"x": "$k", "y": "$o.p"}, "$gone", "$mixed"]
ACCUMULATORS: list[Document] = [
    {"n": {"$sum": 1}, "t": {"$sum": "$int"}, "m": {"$max": "$int"}, "l": {"$min": "$int"}},
    {"t": {"$sum": "$long"}, "a": {"$avg": "$long"}, "m": {"$max": "$long"}},
    {"t": {"$sum": "$double"}, "a": {"$avg": "$double"}, "m": {"$min": "$double"}},
    {"t": {"$sum": "$mixed"}, "a": {"$avg": "$mixed"}, "m": {"$min": "$mixed"}, "x": {"$max": "$mixed"}},
    {
        "t": {"$sum": "$o.p"},
        "c": {"$count": {}},
        "g": {"$sum": "$gone"},
        "h": {"$avg": "$gone"},
        "i": {"$max": "$gone"},
    },
    {"m": {"$max": "$k"}, "f": {"$sum": "$arr.x"}},
]


def _measurements(chance: random.Random, *, odd: bool) -> list[Document]:
    rows = []
    for number in range(200):
        row: Document = {
            "_id": number,
            "k": chance.choice(["x", "y", "z", ObjectId(b"k" * 12), DAY, True, 7, 2.5, Int64(9)]),
            "o": {"p": chance.choice([1, 2, 3])},
            "int": chance.randrange(-(2**31), 2**31),
            "long": Int64(chance.randrange(-(2**40), 2**40)),
            "double": chance.uniform(-1e6, 1e6) * 10 ** chance.randrange(-5, 20),
            "mixed": chance.choice([1, Int64(2), 0.5, 3, None]),
        }
        if odd:
            row["mixed"] = chance.choice([1, 0.5, "s", Decimal128("0.1"), [1, 2], {"b": 1, "a": 2}, math.nan])
            row["arr"] = [{"x": 1}, {"x": 2}]
            row["o"] = chance.choice([{"p": 1}, [{"p": 1}], {"p": [1, 2]}, {}, 5])
        if chance.random() < 0.2:
            del row[chance.choice(["k", "o", "int", "mixed"])]
        rows.append(row)
    return rows


def _canonical(rows: list[Document]) -> list[str]:
    """Comparable, doubles by 14 digits: SQL adds doubles as decimals, so the last ones may differ."""
    rounded = [
        {name: float(f"{value:.14g}") if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    ]
    return sorted(repr(row) for row in rounded)


@pytest.mark.parametrize("odd", [False, True])
async def test_every_group(
    documents: Documents, engine_only: Documents, namespace: Namespace, odd: bool
) -> None:
    chance = random.Random(11)
    await _filled(documents, namespace, _measurements(chance, odd=odd))
    for key in KEYS:
        for fields in ACCUMULATORS:
            pipeline = [{"$match": {"_id": {"$gte": 5}}}, {"$group": {"_id": key, **fields}}]
            results = []
            for which in (documents, engine_only):
                raws = which.aggregate(namespace, Aggregate(pipeline=pipeline))
                results.append(_canonical([bson.decode(raw) async for batch in raws for raw in batch]))
            assert results[0] == results[1], pipeline


@pytest.mark.parametrize(
    "values",
    [
        [-(2**31)],
        [float(2**31), -(2**31), 1e16, 123456789012345680.0],
        [0.1, Decimal128("0.1")],
        [Decimal128("5"), 5, 5.0, Int64(5)],
        [1.2345678901234568e18, Int64(1234567890123456800), Int64(1234567890123456768)],
        [Int64(2**62), Int64(2**62), Int64(2**62), 0.5],
        [True, 1, "a\x01b", "\u2028", DatetimeMS(-1)],
    ],
)
async def test_groups_of_numbers_at_the_edge(
    documents: Documents, engine_only: Documents, namespace: Namespace, values: list[Any]
) -> None:
    await _filled(documents, namespace, [{"_id": n, "k": value} for n, value in enumerate(values)])
    fields = {"s": {"$sum": "$k"}, "m": {"$min": "$k"}, "x": {"$max": "$k"}, "a": {"$avg": "$k"}}
    for stage in ({"_id": "$k", "n": {"$sum": 1}}, {"_id": None, **fields}, {"_id": "$k.\ue000d"}):
        results = []
        for which in (documents, engine_only):
            raws = which.aggregate(namespace, Aggregate(pipeline=[{"$group": stage}]))
            results.append(_canonical([bson.decode(raw) async for batch in raws for raw in batch]))
        assert results[0] == results[1], stage


async def test_groups_of_plain_data_are_pushed(documents: Documents, namespace: Namespace) -> None:
    await _filled(documents, namespace, _measurements(random.Random(1), odd=False))
    pipeline = [
        {"$match": {"int": {"$gt": 0}}},
        {"$group": {"_id": "$k", "t": {"$sum": "$int"}}},
        {"$sort": {"_id": 1}},
    ]
    plan = await documents.explain_aggregate(namespace, Aggregate(pipeline=pipeline))
    assert plan["winningPlan"]["stage"] == "GROUP"
    assert plan["winningPlan"]["pushdown"] is True
    assert plan["engineStages"] == ["$sort"]
