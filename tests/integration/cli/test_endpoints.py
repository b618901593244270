"""Dumps and extracted collections, over the MongoDB endpoint of a real instance."""

from __future__ import annotations

import datetime
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import bson
import pymongo
import pytest
from bson import json_util
from bson.raw_bson import RawBSONDocument

from stilldb.cli import extract, mongodump
from stilldb.cli.extract import CannotExtract
from support.service import service

Client = pymongo.MongoClient[Any]
LONG = "日" * 57
ROWS = [
    {
        "_id": bson.Int64(number) if number % 2 else number,
        "name": f"place {number}",
        "d": bson.Decimal128("1.50"),
        "x": "y" * (number % 300),
    }
    for number in range(9_000)
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with service() as running:
        running.create_cluster()
        running.create_instance("one")
        with running.mongo() as made:
            made.atlas.places.insert_many(ROWS)
            made.atlas.places.create_index([("name", 1), ("_id", -1)], name="by_name", unique=True)
            made.atlas.places.create_index("at", name="old", expireAfterSeconds=3600)
            made.atlas.places.insert_one(
                {"_id": bson.ObjectId("65" * 12), "at": datetime.datetime(2001, 1, 1), "name": "old"}
            )
            made.atlas[LONG].insert_one({"_id": None})
            made.atlas["a/b c"].insert_one({"_id": "in a name"})
            made.books.create_collection("empty")
            yield made


@pytest.fixture
def target(client: Client) -> Iterator[Any]:
    collection = client.back.places
    collection.drop()
    yield collection
    collection.drop()


def raws(collection: Any) -> list[bytes]:
    """Every document's bytes in the order of ``_id``."""
    found = collection.with_options(bson.CodecOptions(document_class=RawBSONDocument)).find().sort("_id", 1)
    return [document.raw for document in found]


# -- dumps


def load(directory: pathlib.Path) -> dict[str, tuple[list[bytes], dict[str, Any]]]:
    """A dump as its format says: by namespace the documents and the metadata, which names the collection."""
    loaded = {}
    for path in directory.glob("*/*.metadata.json"):
        metadata = json.loads(path.read_text(), object_hook=json_util.object_hook)
        with path.with_name(path.name.replace(".metadata.json", ".bson")).open("rb") as file:
            documents = [
                one.raw
                for one in bson.decode_file_iter(file, bson.CodecOptions(document_class=RawBSONDocument))
            ]
        loaded[f"{path.parent.name}.{metadata['collectionName']}"] = documents, metadata
    return loaded


def test_a_dump_holds_every_document_and_index(client: Client, tmp_path: pathlib.Path) -> None:
    told: list[mongodump.Dumped] = []
    made = mongodump.dump(client, tmp_path / "dump", told.append)
    assert made == told
    loaded = load(tmp_path / "dump")
    assert set(loaded) == {"atlas.places", f"atlas.{LONG}", "atlas.a/b c", "books.empty"}
    documents, metadata = loaded["atlas.places"]
    assert documents == raws(client.atlas.places)
    assert {index["name"]: index["key"] for index in metadata["indexes"]} == {
        "_id_": {"_id": 1},
        "by_name": {"name": 1, "_id": -1},
        "old": {"at": 1},
    }
    assert metadata["indexes"][1]["unique"] is True
    (info,) = client.atlas.list_collections(filter={"name": "places"})
    assert metadata["uuid"] == info["info"]["uuid"].hex()
    assert loaded["books.empty"][0] == []
    assert {one.namespace: one.documents for one in made} == {
        name: len(rows) for name, (rows, _) in loaded.items()
    }
    # Two files a collection and nothing else; no users.
    assert len([path for path in (tmp_path / "dump").rglob("*") if path.is_file()]) == 8
    with pytest.raises(FileExistsError, match="exists already"):
        mongodump.dump(client, tmp_path / "dump")


def test_a_dump_that_is_broken_off_leaves_nothing(client: Client, tmp_path: pathlib.Path) -> None:
    def interrupted(done: mongodump.Dumped) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mongodump.dump(client, tmp_path / "dump", interrupted)
    assert list(tmp_path.iterdir()) == []


# -- extracted collections


def test_a_collection_comes_back_byte_for_byte_with_its_indexes(client: Client, target: Any) -> None:
    heard: list[int] = []
    done = extract.extract(client.atlas.places, target, told=heard.append)
    wanted = raws(client.atlas.places)
    assert raws(target) == wanted
    assert done.documents == len(wanted) == sum(heard)
    assert len(heard) > 1, "one batch only tests no batches"
    assert done.sha256 == hashlib.sha256(b"".join(wanted)).hexdigest()
    assert (done.indexes, done.expiring, done.present) == (("by_name", "old"), ("old",), 0)
    assert target.index_information() == client.atlas.places.index_information()


def test_what_is_there_is_not_touched_unless_asked(client: Client, target: Any) -> None:
    target.insert_one({"_id": "mine"})
    with pytest.raises(CannotExtract, match=r"back\.places is there already.*--append"):
        extract.extract(client.atlas.places, target)
    assert raws(target) == [bson.encode({"_id": "mine"})]


def test_an_append_adds_what_is_missing_and_can_be_run_again(client: Client, target: Any) -> None:
    target.insert_many([{"_id": "mine"}, *ROWS[:5]])
    done = extract.extract(client.atlas.places, target, append=True)
    assert done.present == 5
    assert sorted(raws(target)) == sorted([*raws(client.atlas.places), bson.encode({"_id": "mine"})])
    again = extract.extract(client.atlas.places, target, append=True)
    assert again.present == again.documents == len(ROWS) + 1


def test_an_append_never_overwrites(client: Client, target: Any) -> None:
    # Equal as an _id and another document's bytes: 4 and 4.0.
    target.insert_one({"_id": 4.0, "name": "newer"})
    with pytest.raises(CannotExtract, match="holds another document where the snapshot has _id 4"):
        extract.extract(client.atlas.places, target, append=True)
    assert target.find_one({"_id": 4}) == {"_id": 4.0, "name": "newer"}


def test_one_that_is_broken_off_is_undone(client: Client, target: Any) -> None:
    def interrupted(documents: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract.extract(client.atlas.places, target, told=interrupted)
    assert "places" not in client.back.list_collection_names()


def test_what_somebody_else_writes_meanwhile_is_noticed(client: Client, target: Any) -> None:
    with pytest.raises(CannotExtract, match="something else wrote to it"):
        extract.extract(
            client.atlas.places, target, told=lambda _: target.update_one({"_id": 0}, {"$set": {"x": 1}})
        )
    assert "places" not in client.back.list_collection_names()


def test_a_collection_that_is_not_there_tells_which_are(client: Client, target: Any) -> None:
    with pytest.raises(CannotExtract, match=r"no collection atlas.plases; in atlas it has a/b c, places"):
        extract.extract(client.atlas.plases, target)
    with pytest.raises(CannotExtract, match="in nothing it has no collection"):
        extract.extract(client.nothing.at_all, target)
    assert "places" not in client.back.list_collection_names()
