"""The commands through PyMongo, on documents in memory: what a reply looks like, and what is refused."""

from __future__ import annotations

import datetime
from typing import Any

import bson
import pymongo
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import errors
from pymongo.write_concern import WriteConcern

from support.gateway import PASSWORD, USER, RunningGateway, refused
from support.wire import RawClient

Client = pymongo.MongoClient[dict[str, Any]]

EVERY_TYPE: dict[str, Any] = {
    "_id": ObjectId(),
    "double": 1.5,
    "nan": float("nan"),
    "string": "s\0é",
    "document": {"a": {"b": 1}},
    "array": [1, [2, {}], []],
    "binary": b"\0\1",
    "uuid": Binary(b"0" * 16, 4),
    "custom": Binary(b"x", 128),
    "yes": True,
    "date": datetime.datetime(1969, 1, 1),
    "null": None,
    "regex": Regex("a.b", "im"),
    "code": Code("f()"),
    "scoped": Code("f()", {"x": 1}),
    "int": 1,
    "timestamp": Timestamp(1, 2),
    "long": Int64(1),
    "decimal": Decimal128("1.50"),
    "min": MinKey(),
    "max": MaxKey(),
    "": "empty",
}


def test_create_read_update_delete(client: Client) -> None:
    people = client.test.people
    assert people.insert_one({"_id": 1, "name": "Ann"}).inserted_id == 1
    assert people.insert_many([{"_id": 2}, {"_id": 3}]).inserted_ids == [2, 3]
    assert people.find_one({"_id": 1}) == {"_id": 1, "name": "Ann"}
    assert people.find_one({"_id": 9}) is None
    done = people.update_one({"_id": 1}, {"$set": {"name": "Bea"}})
    assert (done.matched_count, done.modified_count) == (1, 1)
    made = people.update_one({"_id": 7}, {"$set": {"name": "Cleo"}}, upsert=True)
    assert (made.matched_count, made.modified_count, made.upserted_id) == (0, 0, 7)
    assert people.find_one_and_update({"_id": 7}, {"$inc": {"n": 1}}, return_document=True) == {
        "_id": 7,
        "name": "Cleo",
        "n": 1,
    }
    assert people.find_one_and_delete({"_id": 7}) == {"_id": 7, "name": "Cleo", "n": 1}
    assert people.find_one_and_delete({"_id": 7}) is None
    assert people.estimated_document_count() == 3
    assert people.delete_many({}).deleted_count == 3


def test_every_type_comes_back_byte_for_byte(client: Client) -> None:
    raw = bson.encode(EVERY_TYPE)
    raws = client.test.get_collection("types", codec_options=CodecOptions(document_class=RawBSONDocument))
    raws.insert_one(RawBSONDocument(raw))
    found = raws.find_one({"_id": EVERY_TYPE["_id"]})
    assert found is not None
    assert found.raw == raw


def test_documents_in_the_body_are_kept_raw_too(client: Client, served: RunningGateway) -> None:
    documents = [EVERY_TYPE, {"_id": 2, "a": Int64(1)}]
    with RawClient(served.port) as raw_client:
        raw_client.authenticate(USER, PASSWORD)
        command = {"insert": "body", "documents": documents, "ordered": True, "$db": "test"}
        assert raw_client.command(command) == {"n": 2, "ok": 1.0}
        assert raw_client.command({**command, "documents": [1]})["code"] == 14
    raws = client.test.get_collection("body", codec_options=CodecOptions(document_class=RawBSONDocument))
    assert [one.raw for one in raws.find()] == [bson.encode(one) for one in documents]


def test_bulk_writes_tell_each_error(client: Client) -> None:
    things = client.test.things
    with pytest.raises(errors.BulkWriteError) as caught:
        things.insert_many([{"_id": 1}, {"_id": 1}, {"_id": 2}], ordered=False)
    assert caught.value.details["nInserted"] == 2
    (error,) = caught.value.details["writeErrors"]
    assert (error["index"], error["code"], error["keyPattern"]) == (1, 11000, {"_id": 1})
    with pytest.raises(errors.BulkWriteError) as caught:
        things.insert_many([{"_id": 1}, {"_id": 3}])
    assert caught.value.details["nInserted"] == 0
    assert things.find_one({"_id": 3}) is None


