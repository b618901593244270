"""Clones that share blocks with a running or stopped volume, on an XFS of their own; the refusal wherever blocks can't be shared.

The file system is a file on a loop device, which only root can mount; elsewhere these tests are skipped, but for the refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from stilldb.domain.volumes import SnapshotTarget, VolumeError, VolumeKey, VolumeState
from stilldb.volume.keyring import LocalKeyring
from stilldb.volume.local import LocalVolumes
from support.volumes import KEY, become, connected, numbers, restored, state_directory, take, volumes

CLONE = VolumeKey("cluster-CLONE", 1)
SECOND = VolumeKey("cluster-SECOND", 1)
_SIZE = 3 << 30  # bytes, of a sparse file
_KILLED = 137
_POINTS = ("clone.linked", "clone.placed")
_OWN = 100 << 20  # bytes: more than a new volume needs for WAL of its own, less than the data of these tests


def mounted(state: pathlib.Path, image: pathlib.Path, kind: str) -> contextlib.ExitStack:
    """A file system of this kind over ``state`` until the stack is closed; skips, saying why, where that can't be."""
    make = shutil.which(f"mkfs.{kind}", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    if make is None:
        pytest.skip(f"mkfs.{kind} is not installed")
    with image.open("wb") as file:
        file.truncate(_SIZE)
    options = ["-m", "reflink=1"] if kind == "xfs" else []
    subprocess.run([make, "-q", *options, image], check=True, capture_output=True)
    done = subprocess.run(["mount", "-o", "loop", image, state], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a file system can't be mounted here: {done.stderr.strip()}")
    stack = contextlib.ExitStack()
    stack.callback(subprocess.run, ["umount", state], check=True)
    state.chmod(0o755)
    return stack


@pytest.fixture
def sharing() -> Iterator[pathlib.Path]:
    """A state directory on a file system that shares blocks."""
    with (
        tempfile.TemporaryDirectory(prefix="stilldb-image-") as folder,
        state_directory() as state,
        mounted(state, pathlib.Path(folder) / "image", "xfs"),
    ):
        yield state


@pytest.fixture
def plain() -> Iterator[pathlib.Path]:
    """A state directory on a file system that does not: ext4."""
    with (
        tempfile.TemporaryDirectory(prefix="stilldb-image-") as folder,
        state_directory() as state,
        mounted(state, pathlib.Path(folder) / "image", "ext4"),
    ):
        yield state


async def fill(opened: LocalVolumes, first: int, last: int, key: VolumeKey = KEY) -> None:
    connection = await connected(opened, key)
    await connection.execute(
        "INSERT INTO t SELECT n, repeat(md5(n::text), 60) FROM generate_series($1::int, $2::int) n",
        first,
        last,
    )
    await connection.close()


async def begin(opened: LocalVolumes, count: int) -> None:
    await opened.create(KEY, kms_key_arn=None)
    connection = await connected(opened)
    await connection.execute("CREATE TABLE t (n int PRIMARY KEY, x text)")
    await connection.close()
    await fill(opened, 1, count)


async def clone(opened: LocalVolumes, key: VolumeKey = CLONE, source: VolumeKey = KEY) -> None:
    told: list[int] = []
    await opened.clone(key, source=source, kms_key_arn=None, progress=told.append)
    assert told == sorted(set(told))
    assert told[-1] == 100


async def used(state: pathlib.Path, opened: LocalVolumes) -> int:
    """Bytes that the file system has in use, when everything is written and nothing moves from the spool to the store."""

    async def shipped() -> bool:
        return (await opened.archive_state(KEY)).lag_segments == 0

    await become(shipped, "the store has what the spool had")
    await asyncio.to_thread(os.sync)
    return shutil.disk_usage(state).used


async def test_a_clone_of_a_running_volume(sharing: pathlib.Path) -> None:
    """It is equal to the source at the clone point, takes little room, and from there on each goes its own way."""
    async with volumes(sharing, CLONE, SECOND) as opened:
        await begin(opened, 60_000)
        size = sum(path.stat().st_size for path in opened._of(KEY).paths.data.rglob("base/*/*"))
        before = await used(sharing, opened)
        await clone(opened)
        assert await used(sharing, opened) - before < _OWN < size, "the data was copied"
        assert await numbers(opened, CLONE) == await numbers(opened) == [*range(1, 60_001)]

        await fill(opened, 60_001, 60_010)
        await fill(opened, 70_001, 70_010, CLONE)
        assert await numbers(opened) == [*range(1, 60_011)]
        assert await numbers(opened, CLONE) == [*range(1, 60_001), *range(70_001, 70_011)]

        await take(opened, "of-the-clone", CLONE)
        await restored(opened, SECOND, SnapshotTarget("of-the-clone"), CLONE)
        assert await numbers(opened, SECOND) == await numbers(opened, CLONE)
        await opened.destroy(KEY, retain_until=None)
        assert len(await numbers(opened, CLONE)) == 60_010
        assert not opened._of(CLONE).paths.recovery_wal.exists()


async def test_the_source_writes_on_meanwhile(sharing: pathlib.Path) -> None:
    """A clone has every commit up to its point, and none with a hole before it."""
    async with volumes(sharing, CLONE) as opened:
        await begin(opened, 5000)
        writer = await connected(opened, KEY, "writer")
        committed, stop = 5000, False

        async def write() -> None:
            nonlocal committed
            while not stop:
                await writer.execute("INSERT INTO t VALUES ($1, repeat('x', 3000))", committed + 1)
                committed += 1
                if committed % 100 == 0:  # files come and go, and the log moves from segment to segment
                    await writer.execute("DROP TABLE IF EXISTS u")
                    await writer.execute("CREATE TABLE u AS SELECT * FROM t LIMIT 1000")

        writing = asyncio.create_task(write())
        try:
            await asyncio.sleep(0.5)
            first = committed
            await clone(opened)
            last = committed
        finally:
            stop = True
            await writing
            await writer.close()
        found = await numbers(opened, CLONE)
        assert found == [*range(1, len(found) + 1)]
        assert first <= len(found) <= last
        assert first < last, "the source stood still"
        assert await numbers(opened) == [*range(1, committed + 1)]


async def test_a_clone_of_a_stopped_volume(sharing: pathlib.Path) -> None:
    async with volumes(sharing, CLONE, SECOND) as opened:
        await begin(opened, 60_000)
        await opened.release(KEY, "test")
        assert await opened.observe(KEY) is VolumeState.STOPPED
        before = await used(sharing, opened)
        await clone(opened)
        assert await used(sharing, opened) - before < _OWN, "the data was copied"
        assert await opened.observe(KEY) is VolumeState.STOPPED, "the source was started"
        assert await opened.observe(CLONE) is VolumeState.STOPPED
        await fill(opened, 60_001, 60_010, CLONE)
        assert await numbers(opened) == [*range(1, 60_001)]
        assert await numbers(opened, CLONE) == [*range(1, 60_011)]
        await take(opened, "of-the-clone", CLONE)
        await restored(opened, SECOND, SnapshotTarget("of-the-clone"), CLONE)
        assert await numbers(opened, SECOND) == [*range(1, 60_011)]


async def test_a_clone_of_a_clone(sharing: pathlib.Path) -> None:
    """The second is recovered on the timeline that the first one was promoted to, out of an archive without base backups."""
    async with volumes(sharing, CLONE, SECOND) as opened:
        await begin(opened, 100)
        await clone(opened)
        await fill(opened, 101, 110, CLONE)
        await clone(opened, SECOND, CLONE)
        assert await numbers(opened, SECOND) == [*range(1, 111)]
        await fill(opened, 111, 111, SECOND)
        assert await opened.archive(CLONE).bases() == []


async def test_a_clone_of_an_encrypted_volume(sharing: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The archive of the clone is under a key of its own."""
    ring = LocalKeyring(tmp_path / "keys", "123456789012", "eu-west-1")
    theirs, ours = await ring.create("alias/theirs"), await ring.create("alias/ours")
    async with volumes(sharing, CLONE, SECOND, kms=ring) as opened:
        await opened.create(KEY, kms_key_arn=theirs.arn)
        connection = await connected(opened)
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY, x text)")
        await connection.close()
        await fill(opened, 1, 100)
        await opened.clone(CLONE, source=KEY, kms_key_arn=ours.arn, progress=lambda _: None)
        assert await numbers(opened, CLONE) == [*range(1, 101)]
        keys = (await opened.archive(CLONE).record()).keys
        assert [key.kms_key_arn for key in keys] == [ours.arn]


async def test_a_volume_whose_archive_has_a_gap_is_not_cloned(sharing: pathlib.Path) -> None:
    async with volumes(sharing, CLONE) as opened:
        await begin(opened, 100)
        for task in opened._of(KEY).tasks:  # nobody mends it
            task.cancel()
        opened._of(KEY).open_gap("the store was away")
        with pytest.raises(VolumeError, match=r"lacks WAL .the store was away.: it is cloned when"):
            await opened.clone(CLONE, source=KEY, kms_key_arn=None, progress=lambda _: None)
        await refused(opened)


_ATTEMPT = """
import asyncio, pathlib, sys
from support.volumes import KEY, open_volumes
from stilldb.domain.volumes import VolumeKey
opened = open_volumes(pathlib.Path(sys.argv[1]))
asyncio.run(opened.clone(VolumeKey("cluster-CLONE", 1), source=KEY, kms_key_arn=None, progress=lambda _: None))
"""


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("point", _POINTS)
async def test_a_clone_that_was_killed_is_made_again(
    sharing: pathlib.Path, point: str, running: bool
) -> None:
    async with volumes(sharing, CLONE) as opened:
        await begin(opened, 100)
        if not running:
            await opened.release(KEY, "test")
        environment = {
            **os.environ,
            "PYTHONPATH": str(pathlib.Path(__file__).parents[2]),
            "STILLDB_TESTING": "1",
            "STILLDB_FAILPOINTS": f"{point}=exit",
        }
        killed = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", _ATTEMPT, sharing], env=environment, check=False
        )
        assert killed.returncode == _KILLED
        assert await opened.observe(CLONE) is VolumeState.ABSENT
        if running:
            await fill(opened, 101, 110)
        await clone(opened)
        assert await numbers(opened, CLONE) == await numbers(opened)
        assert len(await numbers(opened)) == (110 if running else 100)


@pytest.mark.parametrize("point", _POINTS)
async def test_a_clone_that_fails_leaves_nothing(
    sharing: pathlib.Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with volumes(sharing, CLONE) as opened:
        await begin(opened, 100)
        monkeypatch.setenv("STILLDB_TESTING", "1")
        monkeypatch.setenv("STILLDB_FAILPOINTS", f"{point}=error")
        with pytest.raises(RuntimeError, match=point):
            await clone(opened)
        assert not opened._of(CLONE).paths.root.exists()
        assert CLONE not in await opened.archives()
        monkeypatch.delenv("STILLDB_FAILPOINTS")
        await fill(opened, 101, 101)
        await clone(opened)
        assert await numbers(opened, CLONE) == [*range(1, 102)]


async def test_where_blocks_cant_be_shared_it_says_so(plain: pathlib.Path) -> None:
    async with volumes(plain, CLONE) as opened:
        await begin(opened, 100)
        with pytest.raises(VolumeError, match=rf"{plain} can't share blocks.*RestoreType full-copy.*XFS"):
            await opened.clone(CLONE, source=KEY, kms_key_arn=None, progress=lambda _: None)
        await refused(opened)


async def test_the_refusal_wherever_the_tests_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that says it can't, on any file system: nothing has been made, and nothing is left."""
    with state_directory() as state:
        async with volumes(state, CLONE) as opened:
            await begin(opened, 100)
            monkeypatch.setattr("stilldb.util.files._FICLONE", 0)  # no such ioctl: ENOTTY
            with pytest.raises(VolumeError, match=rf"{state} can't share blocks.*RestoreType full-copy.*XFS"):
                await opened.clone(CLONE, source=KEY, kms_key_arn=None, progress=lambda _: None)
            await refused(opened)


async def refused(opened: LocalVolumes) -> None:
    assert not opened._of(CLONE).paths.root.exists()
    assert CLONE not in await opened.archives()
    assert await numbers(opened) == [*range(1, 101)]


async def test_a_source_that_is_not_there(sharing: pathlib.Path) -> None:
    async with volumes(sharing, CLONE) as opened:
        with pytest.raises(VolumeError, match="is not there"):
            await opened.clone(CLONE, source=KEY, kms_key_arn=None, progress=lambda _: None)
        assert not opened._of(CLONE).paths.root.exists()


async def test_a_directory_that_cant_be_read_is_not_taken_for_an_empty_one(
    sharing: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def broken(path: str | int) -> object:
        if isinstance(path, str) and path.endswith("/data/base"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return scandir(path)

    async with volumes(sharing, CLONE) as opened:
        await begin(opened, 100)
        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", broken)
            with pytest.raises(VolumeError, match=r"could not be cloned.*Input/output error"):
                await opened.clone(CLONE, source=KEY, kms_key_arn=None, progress=lambda _: None)
        await clone(opened)
        assert await numbers(opened, CLONE) == [*range(1, 101)]
