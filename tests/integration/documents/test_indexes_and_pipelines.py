"""Indexes, orders, pipelines, explain, databases, and a storage that goes away."""

from __future__ import annotations

import asyncio
import datetime
import random
from typing import Any

import bson
import pytest

from integration.documents.test_writes import everything, put
from stilldb.documents import Documents
from stilldb.documents.aggregates import Aggregator
from stilldb.documents.model import Aggregate, Find, Namespace, Update
from stilldb.documents.pool import MOST_CONNECTIONS, Pool
from stilldb.domain.volumes import PostgresAddress
from stilldb.query.errors import MongoError

Document = dict[str, Any]


async def run(documents: Documents, namespace: Namespace, *stages: Document) -> list[Document]:
    raws = documents.aggregate(namespace, Aggregate(pipeline=list(stages)))
    return [bson.decode(raw) async for batch in raws for raw in batch]


async def plan(documents: Documents, namespace: Namespace, **find: Any) -> Document:
    explained = await documents.explain_find(namespace, Find(**{"filter": {}, **find}))
    found: Document = explained["winningPlan"]
    return found


def innermost(stage: Document) -> Document:
    return innermost(stage["inputStage"]) if "inputStage" in stage else stage


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({"key": {}}, "CannotCreateIndex"),
        ({"key": {"a": 0}}, "CannotCreateIndex"),
        ({"key": {"a": "hashed"}}, "CannotCreateIndex"),
        ({"key": {"a": "2dsphere"}}, "CannotCreateIndex"),
        ({"key": {"a": True}}, "CannotCreateIndex"),
        ({"key": {"a..b": 1}}, "CannotCreateIndex"),
        ({"key": {f"f{n}": 1 for n in range(33)}}, "CannotCreateIndex"),
        ({"key": {"a": 1}, "collation": {"locale": "de"}}, "CannotCreateIndex"),
        ({"key": {"a": 1}, "colour": "red"}, "Location197"),
        ({"key": {"a": 1}, "name": "*"}, "BadValue"),
        ({"key": {"a": 1}, "expireAfterSeconds": -1}, "CannotCreateIndex"),
        ({"key": {"a": 1, "b": 1}, "expireAfterSeconds": 1}, "CannotCreateIndex"),
        ({"key": {"a": 1}, "sparse": True, "partialFilterExpression": {"b": 1}}, "CannotCreateIndex"),
        ({"key": {"a": 1}, "partialFilterExpression": {"b": {"$no": 1}}}, "BadValue"),
        ({"name": "x"}, "FailedToParse"),
    ],
)
async def test_what_is_no_index(
    documents: Documents, namespace: Namespace, spec: Document, name: str
) -> None:
    with pytest.raises(MongoError) as caught:
        await documents.create_indexes(namespace, [spec])
    assert caught.value.name == name


async def test_indexes_are_made_listed_and_dropped(documents: Documents, namespace: Namespace) -> None:
    made = await documents.create_indexes(
        namespace, [{"key": {"a": 1}}, {"key": {"b": -1, "c": 1}, "name": "bc"}]
    )
    assert (made.before, made.after, made.created_collection) == (1, 3, True)
    again = await documents.create_indexes(namespace, [{"key": {"a": 1}, "name": "a_1"}, {"key": {"_id": 1}}])
    assert (again.before, again.after, again.created_collection) == (3, 3, False)
    assert [spec["name"] for spec in await documents.list_indexes(namespace)] == ["_id_", "a_1", "bc"]
    for spec, name in (
        ({"key": {"a": 1}, "name": "other"}, "IndexOptionsConflict"),
        ({"key": {"z": 1}, "name": "a_1"}, "IndexKeySpecsConflict"),
        ({"key": {"a": 1}, "name": "a_1", "unique": True}, "IndexKeySpecsConflict"),
    ):
        with pytest.raises(MongoError) as caught:
            await documents.create_indexes(namespace, [spec])
        assert caught.value.name == name
    assert await documents.drop_indexes(namespace, {"b": -1, "c": 1}) == 3
    assert await documents.drop_indexes(namespace, "*") == 2
    for which, name in (("_id_", "InvalidOptions"), ("gone", "IndexNotFound"), ({"q": 1}, "IndexNotFound")):
        with pytest.raises(MongoError) as caught:
            await documents.drop_indexes(namespace, which)
        assert caught.value.name == name
    with pytest.raises(MongoError) as caught:
        await documents.list_indexes(Namespace(namespace.database, "none"))
    assert caught.value.name == "NamespaceNotFound"


