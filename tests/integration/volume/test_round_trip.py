"""A real volume: create, write, snapshot, write on, restore: exactly the state at the restore point."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Iterator

import asyncpg
import pytest

from stilldb.domain.volumes import PostgresAddress, SnapshotTarget, VolumeKey, VolumeState
from stilldb.volume.local import LocalVolumes
from support.volumes import KEY, state_directory, take, volumes

RESTORED = VolumeKey("cluster-RESTORED", 1)


@pytest.fixture
def state() -> Iterator[pathlib.Path]:
    with state_directory() as path:
        yield path


async def connect(address: PostgresAddress) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=address.host, port=address.port, user=address.user, database=address.database
    )


async def restore(opened: LocalVolumes, key: VolumeKey, snapshot_id: str) -> list[int]:
    told: list[int] = []
    await opened.restore(
        key, source=KEY, target=SnapshotTarget(snapshot_id), kms_key_arn=None, progress=told.append
    )
    assert told == sorted(told)
    assert told[-1] == 100
    return told


async def numbers(opened: LocalVolumes, key: VolumeKey) -> list[int]:
    connection = await connect(await opened.hold(key, "test"))
    rows = await connection.fetch("SELECT n FROM t ORDER BY n")
    await connection.close()
    return [row["n"] for row in rows]


async def test_restore_gives_the_state_at_the_point_while_a_writer_runs(state: pathlib.Path) -> None:
    async with volumes(state, RESTORED) as opened:
        assert await opened.observe(KEY) is VolumeState.ABSENT
        await opened.create(KEY, kms_key_arn=None)
        assert await opened.observe(KEY) is VolumeState.STOPPED
        address = await opened.hold(KEY, "test")
        assert await opened.observe(KEY) is VolumeState.RUNNING
        connection = await connect(address)
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY)")
        acknowledged = 0
        stop = asyncio.Event()

        async def write() -> None:
            nonlocal acknowledged
            while not stop.is_set():
                await connection.execute("INSERT INTO t VALUES ($1)", acknowledged + 1)
                acknowledged += 1

        writer = asyncio.create_task(write())
        while acknowledged < 50:
            await asyncio.sleep(0.01)
        before = acknowledged
        await take(opened, "one")
        after = acknowledged + 1  # one more may have been on its way
        while acknowledged < after + 50:
            await asyncio.sleep(0.01)
        stop.set()
        await writer
        await connection.close()
        await restore(opened, RESTORED, "one")
        found = await numbers(opened, RESTORED)
        assert found == list(range(1, len(found) + 1))
        assert before <= len(found) <= after
        # The restored volume is one of its own: it can be written to and snapshotted, and the source is untouched.
        connection = await connect(await opened.hold(RESTORED, "test"))
        await connection.execute("INSERT INTO t VALUES (100000)")
        await connection.close()
        await take(opened, "of-the-restored", RESTORED)
        assert len(await numbers(opened, KEY)) == acknowledged


async def test_two_restores_of_one_snapshot_at_once(state: pathlib.Path) -> None:
    other = VolumeKey("cluster-OTHER", 1)
    async with volumes(state, RESTORED, other) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await connect(await opened.hold(KEY, "test"))
        await connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
        await connection.close()
        await take(opened, "one")
        await asyncio.gather(restore(opened, RESTORED, "one"), restore(opened, other, "one"))
        assert await numbers(opened, RESTORED) == await numbers(opened, other) == list(range(1, 1001))


async def test_a_snapshot_outlives_its_volume_and_frees_its_space_when_it_goes(state: pathlib.Path) -> None:
    async with volumes(state, RESTORED) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await connect(await opened.hold(KEY, "test"))
        await connection.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
        await connection.close()
        await take(opened, "one")
        await opened.destroy(KEY, retain_until=None)
        assert await opened.observe(KEY) is VolumeState.ABSENT
        await restore(opened, RESTORED, "one")
        assert await numbers(opened, RESTORED) == list(range(1, 11))
        freed = await opened.forget(KEY, "one")
        assert freed > 500_000
        assert not (state / "archive" / KEY.resource_id).exists()
        assert await opened.forget(KEY, "one") == 0