def test_bad_statements_are_write_errors_and_unordered_ones_go_on(client: Client) -> None:
    client.test.things.insert_one({"_id": 1})
    good = {"q": {"_id": 1}, "u": {"$set": {"a": 1}}}
    reply = client.test.command(
        {
            "update": "things",
            "updates": [{"q": {}, "u": 5}, {"q": {}, "u": {}, "x": 1}, good],
            "ordered": False,
        }
    )
    assert (reply["n"], reply["nModified"]) == (1, 1)
    assert [error["code"] for error in reply["writeErrors"]] == [9, 40415]
    reply = client.test.command(
        {"delete": "things", "deletes": [{"q": {}, "limit": 2}, {"q": {}, "limit": 0}]}
    )
    assert (reply["n"], [error["index"] for error in reply["writeErrors"]]) == (0, [0])


def test_a_batch_larger_than_one_message(client: Client) -> None:
    big = [{"_id": n, "text": "x" * 1_000_000} for n in range(70)]
    things = client.test.things
    assert len(things.insert_many(big).inserted_ids) == 70
    assert [one["_id"] for one in things.find()] == list(range(70))


def test_batch_sizes(client: Client) -> None:
    things = client.test.things
    things.insert_many([{"_id": n} for n in range(350)])
    first = client.test.command({"find": "things"})["cursor"]
    assert len(first["firstBatch"]) == 101
    rest = client.test.command({"getMore": first["id"], "collection": "things"})["cursor"]
    assert (len(rest["nextBatch"]), rest["id"]) == (249, 0)
    empty = client.test.command({"find": "things", "batchSize": 0})["cursor"]
    assert empty["firstBatch"] == []
    assert empty["id"]
    exact = client.test.command({"find": "things", "batchSize": 350})["cursor"]
    assert (len(exact["firstBatch"]), exact["id"]) == (350, 0)
    single = client.test.command({"find": "things", "batchSize": 2, "singleBatch": True})["cursor"]
    assert (len(single["firstBatch"]), single["id"]) == (2, 0)
    assert len(list(things.find(batch_size=7))) == 350


def test_cursors_are_closed_and_refused(client: Client, served: RunningGateway) -> None:
    things = client.test.things
    things.insert_many([{"_id": n} for n in range(10)])
    cursor = things.find(batch_size=2)
    next(cursor)
    assert len(served.context.cursors) == 1
    assert (
        refused(client, 13, {"getMore": cursor.cursor_id, "collection": "others"})["codeName"]
        == "Unauthorized"
    )
    cursor.close()
    served.until(lambda: len(served.context.cursors) == 0)
    refused(client, 43, {"getMore": Int64(5), "collection": "things"})
    assert client.test.command({"killCursors": "things", "cursors": [Int64(5)]})["cursorsNotFound"] == [5]
    assert served.documents.open_sources == 0


def test_exhaust_cursors(client: Client) -> None:
    things = client.test.things
    things.insert_many([{"_id": n} for n in range(1000)])
    found = things.find(cursor_type=pymongo.CursorType.EXHAUST, batch_size=10)
    assert [one["_id"] for one in found] == list(range(1000))


def test_unacknowledged_writes(served: RunningGateway) -> None:
    with served.client() as client:
        things = client.test.get_collection("things", write_concern=WriteConcern(w=0))
        assert not things.insert_one({"_id": 1}).acknowledged
        things.insert_one({"_id": 1})  # an error that nobody is told
        things.update_one({"_id": 1}, {"$set": {"a": 1}})
    with served.client() as client:
        served.until(lambda: served.documents.collections != {})
        assert client.test.things.find_one({"_id": 1}) == {"_id": 1, "a": 1}


def test_max_time(client: Client, served: RunningGateway) -> None:
    let_go = served.gate("find")
    with pytest.raises(errors.ExecutionTimeout) as caught:
        client.test.things.find_one({}, max_time_ms=20)
    assert caught.value.code == 50
    assert served.documents.cancelled == ["find"]
    let_go()
    assert client.test.things.find_one({}, max_time_ms=2000) is None
    refused(client, 2, {"ping": 1, "maxTimeMS": -1})
    refused(client, 14, {"ping": 1, "maxTimeMS": "1"})


def test_max_time_of_a_get_more_ends_the_cursor(client: Client, served: RunningGateway) -> None:
    client.test.things.insert_many([{"_id": n, "x": "x" * 500_000} for n in range(40)])
    cursor = client.test.command({"find": "things", "batchSize": 1})["cursor"]
    served.gate("find_more")
    refused(client, 50, {"getMore": cursor["id"], "collection": "things", "maxTimeMS": 20})
    refused(client, 43, {"getMore": cursor["id"], "collection": "things"})
    assert served.documents.open_sources == 0


