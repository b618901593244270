"""The names and the metadata of a dump, as the MongoDB database tools make them."""

from __future__ import annotations

import json

import bson
import pytest

from stilldb.cli import mongodump


@pytest.mark.parametrize(
    ("collection", "name"),
    [
        ("places", "places"),
        ("a.b-c_d~e", "a.b-c_d~e"),
        ("a b/é日.c:d%", "a%20b%2F%C3%A9%E6%97%A5.c:d%25"),
        # What Go's url.PathEscape makes of all printable characters.
        (
            "".join(map(chr, range(33, 127))),
            "%21%22%23$%25&%27%28%29%2A+%2C-.%2F0123456789:%3B%3C=%3E%3F@ABCDEFGHIJKLMNOPQRSTUVWXYZ%5B%5C%5D%5E_%60"
            "abcdefghijklmnopqrstuvwxyz%7B%7C%7D~",
        ),
    ],
)
def test_names_are_escaped_as_the_tools_do(collection: str, name: str) -> None:
    assert mongodump.file_name(collection) == name


def test_a_name_too_long_for_a_file_is_cut_and_marked() -> None:
    long, other = "日" * 57, "日" * 56 + "月"
    name = mongodump.file_name(long)
    assert len(name) == 238
    assert len(f"{name}.metadata.json.gz") <= 255
    assert name.startswith("%E6%97%A5" * 23)
    assert name[208:211] == "%24"
    assert name != mongodump.file_name(other)
    assert mongodump.file_name("日" * 26) == "%E6%97%A5" * 26


def test_documents_are_cut_where_each_ends() -> None:
    raws = [bson.encode({"_id": number, "x": "y" * number}) for number in range(5)]
    assert list(mongodump.documents(b"".join(raws))) == raws
    assert list(mongodump.documents(b"")) == []


def test_metadata_names_the_collection_and_gives_indexes_a_version_that_mongodb_takes() -> None:
    info = {
        "name": "日" * 57,
        "options": {"storageEngine": {"a": {}}},
        "info": {"uuid": bson.Binary(bytes(range(16)), 4)},
    }
    indexes = [
        {"v": 4, "key": {"_id": 1}, "name": "_id_"},
        {"v": 4, "key": {"b": -1, "a": 1}, "name": "by", "expireAfterSeconds": 60},
    ]
    made = json.loads(mongodump.metadata("日" * 57, info, indexes))
    assert made == {
        "indexes": [
            {"v": {"$numberInt": "2"}, "key": {"_id": {"$numberInt": "1"}}, "name": "_id_"},
            {
                "v": {"$numberInt": "2"},
                "key": {"b": {"$numberInt": "-1"}, "a": {"$numberInt": "1"}},
                "name": "by",
                "expireAfterSeconds": {"$numberInt": "60"},
            },
        ],
        "uuid": "000102030405060708090a0b0c0d0e0f",
        "collectionName": "日" * 57,
        "type": "collection",
        "options": {"storageEngine": {"a": {}}},
    }
    assert list(made["indexes"][1]["key"]) == ["b", "a"]
