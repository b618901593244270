"""Restores that are killed, and stores that are slow, away for a moment, or lie: the next attempt is whole, nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from stilldb.domain.volumes import SnapshotTarget, TimeTarget, VolumeError, VolumeKey
from stilldb.util import files, processes
from stilldb.volume import fetch
from stilldb.volume.local import LocalVolumes
from stilldb.volume.objects.faulty import FaultyStore, Operation, Wrong, trouble
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.prefetch import Prefetch
from stilldb.volume.settings import VolumeSettings
from stilldb.volume.unpack import Unpacker
from support.volumes import KEY, become, connected, numbers, restored, state_directory, take, volumes

RESTORED = VolumeKey("cluster-RESTORED", 1)
QUICK = VolumeSettings(heartbeat_every=0.2)
SNAPSHOT = SnapshotTarget("chained")
_ALWAYS_DUE = 1 << 60  # an LSN far beyond
# A control plane that restores the snapshot; with "hang" it gets the first WAL segment and then none.
_RESTORE = """
import asyncio, pathlib, sys
from stilldb.volume.archive import Archive
from test_restore_faults import RESTORED, SNAPSHOT
from support.volumes import open_volumes, restored

async def never(*_):
    await asyncio.Event().wait()

if "hang" in sys.argv:
    Archive.segment = Archive.last_segment = never
asyncio.run(restored(open_volumes(pathlib.Path(sys.argv[1])), RESTORED, SNAPSHOT))
"""


@pytest.fixture
def state() -> Iterator[pathlib.Path]:
    with state_directory() as path:
        yield path


@contextlib.asynccontextmanager
async def snapshot(state: pathlib.Path, **more: Any) -> AsyncIterator[LocalVolumes]:
    """Volumes with a snapshot on a full base backup, two incremental ones and WAL: the numbers from 1 to 400."""
    async with volumes(state, RESTORED, settings=QUICK, **more) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await connected(opened)
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY, x text)")
        for step in range(4):
            await connection.execute(
                "INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series($1::int, $2::int) n",
                100 * step + 1,
                100 * step + 100,
            )
            if step in {1, 2}:
                await opened._care(KEY).back_up(_ALWAYS_DUE, gently=False)
        await take(opened, SNAPSHOT.snapshot_id)
        assert len((await opened.archive(KEY).manifest(SNAPSHOT.snapshot_id)).chain) == 3
        await connection.execute("DROP TABLE t")
        await connection.close()
        yield opened


def restorer(state: pathlib.Path, *arguments: str, failpoints: str = "") -> subprocess.Popen[bytes]:
    """A process that restores the snapshot."""
    here = pathlib.Path(__file__)
    path = [str(here.parent), str(here.parents[2]), *sys.path]
    testing = {"STILLDB_TESTING": "1", "STILLDB_FAILPOINTS": failpoints}
    return subprocess.Popen(
        [sys.executable, "-c", _RESTORE, str(state), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **testing},
    )


def standing_below(root: pathlib.Path) -> list[str]:
    """The commands that run below a directory, removed since or not."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and (processes.working_directory(int(name)) or "").startswith(str(root)):
            with contextlib.suppress(OSError):
                found.append(pathlib.Path("/proc", name, "cmdline").read_text().replace("\0", " "))
    return found


async def require_whole(opened: LocalVolumes) -> None:
    """A restore makes it all the same, and leaves only what a volume has."""
    await restored(opened, RESTORED, SNAPSHOT)
    root = opened._of(RESTORED).paths.root
    assert standing_below(root) == []
    assert sorted(path.name for path in root.iterdir()) == ["data", "volume.json"]
    assert await numbers(opened, RESTORED) == list(range(1, 401))


async def test_killed_at_each_failpoint(state: pathlib.Path) -> None:
    async with snapshot(state) as opened:
        for step in ("fetched", "combined", "copied", "placed", "promoted"):
            process = restorer(state, failpoints=f"restore.{step}=exit")
            assert await asyncio.to_thread(process.wait, 60) == 137, step
            assert not opened._of(RESTORED).paths.complete.exists()
            await require_whole(opened)
            await opened.destroy(RESTORED, retain_until=None)


