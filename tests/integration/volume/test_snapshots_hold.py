"""Snapshots under load hold exactly what was acknowledged before, and need, keep and free exactly what they must."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import pathlib
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from stilldb.domain.volumes import PostgresAddress, SnapshotTarget, VolumeKey
from stilldb.volume import schedule
from stilldb.volume.local import LocalVolumes
from stilldb.volume.settings import VolumeSettings
from support.volumes import DAY, KEY, state_directory, take, volumes

OFTEN = VolumeSettings(base_after_bytes=8 << 20)
NOTHING_RETAINED = datetime.timedelta(0)


@pytest.fixture
def state() -> Iterator[pathlib.Path]:
    with state_directory() as path:
        yield path


def key(name: str) -> VolumeKey:
    return VolumeKey(f"cluster-{name}", 1)


async def connect(address: PostgresAddress) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=address.host, port=address.port, user=address.user, database=address.database
    )


async def restored(
    opened: LocalVolumes, snapshot_id: str, into: VolumeKey, source: VolumeKey = KEY
) -> list[int]:
    """The numbers in a restored volume, which is stopped again."""
    await opened.restore(
        into, source=source, target=SnapshotTarget(snapshot_id), kms_key_arn=None, progress=lambda _: None
    )
    return await numbers(opened, into)


async def new_base(opened: LocalVolumes, retention: datetime.timedelta = DAY) -> None:
    """See that one more base backup is taken, if nobody else is taking it."""
    before = {base.base_id for base in await opened.archive(KEY).bases()}
    async with asyncio.timeout(60):
        while {base.base_id for base in await opened.archive(KEY).bases()} <= before:
            await opened.maintain(KEY, retention=retention)
            await asyncio.sleep(0.02)


async def numbers(opened: LocalVolumes, of: VolumeKey) -> list[int]:
    connection = await connect(await opened.hold(of, "look"))
    rows = await connection.fetch("SELECT n FROM t ORDER BY n")
    await connection.close()
    await opened.release(of, "look")
    return [row["n"] for row in rows]


class Writer:
    """Inserts 1, 2, 3, … with some ballast, and knows what was acknowledged."""

    def __init__(self, connection: asyncpg.Connection, ballast: int) -> None:
        self.acknowledged = 0
        self._connection = connection
        self._ballast = "x" * ballast

    async def run(self) -> None:
        while True:
            await self._connection.execute(
                "INSERT INTO t VALUES ($1, $2)", self.acknowledged + 1, self._ballast
            )
            self.acknowledged += 1

    async def reaches(self, number: int) -> None:
        async with asyncio.timeout(60):
            while self.acknowledged < number:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def writing(opened: LocalVolumes, ballast: int = 100) -> AsyncIterator[Writer]:
    await opened.create(KEY, kms_key_arn=None)
    connection = await connect(await opened.hold(KEY, "writer"))
    await connection.execute("CREATE TABLE t (n int PRIMARY KEY, ballast text)")
    # Not compressed, so that the ballast fills the WAL.
    await connection.execute("ALTER TABLE t ALTER ballast SET STORAGE EXTERNAL")
    writer = Writer(connection, ballast)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncpg.PostgresError):
            await task
        connection.terminate()


async def test_two_snapshots_in_one_segment_and_a_restore_while_the_source_writes(
    state: pathlib.Path,
) -> None:
    one, two = key("ONE"), key("TWO")
    async with volumes(state, one, two) as opened, writing(opened) as writer:
        await writer.reaches(30)
        windows = []
        for name in ("one", "two"):
            before = writer.acknowledged
            await take(opened, name)
            windows.append((before, writer.acknowledged + 1))
            await writer.reaches(writer.acknowledged + 20)
        points = [await opened.archive(KEY).manifest(name) for name in ("one", "two")]
        assert points[0].segments[-1] == points[1].segments[-1], "both lie in one segment"
        running = writer.acknowledged
        for name, target, (low, high) in zip(("one", "two"), (one, two), windows, strict=True):
            found = await restored(opened, name, target)
            assert found == list(range(1, len(found) + 1))
            assert low <= len(found) <= high
        assert writer.acknowledged > running, "the source wrote on while it was restored from"


async def test_a_snapshot_of_a_restored_volume_of_a_restored_volume(state: pathlib.Path) -> None:
    child, grandchild = key("CHILD"), key("GRANDCHILD")
    async with volumes(state, child, grandchild) as opened:
        async with writing(opened) as writer:
            await writer.reaches(20)
            await take(opened, "first")
        first = await restored(opened, "first", child)
        connection = await connect(await opened.hold(child, "test"))
        await connection.execute("INSERT INTO t VALUES (100000, '')")
        await take(opened, "second", child)
        await connection.execute("INSERT INTO t VALUES (100001, '')")
        await connection.close()
        assert await restored(opened, "second", grandchild, source=child) == [*first, 100000]
        identifiers = set()
        for volume in (KEY, child, grandchild):
            connection = await connect(await opened.hold(volume, "test"))
            identifiers.add(await connection.fetchval("SELECT timeline_id FROM pg_control_checkpoint()"))
            await connection.close()
        assert identifiers == {1, 2, 3}, "each restore is a timeline of its own"


async def test_snapshots_across_base_backups_restore_from_the_newest_before_them(state: pathlib.Path) -> None:
    async with volumes(state, *(key(str(n)) for n in range(3)), settings=OFTEN) as opened:
        held: list[int] = []
        async with writing(opened, ballast=20_000) as writer:
            for n in range(3):
                await writer.reaches((n + 1) * 600)
                await new_base(opened)  # some 12 MB of WAL later: one is due
                before = writer.acknowledged
                await take(opened, f"s{n}")
                held.append(before)
        archive = opened.archive(KEY)
        bases = [(await archive.manifest(f"s{n}")).base.base_id for n in range(3)]
        assert len(set(bases)) == 3, "each snapshot leans on a base backup of its own"
        for n in range(3):
            found = await restored(opened, f"s{n}", key(str(n)))
            assert found == list(range(1, len(found) + 1))
            assert held[n] <= len(found)


async def test_deleting_a_snapshot_frees_what_only_it_needed(
    state: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "LONGEST_CHAIN", 1)  # full ones: an incremental one would pin its parent
    async with volumes(state, key("NEW"), settings=OFTEN) as opened:
        async with writing(opened, ballast=20_000) as writer:
            for n in range(3):
                await writer.reaches((n + 1) * 600)
                await new_base(opened, retention=NOTHING_RETAINED)
                await take(opened, f"s{n}")
        await opened.release(KEY, "writer")  # nothing is shipped any more
        archive = opened.archive(KEY)
        needed = {n: await archive.manifest(f"s{n}") for n in range(3)}
        space = occupied(state / "archive" / KEY.prefix)
        freed = await opened.forget(KEY, "s1")
        assert freed > 500_000
        assert occupied(state / "archive" / KEY.prefix) <= space - freed
        left = {base.base_id for base in await archive.bases()}
        assert needed[1].base.base_id not in left
        assert {needed[0].base.base_id, needed[2].base.base_id} <= left
        assert await restored(opened, "s0", key("NEW"))
        await opened.forget(KEY, "s0")
        assert len(await archive.bases()) == 1, "the newest stays for the snapshots to come"
        (numbers_,) = (await archive.segments()).values()
        assert needed[2].segments[0] == min(numbers_), "older WAL went with the last who needed it"


async def test_manual_snapshots_outlive_their_volume(state: pathlib.Path) -> None:
    one, two = key("ONE"), key("TWO")
    async with volumes(state, one, two, settings=OFTEN) as opened:
        async with writing(opened, ballast=20_000) as writer:
            await writer.reaches(300)
            await take(opened, "early")
            await writer.reaches(1200)
            await opened.maintain(KEY, retention=DAY)
            await take(opened, "late")
        await opened.release(KEY, "writer")
        await opened.destroy(KEY, retain_until=None)
        assert not list((state / "volumes").iterdir())
        early = await restored(opened, "early", one)
        late = await restored(opened, "late", two)
        assert 300 <= len(early) < len(late)
        await opened.forget(KEY, "late")
        await opened.destroy(one, retain_until=None)
        assert await restored(opened, "early", one) == early
        await opened.forget(KEY, "early")
        assert not (state / "archive" / KEY.resource_id).exists()


async def test_after_a_gap_in_the_archive_a_new_base_backup_comes_before_the_next_snapshot(
    state: pathlib.Path,
) -> None:
    async with volumes(state, key("NEW")) as opened:
        async with writing(opened) as writer:
            await writer.reaches(20)
            await take(opened, "before")
            opened._of(KEY).open_gap("a test says so")  # as when the slot was lost
            await take(opened, "after")
            reached = writer.acknowledged
        archive = opened.archive(KEY)
        assert opened._of(KEY).moments.gap is None
        (gap,) = (await archive.record()).gaps
        assert gap.until is not None
        assert gap.since <= gap.until
        assert (await archive.manifest("before")).base != (await archive.manifest("after")).base
        assert len(await restored(opened, "after", key("NEW"))) <= reached + 1


def occupied(folder: pathlib.Path) -> int:
    return sum(
        os.lstat(os.path.join(root, name)).st_size for root, _, names in os.walk(folder) for name in names
    )
