"""What the gateway refuses, as DocumentDB does, or because it can't have its effect."""

from __future__ import annotations

from typing import Any

import pymongo
import pytest
from bson import Int64, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import errors
from pymongo.read_concern import ReadConcern

from support.gateway import RunningGateway, refused
from support.wire import nested

Client = pymongo.MongoClient[dict[str, Any]]


def test_retryable_writes_and_transactions_are_refused(served: RunningGateway) -> None:
    with served.client(retryWrites=True, directConnection=False, replicaSet="rs0") as client:
        with pytest.raises(errors.OperationFailure, match="Unrecognized field: 'txnNumber'") as caught:
            client.test.things.insert_one({})
        assert caught.value.code == 9
        with client.start_session() as session:
            with (
                pytest.raises(errors.OperationFailure, match="transactions") as caught,
                session.start_transaction(),
            ):
                client.test.things.insert_one({}, session=session)
            assert caught.value.code == 303
        refused(client, 251, {"commitTransaction": 1, "txnNumber": Int64(4), "autocommit": False}, "admin")


def test_read_concerns(client: Client) -> None:
    for level in ("local", "majority", "available"):
        client.test.get_collection("c", read_concern=ReadConcern(level)).find_one({})
    for level in ("linearizable", "snapshot"):
        refused(client, 303, {"find": "c", "readConcern": {"level": level}})
    reply = refused(client, 303, {"find": "c", "readConcern": {"afterClusterTime": Timestamp(1, 1)}})
    assert reply["errmsg"] == "Feature not supported: 'causal consistency'"


@pytest.mark.parametrize(
    ("code", "command"),
    [
        (59, {"validate": "c"}),
        (59, {"bulkWrite": 1}),
        (40415, {"find": "c", "nonsense": 1}),
        (40414, {"distinct": "c"}),
        (14, {"find": "c", "filter": 5}),
        (14, {"find": "c", "limit": "5"}),
        (51024, {"find": "c", "limit": -1}),
        (51024, {"find": "c", "batchSize": -1}),
        (303, {"find": "c", "collation": {"locale": "de"}}),
        (303, {"find": "c", "tailable": True}),
        (303, {"find": "c", "let": {"a": 1}}),
        (303, {"create": "c", "capped": True, "size": 1000}),
        (303, {"aggregate": 1, "pipeline": [], "cursor": {}}),
        (9, {"aggregate": "c", "pipeline": []}),
        (14, {"aggregate": "c", "pipeline": [1], "cursor": {}}),
        (73, {"find": "bad$name"}),
        (73, {"find": 5}),
        (73, {"insert": "", "documents": [{}]}),
        (16, {"insert": "c", "documents": []}),
        (9, {"findAndModify": "c"}),
        (9, {"findAndModify": "c", "remove": True, "new": True}),
        (59, {"explain": {"ping": 1}}),
        (51024, {"collStats": "c", "scale": 0}),
        (14, {"collStats": "c", "scale": 1.5}),
        (40415, {"aggregate": "c", "pipeline": [{"$collStats": {"x": 1}}], "cursor": {}}),
    ],
)
def test_what_is_refused(client: Client, code: int, command: dict[str, Any]) -> None:
    refused(client, code, command)


def test_unimplemented_parameters_that_ask_for_nothing_are_taken(client: Client) -> None:
    assert client.test.command({"find": "c", "tailable": False, "let": {}, "collation": None})["ok"] == 1


def test_deep_documents_are_refused(client: Client) -> None:
    raws = client.test.get_collection("deep", codec_options=CodecOptions(document_class=RawBSONDocument))
    raws.insert_one(RawBSONDocument(nested(200)))
    done = client.test.command({"insert": "deep", "documents": [RawBSONDocument(nested(201))]})
    assert [error["code"] for error in done["writeErrors"]] == [15]
    refused(client, 22, {"find": "deep", "filter": RawBSONDocument(nested(4000))})


def test_replies_that_no_driver_takes(client: Client) -> None:
    client.test.things.insert_many([{"text": str(n) + "x" * 3_000_000} for n in range(6)])
    refused(client, 10334, {"distinct": "things", "key": "text"})


def test_the_short_way_to_one_id_refuses_the_same(client: Client) -> None:
    refused(client, 2, {"find": "things", "filter": {"_id": 1}, "sort": {"$natural": -1}})
    refused(client, 51024, {"find": "things", "filter": {"_id": 1}, "batchSize": -1, "limit": 1})