async def test_a_unique_index_on_data_that_is_not(documents: Documents, namespace: Namespace) -> None:
    await put(documents, namespace, {"_id": 1, "a": 5}, {"_id": 2, "a": 5.0})
    with pytest.raises(MongoError) as caught:
        await documents.create_indexes(namespace, [{"key": {"b": 1}}, {"key": {"a": 1}, "unique": True}])
    assert caught.value.code == 11000
    assert [spec["name"] for spec in await documents.list_indexes(namespace)] == ["_id_"]


async def test_an_index_finds_and_is_kept_in_step(documents: Documents, namespace: Namespace) -> None:
    await documents.create_indexes(namespace, [{"key": {"k": 1, "v": -1}, "name": "kv"}])
    await put(documents, namespace, *({"_id": n, "k": n % 3, "v": n} for n in range(60)))
    find = {"filter": {"k": 1, "v": {"$gte": 30, "$lt": 40}}}
    assert innermost(await plan(documents, namespace, **find))["indexName"] == "kv"
    assert [row["_id"] for row in await everything(documents, namespace, **find)] == [31, 34, 37]
    await documents.update(namespace, Update(filter={"_id": 34}, change={"$set": {"v": 99}}))
    await documents.update(namespace, Update(filter={"_id": 5}, change={"$set": {"k": 1, "v": 35}}))
    assert [row["_id"] for row in await everything(documents, namespace, **find)] == [5, 31, 37]
    # A multikey value may satisfy the one comparison by one element and the other by another.
    await put(documents, namespace, {"_id": 100, "k": 1, "v": [0, 1000]})
    assert [row["_id"] for row in await everything(documents, namespace, **find)] == [5, 31, 37, 100]


async def test_an_order_is_read_from_an_index(documents: Documents, namespace: Namespace) -> None:
    chance = random.Random(3)
    rows = [
        {"_id": n, "k": n % 4, "v": chance.choice([None, 1.5, "s", chance.randrange(50)])} for n in range(900)
    ]
    await put(documents, namespace, *rows)
    finds: list[Document] = [
        {"sort": {"v": 1}, "limit": 40},
        {"sort": {"v": -1}, "skip": 10},
        {"filter": {"k": 2}, "sort": {"v": 1}},
        {"filter": {"k": 2, "v": {"$gt": 5}}, "sort": {"v": -1}, "limit": 7},
        {"filter": {"_id": {"$gt": 500}}, "sort": {"k": 1, "v": 1}},
    ]
    before = [await everything(documents, namespace, **find) for find in finds]
    specs = [{"key": {"v": 1}, "name": "v"}, {"key": {"k": 1, "v": 1}, "name": "kv"}]
    await documents.create_indexes(namespace, specs)
    for find, expected in zip(finds, before, strict=True):
        found = await everything(documents, namespace, **find)
        assert [row["v"] for row in found] == [row["v"] for row in expected]
    assert "SORT" not in str(await plan(documents, namespace, sort={"v": 1}))
    assert "SORT" not in str(await plan(documents, namespace, filter={"k": 2}, sort={"v": -1}))
    await put(documents, namespace, {"_id": "several", "v": [0, 100]})
    assert (await everything(documents, namespace, sort={"v": -1}, limit=1))[0]["v"] == "s"
    assert "SORT" in str(
        await plan(documents, namespace, sort={"v": 1})
    )  # by several keys a document has two places


