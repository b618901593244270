"""Restores from objects: chains of base backups, moments, generations; damage is named and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import pathlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from stilldb.domain.volumes import RestoreTarget, SnapshotTarget, TimeTarget, VolumeError, VolumeKey
from stilldb.volume.local import LocalVolumes
from stilldb.volume.settings import VolumeSettings
from support.s3 import s3_store
from support.volumes import KEY, state_directory, take, volumes

SECOND = VolumeKey("cluster-SECOND", 1)
THIRD = VolumeKey("cluster-THIRD", 1)
_ALWAYS_DUE = 1 << 60  # an LSN far beyond


@pytest.fixture
def state() -> Iterator[pathlib.Path]:
    with state_directory() as path:
        yield path


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where the archives lie: in the state directory, or in a bucket of a real S3 server."""
    if request.param == "local":
        return {}
    return {"store": s3_store(request.getfixturevalue("endpoint")), "remote": True}


@contextlib.asynccontextmanager
async def connected(opened: LocalVolumes, key: VolumeKey) -> AsyncIterator[asyncpg.Connection]:
    address = await opened.hold(key, "test")
    connection = await asyncpg.connect(
        host=address.host, port=address.port, user=address.user, database=address.database
    )
    try:
        yield connection
    finally:
        await connection.close()


async def fill(connection: asyncpg.Connection, first: int, last: int) -> None:
    await connection.execute(
        "INSERT INTO t SELECT n, repeat(md5(n::text), 20) FROM generate_series($1::int, $2::int) n",
        first,
        last,
    )


async def content(opened: LocalVolumes, key: VolumeKey) -> list[tuple[int, str]]:
    async with connected(opened, key) as connection:
        return [tuple(row) for row in await connection.fetch("SELECT n, md5(x) FROM t ORDER BY n")]


async def moment(connection: asyncpg.Connection) -> datetime.datetime:
    """A moment after everything so far and before everything later."""
    await asyncio.sleep(0.01)
    now: datetime.datetime = await connection.fetchval("SELECT clock_timestamp()")
    await asyncio.sleep(0.01)
    return now


async def archived(opened: LocalVolumes, key: VolumeKey, time: datetime.datetime) -> None:
    """Wait until the moment can be restored to."""
    async with asyncio.timeout(30):
        while (window := await opened.window(key)) is None or window.latest < time:
            await asyncio.sleep(0.05)


async def restore(
    opened: LocalVolumes, key: VolumeKey, target: RestoreTarget, source: VolumeKey = KEY
) -> None:
    told: list[int] = []
    await opened.restore(key, source=source, target=target, kms_key_arn=None, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 100


async def begin(opened: LocalVolumes) -> None:
    await opened.create(KEY, kms_key_arn=None)
    async with connected(opened, KEY) as connection:
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY, x text)")
        await fill(connection, 1, 5000)


def quick() -> VolumeSettings:
    return VolumeSettings(heartbeat_every=0.2)


async def test_a_chain_of_base_backups_is_combined(state: pathlib.Path, store: dict[str, Any]) -> None:
    async with volumes(state, SECOND, settings=quick(), **store) as opened:
        await begin(opened)
        for step in range(1, 4):
            async with connected(opened, KEY) as connection:
                await fill(connection, 5000 * step + 1, 5000 * step + 500)
                await connection.execute("UPDATE t SET x = x || 'changed' WHERE n % 50 = $1", step)
            await opened._care(KEY).back_up(_ALWAYS_DUE, gently=False)
        async with connected(opened, KEY) as connection:
            await connection.execute("DELETE FROM t WHERE n <= 100")
        wanted = await content(opened, KEY)
        await take(opened, "chained")
        manifest = await opened.archive(KEY).manifest("chained")
        assert [base.parent is None for base in manifest.chain] == [True, False, False, False]
        async with connected(opened, KEY) as connection:
            await connection.execute("DROP TABLE t")
        await restore(opened, SECOND, SnapshotTarget("chained"))
        assert await content(opened, SECOND) == wanted
        assert not (opened._of(SECOND).paths.root / "data.draft.parts").exists()
        assert not opened._of(SECOND).paths.recovery_wal.exists()