async def test_killed_while_postgresql_waits_for_wal(state: pathlib.Path) -> None:
    """PostgreSQL and its restore_command outlive the control plane; neither may go on for ever, nor into the next attempt."""
    async with snapshot(state) as opened:
        process = restorer(state, "hang")
        paths = opened._of(RESTORED).paths

        async def waits() -> bool:
            return (paths.recovery_wal / "asked").exists()

        try:
            await become(waits, "PostgreSQL asks for WAL")
        finally:
            process.kill()
            process.wait(10)
        assert standing_below(paths.root), "PostgreSQL is there, and waits"
        await require_whole(opened)


async def test_postgresql_killed_while_it_waits_for_wal(state: pathlib.Path) -> None:
    """Its restore_command has no parent any more: it ends with the directory that it looks into."""
    async with snapshot(state) as opened:
        process = restorer(state, "hang")
        paths, server = opened._of(RESTORED).paths, opened._of(RESTORED).server

        async def waits() -> bool:
            return (paths.recovery_wal / "asked").exists()

        try:
            await become(waits, "PostgreSQL asks for WAL")
            postmaster = server.process()
            assert postmaster is not None
            os.kill(postmaster.pid, signal.SIGKILL)
        finally:
            process.kill()
            process.wait(10)
        await opened.destroy(RESTORED, retain_until=None)

        async def nobody_waits() -> bool:
            return standing_below(paths.root) == []

        await become(nobody_waits, "the waiting command ends")