def test_collections_and_databases(client: Client) -> None:
    client.shop.create_collection("orders")
    client.shop.items.insert_one({})
    with pytest.raises(errors.CollectionInvalid):
        client.shop.create_collection("orders")
    refused(client, 48, {"create": "orders"}, "shop")
    assert sorted(client.shop.list_collection_names()) == ["items", "orders"]
    (info,) = client.shop.list_collections(filter={"name": "items"})
    assert info["type"] == "collection"
    assert info["info"]["readOnly"] is False
    assert client.list_database_names() == ["shop"]
    assert [one["name"] for one in client.list_databases(filter={"name": "none"})] == []
    assert client.shop.command("drop", "orders") == {"nIndexesWas": 1, "ns": "shop.orders", "ok": 1.0}
    refused(client, 26, {"drop": "orders"}, "shop")
    assert client.shop.command("dropDatabase")["dropped"] == "shop"
    assert client.list_database_names() == []
    refused(client, 13, {"listDatabases": 1}, "test")


def test_indexes(client: Client) -> None:
    things = client.test.things
    assert things.create_index([("a", 1)]) == "a_1"
    assert client.test.command({"createIndexes": "things", "indexes": [{"key": {"a": 1}, "name": "a_1"}]})[
        "note"
    ]
    assert list(things.index_information()) == ["_id_", "a_1"]
    things.drop_index("a_1")
    assert list(things.index_information()) == ["_id_"]
    refused(client, 26, {"listIndexes": "absent"})


def test_counts_distinct_aggregates_explanations_and_sizes(client: Client) -> None:
    things = client.test.things
    things.insert_many([{"_id": n, "even": n % 2 == 0} for n in range(10)])
    assert client.test.command({"count": "things", "query": {"even": True}})["n"] == 5
    assert things.distinct("even") == [True, False]
    assert len(list(things.aggregate([{"$match": {"even": True}}, {"$limit": 2}]))) == 2
    assert things.find({"even": True}).explain()["queryPlanner"]["namespace"] == "test.things"
    explained = client.test.command(
        {"explain": {"aggregate": "things", "pipeline": [], "cursor": {}}, "verbosity": "executionStats"}
    )
    assert explained["executionStats"]["nReturned"] == 10
    for inner in (
        {"count": "things"},
        {"distinct": "things", "key": "even"},
        {"update": "things", "updates": [{"q": {}, "u": {"$set": {"a": 1}}}]},
        {"delete": "things", "deletes": [{"q": {}, "limit": 0}]},
        {"findAndModify": "things", "remove": True},
    ):
        assert client.test.command({"explain": inner, "verbosity": "executionStats"})["queryPlanner"]
    assert things.estimated_document_count() == 10
    assert (
        client.test.command("collStats", "things", scale=10)["size"]
        == client.test.command("dbStats")["dataSize"] // 10
    )
    stage = {"$collStats": {"storageStats": {"scale": 10}, "count": {}}}
    (shown,) = things.aggregate([stage, {"$project": {"localTime": 0}}])
    assert (shown["ns"], shown["count"], shown["storageStats"]["count"]) == ("test.things", 10, 10)
    assert shown["storageStats"]["size"] == client.test.command("collStats", "things", scale=10)["size"]
    assert client.test.command({"dataSize": "test.things"})["numObjects"] == 10


def test_what_shells_ask(client: Client) -> None:
    admin = client.admin
    assert admin.command("buildInfo")["versionArray"] == [5, 0, 0, 0]
    assert admin.command("whatsmyuri")["you"].startswith("127.0.0.1:")
    assert admin.command("getLog", "startupWarnings")["log"] == []
    assert admin.command({"getParameter": 1, "featureCompatibilityVersion": 1})["featureCompatibilityVersion"]
    assert admin.command("getCmdLineOpts")["parsed"] == {}
    assert admin.command("serverStatus")["connections"]["current"] >= 1
    assert admin.command("hostInfo")["system"]["numCores"] >= 1
    assert "find" in admin.command("listCommands")["commands"]
    status = admin.command({"connectionStatus": 1, "showPrivileges": True})["authInfo"]
    assert status["authenticatedUsers"] == [{"user": "app", "db": "admin"}]