async def test_moments_of_three_generations(state: pathlib.Path, store: dict[str, Any]) -> None:
    """What was committed before the moment is there, what came after is not; a recovered volume is recovered again."""
    async with volumes(state, SECOND, THIRD, settings=quick(), **store) as opened:
        await begin(opened)
        async with connected(opened, KEY) as connection:
            await fill(connection, 10_001, 10_001)
            between = await moment(connection)
            await fill(connection, 10_002, 10_002)
        await archived(opened, KEY, between)
        await restore(opened, SECOND, TimeTarget(between))
        assert [n for n, _ in await content(opened, SECOND)] == [*range(1, 5001), 10_001]

        await opened.mark(SECOND, "the first base backup comes with it")
        async with connected(opened, SECOND) as connection:
            await fill(connection, 20_001, 20_001)
            between = await moment(connection)
            await fill(connection, 20_002, 20_002)
        await archived(opened, SECOND, between)
        await restore(opened, THIRD, TimeTarget(between), source=SECOND)
        assert [n for n, _ in await content(opened, THIRD)] == [*range(1, 5001), 10_001, 20_001]
        async with connected(opened, THIRD) as connection:
            timeline = await connection.fetchval("SELECT timeline_id FROM pg_control_checkpoint()")
        assert timeline == 3


async def test_the_last_moment_of_an_archive_that_is_closed(
    state: pathlib.Path, store: dict[str, Any]
) -> None:
    """No commit follows it, and PostgreSQL would refuse such a target: all there is belongs to it."""
    async with volumes(state, SECOND, settings=quick(), **store) as opened:
        await begin(opened)
        async with connected(opened, KEY) as connection:
            await fill(connection, 10_001, 10_001)
            now = await moment(connection)
        await archived(opened, KEY, now)
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
        await opened.destroy(KEY, retain_until=until)
        window = await opened.window(KEY)
        assert window is not None
        assert window.latest >= now
        await restore(opened, SECOND, TimeTarget(window.latest))
        assert [n for n, _ in await content(opened, SECOND)] == [*range(1, 5001), 10_001]
        await opened.purge(KEY)


async def test_a_moment_before_every_base_backup_is_refused(
    state: pathlib.Path, store: dict[str, Any]
) -> None:
    async with volumes(state, SECOND, settings=quick(), **store) as opened:
        before = datetime.datetime.now(datetime.UTC)
        await begin(opened)
        with pytest.raises(VolumeError, match="no base backup"):
            await restore(opened, SECOND, TimeTarget(before))
        assert not opened._of(SECOND).paths.root.exists()


@pytest.mark.parametrize("what", ["part", "segment"])
async def test_damage_is_named_and_nothing_is_left(
    state: pathlib.Path, store: dict[str, Any], what: str
) -> None:
    async with volumes(state, SECOND, settings=quick(), **store) as opened:
        await begin(opened)
        await take(opened, "one")
        async with connected(opened, KEY) as connection:
            await connection.execute("SELECT pg_switch_wal()")
        archive = opened.archive(KEY)
        manifest = await archive.manifest("one")
        number, timeline = manifest.segments[0], manifest.point.timeline
        key = archive.keys.part(manifest.base.base_id, 0)
        if what == "segment":
            key = archive.keys.segment(timeline, number)
            await opened.release(KEY, "test")
            async with asyncio.timeout(20):
                while await archive.store.size(key) is None:
                    await asyncio.sleep(0.05)
            for spooled in opened._of(KEY).paths.spool.iterdir():
                spooled.unlink()
        damaged = bytearray(await archive.store.get(key))
        damaged[len(damaged) // 2] ^= 1
        await archive.store.put(key, bytes(damaged))
        with pytest.raises(VolumeError, match=key.rsplit("/", 1)[1]):
            await restore(opened, SECOND, SnapshotTarget("one"))
        assert not opened._of(SECOND).paths.root.exists()
        assert await opened.archive(SECOND).bases() == []


async def test_no_snapshot_needs_more_wal_than_the_limit(state: pathlib.Path) -> None:
    """Base backups come of themselves while 240 MiB are written, so that none of many snapshots replays more than 96 MiB."""
    limit = 96
    async with volumes(state, settings=VolumeSettings.replaying(limit)) as opened:
        await opened.create(KEY, kms_key_arn=None)
        async with connected(opened, KEY) as connection:
            await connection.execute("CREATE TABLE t (n int PRIMARY KEY, x text STORAGE EXTERNAL)")
            for step in range(30):
                await connection.execute(
                    "INSERT INTO t SELECT $1 * 1000 + n, repeat(md5(n::text), 256) FROM generate_series(1, 1000) n",
                    step,
                )
                await take(opened, f"s{step}")
                await asyncio.sleep(0.5)
        manifests = [await opened.archive(KEY).manifest(f"s{step}") for step in range(30)]
        replayed = [manifest.point.lsn - manifest.base.start_lsn for manifest in manifests]
        assert max(replayed) <= limit << 20
        assert len({manifest.base.base_id for manifest in manifests}) > 3