async def test_what_a_killed_restore_left_running_is_ended_first(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "data.draft"
    parts = fetch.parts_of(target)
    for folder in (target, parts):
        folder.mkdir()
    with subprocess.Popen(["sleep", "600"], cwd=parts) as left:
        await fetch.clear(target)
        assert left.wait(5) == -signal.SIGKILL
    assert not list(tmp_path.iterdir())


async def test_nothing_is_complete_before_it_is_flushed(
    state: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replay runs without fsync: PostgreSQL must have ended and everything been flushed before the volume counts."""
    flush, seen = files.flush_filesystem, []

    async with snapshot(state) as opened:
        volume = opened._of(RESTORED)

        def watched(path: pathlib.Path) -> None:
            if path == volume.paths.root:
                left = sorted(one.name for one in path.iterdir())
                seen.append((volume.server.status(), left))
            flush(path)

        monkeypatch.setattr(files, "flush_filesystem", watched)
        await restored(opened, RESTORED, SNAPSHOT)
        assert seen == [(None, ["data"])]
        connection = await connected(opened, RESTORED)
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW shared_buffers") == "128MB"
        await connection.close()


async def test_a_store_that_is_slow_and_away_for_moments(state: pathlib.Path) -> None:
    store = FaultyStore(MemoryStore())
    async with snapshot(state, store=store, remote=True) as opened:
        away = [
            trouble(Wrong.UNAVAILABLE, Operation.GET, keys=keys, after=after, times=2)
            for keys in ("*/base/*", "*/tail", "*/manifest.json")
            for after in (0, 3)
        ]
        slow = trouble(Wrong.SLOW, Operation.GET, times=None, seconds=0.1)
        store.script = [*away, slow]
        await restored(opened, RESTORED, SNAPSHOT)
        assert sum(line.struck for line in away) >= 6
        store.script = []
        assert await numbers(opened, RESTORED) == list(range(1, 401))


async def test_a_store_that_lies_or_lost_something(state: pathlib.Path) -> None:
    """The object is named, and nothing of the volume is left; the store is believed again when it tells the truth."""
    store = FaultyStore(MemoryStore())
    async with snapshot(state, store=store, remote=True) as opened:
        keys = opened.archive(KEY).keys
        first, middle, _ = (await opened.archive(KEY).manifest(SNAPSHOT.snapshot_id)).chain
        part, other = keys.part(middle.base_id, 0), keys.part(first.base_id, 0)
        tail, description = keys.tail(SNAPSHOT.snapshot_id), keys.base(middle.base_id)
        for wrong, key, named in (
            (Wrong.TRUNCATED, part, part),
            (Wrong.FLIPPED, part, part),
            (Wrong.OTHERS, part, part),
            (None, part, part),
            (Wrong.TRUNCATED, tail, tail),
            (Wrong.FLIPPED, tail, tail),
            (Wrong.OTHERS, tail, tail),
            (None, tail, tail),
            (Wrong.TRUNCATED, description, "a base backup is damaged"),
            (Wrong.FLIPPED, description, "a base backup is damaged"),
            (None, description, middle.base_id),
        ):
            content = await store.inner.get(key)
            if wrong is None:
                await store.inner.delete([key])
            else:
                store.script = [trouble(wrong, Operation.GET, keys=key, times=None, other=other)]
            with pytest.raises(VolumeError, match=named):
                await restored(opened, RESTORED, SNAPSHOT)
            assert not opened._of(RESTORED).paths.root.exists(), (wrong, key)
            assert standing_below(opened._of(RESTORED).paths.root) == []
            store.script = []
            await store.inner.put(key, content)
        await require_whole(opened)


async def test_a_disk_without_room_is_told_before_anything_is_fetched(
    state: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FaultyStore(MemoryStore())
    async with snapshot(state, store=store, remote=True) as opened:
        chain = (await opened.archive(KEY).manifest(SNAPSHOT.snapshot_id)).chain
        needed = sum(base.size for base in chain)
        usage = shutil.disk_usage(state)
        window = await opened.window(KEY)
        assert window is not None
        store.calls.clear()
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "disk_usage", lambda _: usage._replace(free=(256 << 20) + needed))
            for target in (SNAPSHOT, TimeTarget(window.latest)):
                with pytest.raises(VolumeError, match=r"the disk of .* has \d+ MiB free; this needs \d+ MiB"):
                    await restored(opened, RESTORED, target)
        parts = {opened.archive(KEY).keys.part(base.base_id, 0) for base in chain}
        assert not parts & {key for operation, key in store.calls if operation is Operation.GET}
        assert not opened._of(RESTORED).paths.root.exists()
        await require_whole(opened)


@pytest.mark.parametrize("writing", [(Unpacker, "feed"), (Prefetch, "_write")], ids=["data", "WAL"])
async def test_a_disk_that_fills_up_meanwhile(
    state: pathlib.Path, monkeypatch: pytest.MonkeyPatch, writing: tuple[type, str]
) -> None:
    async with snapshot(state) as opened:
        kind, method = writing
        write = getattr(kind, method)
        room = 1

        def full(*arguments: Any) -> None:
            nonlocal room
            room -= 1
            if room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a file")
            write(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(kind, method, full)
            with pytest.raises(VolumeError, match="No space left on device"):
                await restored(opened, RESTORED, SNAPSHOT)
        paths = opened._of(RESTORED).paths
        assert not paths.root.exists()
        assert standing_below(paths.root) == []
        await require_whole(opened)


async def test_the_end_of_an_archive_is_reached_with_what_was_fetched(state: pathlib.Path) -> None:
    """No commit follows its last moment: PostgreSQL goes on with the same data and WAL, nothing is fetched twice."""
    store = FaultyStore(MemoryStore())
    async with volumes(state, RESTORED, settings=QUICK, store=store, remote=True) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await connected(opened)
        await connection.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
        await connection.close()
        await opened.destroy(
            KEY, retain_until=datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
        )
        window = await opened.window(KEY)
        assert window is not None
        store.calls.clear()
        await restored(opened, RESTORED, TimeTarget(window.latest))
        parts = [key for operation, key in store.calls if operation is Operation.GET and "/base/" in key]
        assert len(parts) == len(set(parts)) > 0
        assert await numbers(opened, RESTORED) == list(range(1, 11))
        await opened.purge(KEY)
