"""The contract of ObjectStore: tests for a fixture ``store``, imported by the modules that have one."""

from __future__ import annotations

import asyncio
import datetime
import os

import pytest

from stilldb.volume.objects.store import MAX_KEY, InvalidObjectKey, ObjectMissing, ObjectStore

__all__ = [
    "test_a_listing_is_of_a_folder",
    "test_an_absent_object_is_missing_everywhere",
    "test_keys_that_no_store_takes",
    "test_many_at_once",
    "test_many_objects_are_listed_and_deleted",
    "test_puts_of_one_key_at_once_leave_one_of_them",
    "test_what_is_put_is_there",
]

BAD_KEYS = [
    "",
    "/etc/passwd",
    "a//b",
    "a/../b",
    "..",
    "a/.",
    "a/",
    "a\n",
    "a\x00b",
    "a b",
    "é",
    "~incoming/x",
    "a" * 201,
    "a/" * (MAX_KEY // 2) + "b",
]


async def keys(store: ObjectStore, prefix: str) -> list[str]:
    return sorted([entry.key async for entry in store.list(prefix)])


async def test_what_is_put_is_there(store: ObjectStore) -> None:
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=2)
    for data in (b"", b"x", os.urandom(300_000)):
        await store.put("cluster-A/1/wal/000000010000000000000001", data)
        await store.put("cluster-A/1/wal/000000010000000000000001", data)
        assert await store.get("cluster-A/1/wal/000000010000000000000001") == data
        assert await store.size("cluster-A/1/wal/000000010000000000000001") == len(data)
        (entry,) = [entry async for entry in store.list("")]
        assert (entry.key, entry.size) == ("cluster-A/1/wal/000000010000000000000001", len(data))
        assert before <= entry.modified <= datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    free = await store.free_space()
    assert free is None or free > 0


async def test_an_absent_object_is_missing_everywhere(store: ObjectStore) -> None:
    await store.put("a/b/c", b"x")
    for key in ("a/b/d", "a/b", "a", "a/b/c/d", "z/z"):
        with pytest.raises(ObjectMissing, match=key):
            await store.get(key)
        assert await store.size(key) is None
        await store.delete([key])
        assert await keys(store, f"{key}/") == (["a/b/c"] if "a/b/c".startswith(f"{key}/") else [])
    assert await store.get("a/b/c") == b"x"
    await store.delete(["a/b/c", "a/b/c", "a/b/d"])
    await store.delete([])
    assert await store.size("a/b/c") is None
    assert await keys(store, "") == []


async def test_a_listing_is_of_a_folder(store: ObjectStore) -> None:
    for key in ("a/b/1", "a/b/2", "a/b/c/3", "a/bc/4", "a/b-5", "ab/6", "7"):
        await store.put(key, key.encode())
    assert await keys(store, "a/b/") == ["a/b/1", "a/b/2", "a/b/c/3"]
    assert await keys(store, "a/") == ["a/b-5", "a/b/1", "a/b/2", "a/b/c/3", "a/bc/4"]
    assert await keys(store, "b/") == []
    assert await keys(store, "") == ["7", "a/b-5", "a/b/1", "a/b/2", "a/b/c/3", "a/bc/4", "ab/6"]
    assert {entry.key: entry.size async for entry in store.list("ab/")} == {"ab/6": 4}
    with pytest.raises(InvalidObjectKey, match="does not end"):
        await keys(store, "a/b")


async def test_many_objects_are_listed_and_deleted(store: ObjectStore) -> None:
    names = [
        f"many/{number % 7}/{number:05}" for number in range(1_050)
    ]  # S3 tells and takes a thousand at a time
    async with asyncio.TaskGroup() as group:
        for start in range(0, len(names), 50):
            group.create_task(put_all(store, names[start : start + 50]))
    assert await keys(store, "many/") == sorted(names)
    await store.delete(iter(names[:1_030]))
    assert await keys(store, "many/") == sorted(names[1_030:])
    await store.delete(names)
    assert await keys(store, "") == []


async def put_all(store: ObjectStore, names: list[str]) -> None:
    for name in names:
        await store.put(name, name.encode())


async def test_many_at_once(store: ObjectStore) -> None:
    async def round_trip(number: int) -> None:
        key, data = f"wal/{number}", os.urandom(100_000 + number)
        await store.put(key, data)
        assert await store.get(key) == data
        await store.delete([key])

    await asyncio.gather(*(round_trip(number) for number in range(40)))
    assert await keys(store, "") == []


async def test_puts_of_one_key_at_once_leave_one_of_them(store: ObjectStore) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    await asyncio.gather(*(store.put("a/archive.json", content) for content in contents))
    assert await store.get("a/archive.json") in contents
    assert await keys(store, "") == ["a/archive.json"]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_keys_that_no_store_takes(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidObjectKey):
        await store.put(key, b"x")
    with pytest.raises(InvalidObjectKey):
        await store.get(key)
    with pytest.raises(InvalidObjectKey):
        await store.size(key)
    with pytest.raises(InvalidObjectKey):
        await store.delete(["fine", key])
    if key:
        with pytest.raises(InvalidObjectKey):
            await keys(store, f"{key}/")
    assert await keys(store, "") == []
