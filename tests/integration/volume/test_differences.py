"""Differences between two real volumes, found beside the service and in this process alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bson
import pytest

from stilldb.documents import Documents
from stilldb.documents.model import Delete, Namespace, Update
from stilldb.domain.volumes import PostgresAddress, VolumeError
from stilldb.util import scram
from stilldb.volume import compare
from support.documents import opened, running_postgres

PLACES = Namespace("atlas", "places")


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[PostgresAddress, PostgresAddress]]:
    with running_postgres() as old, running_postgres() as new:
        yield old, new


async def insert(documents: Documents, namespace: Namespace, rows: list[dict[str, Any]]) -> None:
    found = await documents.insert(namespace, [bson.encode(row) for row in rows], ordered=True)
    assert found.count == len(rows), found.errors


async def fill(documents: Documents) -> None:
    """The same on both sides."""
    await documents.put_master_user("keeper", 1, [dict(one) for one in scram.verifiers("keeper", "x" * 8)])
    await insert(documents, PLACES, [{"_id": number, "name": f"place {number}"} for number in range(12_000)])
    await insert(documents, Namespace("atlas", "same"), [{"_id": "a", "x": 1.5}])
    await documents.create_indexes(PLACES, [{"key": {"name": 1}, "name": "by_name"}])


async def test_every_kind_of_difference_is_told(postgres: tuple[PostgresAddress, PostgresAddress]) -> None:
    old, new = postgres
    async with opened(old) as before, opened(new) as after:
        # An empty volume has nothing; the tables are there since it was opened.
        assert await compare.compare(old, new) == {
            "collections": [],
            "unchanged": 0,
            "users": {"added": [], "removed": [], "changed": []},
        }
        await fill(before)
        await fill(after)
        await insert(before, Namespace("atlas", "gone"), [{"_id": 1}])
        await insert(after, Namespace("books", "new"), [{"_id": {"a": 1}}])
        await after.delete(PLACES, Delete(filter={"_id": {"$gte": 11_990}}))
        await insert(after, PLACES, [{"_id": bson.ObjectId("65" * 12)}])
        # The same value in another type is another document's bytes.
        await after.update(PLACES, Update(filter={"_id": 7}, change={"$set": {"name": "changed"}}))
        await after.create_indexes(PLACES, [{"key": {"name": -1}, "name": "down"}])
        await after.drop_indexes(PLACES, "by_name")

    heard: list[int] = []
    found = await compare.compare_aside(old, new, examples=2, progress=heard.append)
    assert found == await compare.compare(old, new, examples=2)
    assert heard == sorted(heard)
    assert heard[-1] == 100
    assert [one["namespace"] for one in found["collections"]] == [
        "atlas.gone",
        "atlas.places",
        "atlas.same",
        "books.new",
    ]
    gone, places, same, books = found["collections"]
    assert gone["state"] == "removed"
    assert gone["examples"]["removed"] == [1]
    assert books["state"] == "added"
    assert books["examples"]["added"] == [{"a": 1}]
    assert places["state"] == "changed"
    assert places["documents"] == {"added": 1, "removed": 10, "changed": 1, "unchanged": 11_989}
    assert places["examples"] == {"added": [{"$oid": "65" * 12}], "removed": [11_990, 11_991], "changed": [7]}
    assert places["indexes"] == {"added": ["down"], "removed": ["by_name"], "changed": []}
    # Made apart, the two collections "same" are not one and the same, though nothing in them differs.
    assert same["recreated"]
    assert same["documents"] == {"added": 0, "removed": 0, "changed": 0, "unchanged": 1}
    # Another salt: the password was set anew.
    assert found["users"] == {"added": [], "removed": [], "changed": ["keeper"]}

    assert await compare.compare(new, new) == {
        "collections": [],
        "unchanged": 3,
        "users": {"added": [], "removed": [], "changed": []},
    }


async def test_another_format_of_tables_is_refused(postgres: tuple[PostgresAddress, PostgresAddress]) -> None:
    import asyncpg

    old, _ = postgres
    async with opened(old):
        pass
    connection = await asyncpg.connect(host=old.host, port=old.port, user=old.user, database=old.database)
    try:
        await connection.execute("UPDATE stilldb.format SET version = 99")
        with pytest.raises(VolumeError, match="format 99"):
            await compare.compare_aside(old, old)
    finally:
        await connection.execute("UPDATE stilldb.format SET version = 1")
        await connection.close()


async def test_a_server_that_is_not_there_is_an_error(
    postgres: tuple[PostgresAddress, PostgresAddress],
) -> None:
    old, _ = postgres
    nowhere = PostgresAddress(host="/nowhere", port=1, user="x", database="x")
    with pytest.raises(VolumeError, match="can't be reached"):
        await compare.compare_aside(old, nowhere)