async def test_sparse_and_partial_indexes(documents: Documents, namespace: Namespace) -> None:
    await put(documents, namespace, {"_id": 1}, {"_id": 2, "a": 5}, {"_id": 3, "a": 6, "b": True})
    specs = [
        {"key": {"a": 1}, "name": "sparse", "sparse": True, "unique": True},
        {"key": {"c": 1}, "name": "partial", "unique": True, "partialFilterExpression": {"b": True}},
    ]
    await documents.create_indexes(namespace, specs)
    assert (await put(documents, namespace, {"_id": 4}, {"_id": 5})).count == 2  # neither index has them
    assert [row["_id"] for row in await everything(documents, namespace, filter={"a": {"$gte": 5}})] == [2, 3]
    assert [row["_id"] for row in await everything(documents, namespace, sort={"a": 1})] == [1, 4, 5, 2, 3]
    assert [row["_id"] for row in await everything(documents, namespace, filter={"c": None})] == [
        1,
        2,
        3,
        4,
        5,
    ]
    refused = await put(documents, namespace, {"_id": 6, "b": True, "a": 7})
    assert refused.errors[0].error.code == 11000


async def test_time_runs_out(documents: Documents, namespace: Namespace) -> None:
    now = datetime.datetime.now(datetime.UTC)
    await documents.create_indexes(namespace, [{"key": {"at": 1}, "name": "ttl", "expireAfterSeconds": 60}])
    ages = {1: 30, 2: 90, 3: 3600}
    await put(
        documents,
        namespace,
        *({"_id": n, "at": now - datetime.timedelta(seconds=age)} for n, age in ages.items()),
    )
    await put(documents, namespace, {"_id": "text", "at": "long ago"}, {"_id": "none"})
    assert await documents.delete_expired() >= 2
    assert [row["_id"] for row in await everything(documents, namespace)] == [1, "none", "text"]


async def test_pipelines_over_collections(documents: Documents, namespace: Namespace) -> None:
    other = Namespace(namespace.database, "people")
    await put(documents, namespace, *({"_id": n, "who": n % 3, "v": n} for n in range(9)))
    await put(documents, other, {"_id": 0, "name": "ann"}, {"_id": 1, "name": "bob"})
    lookup = {"$lookup": {"from": "people", "localField": "who", "foreignField": "_id", "as": "p"}}
    found = await run(documents, namespace, {"$match": {"v": {"$lt": 3}}}, lookup, {"$sort": {"_id": 1}})
    assert [[person["name"] for person in row["p"]] for row in found] == [["ann"], ["bob"], []]
    assert await run(documents, namespace, {"$match": {"who": 1}}, {"$count": "n"}) == [{"n": 3}]
    assert await run(documents, namespace, {"$sort": {"v": -1}}, {"$limit": 2}, {"$project": {"v": 1}}) == [
        {"_id": 8, "v": 8},
        {"_id": 7, "v": 7},
    ]
    assert sorted(await documents.distinct(namespace, "who", {"v": {"$gt": 0}})) == [0, 1, 2]
    assert (
        await run(
            documents, Namespace(namespace.database, "none"), {"$group": {"_id": None, "n": {"$sum": 1}}}
        )
        == []
    )


