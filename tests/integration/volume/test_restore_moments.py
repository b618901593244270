"""Recovery to a moment on real volumes: of the commits before and after it, whatever base backups lie between."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import pathlib
from collections.abc import Iterator

import asyncpg
import pytest

from stilldb.domain.volumes import TimeTarget, VolumeError, VolumeKey
from stilldb.postgres import Server, programs
from stilldb.volume.layout import Layout
from stilldb.volume.local import LocalVolumes
from stilldb.volume.objects.faulty import FaultyStore, Operation
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.settings import VolumeSettings
from support.volumes import KEY, become, connected, numbers, restored, state_directory, volumes

RESTORED = VolumeKey("cluster-RESTORED", 1)
QUICK = VolumeSettings(heartbeat_every=0.2)
_ALWAYS_DUE = 1 << 60  # an LSN far beyond


@pytest.fixture
def state() -> Iterator[pathlib.Path]:
    with state_directory() as path:
        yield path


async def moment_after(connection: asyncpg.Connection, number: int) -> datetime.datetime:
    """Commit a number; a moment between this commit and the next, by the database's clock."""
    await connection.execute("INSERT INTO t VALUES ($1)", number)
    await asyncio.sleep(0.005)
    now: datetime.datetime = await connection.fetchval("SELECT clock_timestamp()")
    await asyncio.sleep(0.005)
    return now


async def back_up(opened: LocalVolumes) -> None:
    await opened._care(KEY).back_up(_ALWAYS_DUE, gently=False)


async def archived(opened: LocalVolumes, moment: datetime.datetime) -> None:
    async def reached() -> bool:
        window = await opened.window(KEY)
        return window is not None and window.latest >= moment

    await become(reached, "the moment is archived")


async def test_each_moment_is_exact_whatever_base_backup_it_stands_on(state: pathlib.Path) -> None:
    """A commit a moment, a base backup after some; a later commit that was rolled back is no commit."""
    async with volumes(state, RESTORED, settings=QUICK) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await connected(opened)
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY)")
        moments = []
        for number in range(1, 13):
            moments.append(await moment_after(connection, number))
            if number in {4, 8}:
                await back_up(opened)
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (99)")
            open_meanwhile = await connection.fetchval("SELECT clock_timestamp()")
            await asyncio.sleep(0.01)
        await archived(opened, open_meanwhile)
        chosen = {2: moments[1], 4: moments[3], 5: moments[4], 9: moments[8], 12: moments[11]}
        for until, moment in (*chosen.items(), (12, open_meanwhile)):
            await restored(opened, RESTORED, TimeTarget(moment))
            assert await numbers(opened, RESTORED) == list(range(1, until + 1)), until
            await opened.destroy(RESTORED, retain_until=None)
        await connection.close()


async def test_a_base_backup_that_ended_later_than_its_clock_says(state: pathlib.Path) -> None:
    """The service's clock was behind the database's: PostgreSQL refuses that base backup, and the one before serves."""
    store = FaultyStore(MemoryStore())
    async with volumes(state, RESTORED, settings=QUICK, store=store) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await connected(opened)
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY)")
        moment = await moment_after(connection, 1)
        # Commits go on while it is taken, so that replay meets one before the backup's end.
        taking = asyncio.create_task(back_up(opened))
        number = 1
        while not taking.done():
            number += 1
            await connection.execute("INSERT INTO t VALUES ($1)", number)
        await taking
        await connection.close()
        await archived(opened, moment)
        archive = opened.archive(KEY)
        first, second = await archive.bases()
        assert archive._index.bases is not None
        archive._index.bases[second.base_id] = dataclasses.replace(second, finished_at=first.finished_at)
        store.calls.clear()
        await restored(opened, RESTORED, TimeTarget(moment))
        assert await numbers(opened, RESTORED) == [1]
        read = [key for operation, key in store.calls if operation is Operation.GET]
        tried = archive.keys.part(second.base_id, 0)
        assert tried in read
        assert archive.keys.part(first.base_id, 0) in read[read.index(tried) :]


async def test_a_server_that_ends_as_it_starts_is_not_waited_for(state: pathlib.Path) -> None:
    layout = Layout(state, None)
    layout.prepare()
    server = Server(
        data=state / "nothing",
        sockets=layout.sockets("none"),
        log=layout.log("none"),
        programs=programs.locate(None, layout.programs, None),
    )
    async with asyncio.timeout(1.5):
        with pytest.raises(VolumeError, match="did not start"):
            await server.start()
