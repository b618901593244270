"""The local store on a real disk: killed while it writes, full, unmounted."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from stilldb.volume.container import unseal
from stilldb.volume.objects.local import LocalStore
from stilldb.volume.objects.store import ObjectMissing, StoreFull, StoreUnavailable, retried

# Puts objects without end, and says which ones are durable.
WRITER = """
import asyncio, hashlib, pathlib, sys
from stilldb.volume.container import seal
from stilldb.volume.objects.local import LocalStore

async def write(store, writer):
    for number in range(1_000_000):
        key = f"volume/{writer}/{number % 5}"
        await store.put(key, seal(key, hashlib.shake_256(str(number).encode()).digest(400_000), key=None))
        print(key, number, flush=True)

async def main():
    store = LocalStore(pathlib.Path(sys.argv[1]))
    await asyncio.gather(*(write(store, writer) for writer in range(3)))

asyncio.run(main())
"""


def content(number: int) -> bytes:
    return hashlib.shake_256(str(number).encode()).digest(400_000)


async def test_a_put_that_is_killed_leaves_the_old_object_or_the_new_one_whole(
    tmp_path: pathlib.Path,
) -> None:
    root = tmp_path / "archive"
    for attempt in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, root], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told = [writer.stdout.readline() for _ in range(20)]
            time.sleep(0.003 * attempt)  # another moment of a put
            writer.kill()
            told += writer.stdout.readlines()
        acknowledged = {
            key: int(number) for key, number in (line.split() for line in told if line.endswith("\n"))
        }
        store = LocalStore(root)
        found = {
            entry.key: unseal(entry.key, await store.get(entry.key), keys=None)
            async for entry in store.list("")
        }
        for key, number in acknowledged.items():
            assert found[key] in (content(number), content(number + 5))
        await store.delete(found)
        for left in (root / "~incoming").iterdir():
            os.utime(left, (1, 1))
        LocalStore(root)
        assert os.listdir(root) == ["~incoming"]
        assert os.listdir(root / "~incoming") == []


@pytest.fixture
def small(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of 4 MB; skipped where only root could mount one."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "stilldb-test", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a file system can't be mounted here: {done.stderr.strip()}")
    try:
        yield tmp_path
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "-l", tmp_path], check=True, capture_output=True)


async def test_a_full_disk_says_so_and_nothing_is_half_there(small: pathlib.Path) -> None:
    store = LocalStore(small)
    await store.put("a/1", b"1" * (1 << 20))
    free = await store.free_space()
    assert free is not None
    assert 2 << 20 < free < 4 << 20
    with pytest.raises(StoreFull, match=r"a/2.*Make room"):
        await store.put("a/2", b"2" * (5 << 20))
    assert [entry.key async for entry in store.list("")] == ["a/1"]
    assert await store.free_space() == free

    await store.put("a/3", b"3" * (2 << 20))

    async def make_room() -> None:
        await asyncio.sleep(0.2)
        await store.delete(["a/1", "a/3"])

    clearing = asyncio.create_task(make_room())
    await retried(lambda: store.put("a/2", b"2" * (3 << 20)), within=30, first=0.05)
    await clearing
    assert await store.get("a/2") == b"2" * (3 << 20)


async def test_an_unmounted_store_is_not_an_empty_one(small: pathlib.Path) -> None:
    store = LocalStore(small)
    await store.put("a/1", b"1")
    subprocess.run(["umount", "-l", small], check=True)
    with pytest.raises(StoreUnavailable, match="mounted") as raised:
        await store.get("a/1")
    assert not isinstance(raised.value, ObjectMissing)
    with pytest.raises(StoreUnavailable, match="mounted"):
        await store.put("a/2", b"2")
    assert list(small.iterdir()) == [], "nothing is written below the mount point"