async def test_groups_do_not_pass_through_the_engine(
    documents: Documents, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(documents, namespace, *({"_id": n, "k": f"k{n % 3}", "v": n, "d": n / 4} for n in range(30)))

    def refuse(*_: object) -> None:
        raise AssertionError("the engine was asked")

    monkeypatch.setattr(Aggregator, "decoded", refuse)
    group = {"$group": {"_id": "$k", "n": {"$sum": 1}, "t": {"$sum": "$v"}, "d": {"$avg": "$d"}}}
    found = await run(documents, namespace, {"$match": {"v": {"$gte": 3}}}, group, {"$sort": {"_id": 1}})
    assert found[0] == {"_id": "k0", "n": 9, "t": 135, "d": 3.75}


async def test_out_and_merge(documents: Documents, namespace: Namespace) -> None:
    target = Namespace(namespace.database, "made")
    await put(documents, namespace, *({"_id": n, "v": n} for n in range(4)))
    await put(documents, target, {"_id": "old"})
    await documents.create_indexes(target, [{"key": {"v": 1}, "name": "v", "unique": True}])
    assert await run(documents, namespace, {"$match": {"v": {"$gt": 1}}}, {"$out": "made"}) == []
    assert await everything(documents, target) == [{"_id": 2, "v": 2}, {"_id": 3, "v": 3}]
    assert [spec["name"] for spec in await documents.list_indexes(target)] == ["_id_", "v"]
    with pytest.raises(MongoError) as caught:
        await run(documents, namespace, {"$set": {"v": 7}}, {"$out": "made"})
    assert caught.value.code == 11000
    assert len(await everything(documents, target)) == 2  # as before
    await documents.drop_indexes(target, "v")
    await run(documents, namespace, {"$project": {"w": {"$add": ["$v", 10]}}}, {"$merge": {"into": "made"}})
    assert await everything(documents, target, filter={"_id": {"$in": [0, 2]}}) == [
        {"_id": 0, "w": 10},
        {"_id": 2, "v": 2, "w": 12},
    ]


async def test_many_outs_at_once(documents: Documents, namespace: Namespace) -> None:
    """Each holds a connection while it reads; to one target, the last one stays."""
    await put(documents, namespace, *({"_id": n} for n in range(10)))
    targets = [f"out{n}" for n in range(MOST_CONNECTIONS + 2)] + ["same"] * 4
    async with asyncio.timeout(60):
        await asyncio.gather(*(run(documents, namespace, {"$out": name}) for name in targets))
    for name in (targets[0], "same"):
        target = Namespace(namespace.database, name)
        assert len(await everything(documents, target)) == 10


async def test_explain_refuses_what_is_no_sort(documents: Documents, namespace: Namespace) -> None:
    await documents.create_indexes(namespace, [{"key": {"a": 1}}])
    with pytest.raises(MongoError):
        await documents.explain_find(namespace, Find(filter={}, sort={"a": "up"}))


async def test_databases_and_sizes(documents: Documents, namespace: Namespace) -> None:
    await documents.create_collection(namespace, {})
    with pytest.raises(MongoError) as caught:
        await documents.create_collection(namespace, {})
    assert caught.value.name == "NamespaceExists"
    await put(documents, namespace, {"_id": 1, "pad": "x" * 1000})
    stats = await documents.stats(namespace)
    assert (stats["count"], stats["nindexes"]) == (1, 1)
    assert stats["size"] > 1000
    assert namespace.database in [info.name for info in await documents.list_databases()]
    assert [info.name for info in await documents.list_collections(namespace.database)] == ["things"]
    assert await documents.drop_database(namespace.database) is True
    assert await documents.drop_database(namespace.database) is False
    assert await documents.drop_collection(namespace) is None


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a/b", "a$", "x" * 64, "a\0"])
def test_names_that_databases_can_t_have(name: str) -> None:
    with pytest.raises(MongoError) as caught:
        Namespace.checked(name, "c")
    assert caught.value.name == "InvalidNamespace"


@pytest.mark.parametrize("name", ["", "a$b", ".a", "system.users", "x" * 58, "a\0b", 5])
def test_names_that_collections_can_t_have(name: object) -> None:
    with pytest.raises(MongoError) as caught:
        Namespace.checked("db", name)
    assert caught.value.name == "InvalidNamespace"


async def test_lost_connections_are_told_and_replaced(
    documents: Documents, postgres: PostgresAddress, namespace: Namespace
) -> None:
    await put(documents, namespace, {"_id": 1})
    pool = Pool(host=postgres.host, port=postgres.port, user=postgres.user, database=postgres.database)
    async with pool.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' AND application_name <> 'pg_receivewal'"
        )
    for _ in range(3):
        try:
            found = await everything(documents, namespace)
            break
        except MongoError as error:
            assert error.name == "HostUnreachable"  # noqa: PT017 - it may or may not come
    assert found == [{"_id": 1}]
    await pool.close()
    lost = Pool(host="/nowhere", port=postgres.port, user=postgres.user, database=postgres.database)
    with pytest.raises(MongoError) as caught:
        async with lost.connection():
            pass
    assert caught.value.name == "HostUnreachable"
