"""WAL, base backups and moments of real volumes, in stores that work and in stores that do not."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
import pathlib
import signal
from collections.abc import Iterator

import asyncpg
import pytest

from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.volumes import Notice, SnapshotIntent, SnapshotTarget, VolumeError, VolumeKey
from stilldb.util import processes
from stilldb.volume import container
from stilldb.volume.keyring import LocalKeyring
from stilldb.volume.keys import Kind
from stilldb.volume.local import LocalVolumes
from stilldb.volume.objects.faulty import FaultyStore, Operation, Wrong, trouble
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.objects.store import ObjectStore
from stilldb.volume.settings import VolumeSettings
from support.volumes import (
    DAY,
    KEY,
    become,
    connected,
    numbers,
    open_volumes,
    restored,
    state_directory,
    take,
    volumes,
)

NEW = VolumeKey("cluster-NEW", 1)
QUICK = VolumeSettings(heartbeat_every=0.2)
MIB = 1 << 20


@pytest.fixture
def state() -> Iterator[pathlib.Path]:
    with state_directory() as path:
        yield path


async def table(opened: LocalVolumes, key: VolumeKey = KEY) -> asyncpg.Connection:
    connection = await connected(opened, key)
    await connection.execute("CREATE TABLE IF NOT EXISTS t (n int PRIMARY KEY, ballast text)")
    await connection.execute("ALTER TABLE t ALTER ballast SET STORAGE EXTERNAL")
    return connection


async def write(connection: asyncpg.Connection, first: int, last: int, size: int = 0) -> None:
    """Rows with these numbers, and ``size`` bytes of ballast each."""
    await connection.execute(
        "INSERT INTO t SELECT n, repeat('x', $3) FROM generate_series($1::int, $2::int) n", first, last, size
    )


async def fill(connection: asyncpg.Connection, first: int, megabytes: int) -> int:
    """Some WAL; the last number written."""
    await write(connection, first, first + megabytes * 4 - 1, MIB // 4)
    return first + megabytes * 4 - 1


async def test_complete_segments_are_shipped_and_leave_the_spool(state: pathlib.Path) -> None:
    async with volumes(state, NEW, settings=QUICK) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        last = await fill(connection, 1, 60)
        volume = opened._of(KEY)

        async def shipped() -> bool:
            return len(volume.spool.complete()) == 1 and volume.shipper.lag() == (0, 0, 0.0)

        await become(shipped, "the spool is empty but for the newest")
        sealed = {path.name: path for path in (state / "archive" / KEY.prefix / "wal").iterdir()}
        assert len(sealed) >= 4
        assert all(container.is_sealed(path.read_bytes()) for path in sealed.values())
        state_of = await opened.archive_state(KEY)
        assert (state_of.lag_segments, state_of.lag_bytes, state_of.gaps, state_of.store_error) == (
            0,
            0,
            0,
            "",
        )
        await take(opened, "s")
        await connection.close()
        await restored(opened, NEW, SnapshotTarget("s"))
        assert len(await numbers(opened, NEW)) == last


async def test_incremental_base_backups_are_taken_as_wal_grows_and_restored_from(state: pathlib.Path) -> None:
    settings = dataclasses.replace(QUICK, base_after_bytes=40 * MIB)
    async with volumes(state, NEW, settings=settings) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        archive, last = opened.archive(KEY), 0
        for count in (2, 3):
            last = await fill(connection, last + 1, 60)

            async def there(count: int = count) -> bool:
                return len(await archive.bases()) >= count

            await become(there, f"base backup {count} is taken of its own accord")
        await take(opened, "s")
        await write(connection, 10**6, 10**6 + 10)
        await connection.close()
        bases = await archive.bases()
        assert [base.parent for base in bases[:2]] == [None, bases[0].base_id]
        manifest = await archive.manifest("s")
        assert len(manifest.chain) >= 2
        assert manifest.chain[0].parent is None
        assert manifest.point.lsn - manifest.base.start_lsn < 150 * MIB
        await restored(opened, NEW, SnapshotTarget("s"))
        assert await numbers(opened, NEW) == list(range(1, last + 1))


async def test_an_incremental_backup_that_can_not_be_taken_is_followed_by_a_full_one(
    state: pathlib.Path,
) -> None:
    notices: list[Notice] = []
    settings = dataclasses.replace(QUICK, base_after_bytes=8 * MIB)
    async with volumes(state, settings=settings, notify=notices.append) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        for path in (opened._of(KEY).paths.data / "pg_wal" / "summaries").iterdir():
            path.unlink()  # as when they were switched off for a while
        await connection.execute("ALTER SYSTEM SET summarize_wal = off")
        await connection.execute("SELECT pg_reload_conf()")
        await fill(connection, 1, 20)
        await opened.maintain(KEY, retention=DAY)

        async def two() -> bool:
            return len(await opened.archive(KEY).bases()) >= 2 and not opened._of(KEY).backing_up.locked()

        await become(two, "a base backup is taken", 150)
        await connection.close()
        assert (await opened.archive(KEY).bases())[1].parent is None
        assert "backup failed" in {notice.category for notice in notices}
        report = await opened.check(KEY, every_byte=True)
        assert {problem.kind for problem in report.problems} <= {"orphan"}


async def test_encrypted_archives_open_with_their_key_only(
    state: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    ring = LocalKeyring(tmp_path / "keys", "123456789012", "eu-west-1")
    key, other = await ring.create("alias/one"), await ring.create("alias/two")
    async with volumes(state, NEW, settings=QUICK, kms=ring) as opened:
        await opened.create(KEY, kms_key_arn=key.arn)
        connection = await table(opened)
        last = await fill(connection, 1, 20)
        await connection.execute("INSERT INTO t VALUES (100000, 'a secret that must not be found')")
        point = await opened.mark(KEY, "p")
        intent = SnapshotIntent(snapshot_id="s", volume=KEY, point=point, attributes={}, kms_key_arn=key.arn)
        for step in (opened.draft, opened.verify, opened.publish):
            await step(intent)
        await opened.copy(
            origin=opened,
            source=KEY,
            snapshot_id="s",
            as_id="copy",
            kms_key_arn=other.arn,
            progress=lambda _: None,
        )
        await connection.close()
        await opened.destroy(KEY, retain_until=None)
        for path in (state / "archive" / KEY.prefix).rglob("*"):
            if path.is_file() and not path.name.endswith(".json"):
                header = container.inspect(str(path.relative_to(state / "archive")), path.read_bytes())
                assert header.key_id is not None
                assert b"a secret" not in path.read_bytes()
        await ring.disable(key.arn)
        with pytest.raises(KMSKeyNotAccessibleFault):
            await restored(opened, NEW, SnapshotTarget("s"))
        await restored(opened, NEW, SnapshotTarget("copy"))
        assert await numbers(opened, NEW) == [*range(1, last + 1), 100000]
        await opened.destroy(NEW, retain_until=None)
        await opened.forget(KEY, "s")
        await ring.disable(other.arn)
        with pytest.raises(KMSKeyNotAccessibleFault):
            await restored(opened, NEW, SnapshotTarget("copy"))
        assert (await opened.check(KEY, every_byte=True)).problems == (), "a check needs no key"


async def test_an_encrypted_volume_needs_a_key_service(state: pathlib.Path) -> None:
    async with volumes(state) as opened:
        with pytest.raises(VolumeError, match="none is configured"):
            await opened.create(KEY, kms_key_arn="arn:aws:kms:eu-west-1:123456789012:key/x")


async def test_an_outage_of_the_store_stops_no_writes_and_ends_without_loss(state: pathlib.Path) -> None:
    notices: list[Notice] = []
    store = FaultyStore(MemoryStore())
    async with volumes(state, NEW, settings=QUICK, store=store, notify=notices.append) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        volume = opened._of(KEY)
        with store.outage():
            last = await fill(connection, 1, 60)

            async def behind() -> bool:
                told = await opened.archive_state(KEY)
                return told.lag_segments >= 3 and bool(told.store_error)

            await become(behind, "the archive is behind")
            told = await opened.archive_state(KEY)
            assert "it is gone" in told.store_error
            assert told.lag_bytes >= 48 * MIB
            assert told.lag_seconds > 0
            await volume.beat()  # archived in the spool all the same
        await become(lambda: shipped(opened), "the rest is shipped")
        await take(opened, "s")
        await connection.close()
        await restored(opened, NEW, SnapshotTarget("s"))
        assert len(await numbers(opened, NEW)) == last
        categories = [notice.category for notice in notices if notice.category.startswith("store")]
        assert categories == ["store unavailable", "store available"]
        assert volume.moments.gap is None


async def shipped(opened: LocalVolumes) -> bool:
    told = await opened.archive_state(KEY)
    return told.lag_segments == 0 and not told.store_error


async def test_shipping_is_taken_up_by_the_next_process_that_believes_no_name(state: pathlib.Path) -> None:
    """The first process ends between a put and the removal from the spool; what it put is damaged besides."""
    store = FaultyStore(MemoryStore())
    async with volumes(state, NEW, settings=QUICK, store=store) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        volume = opened._of(KEY)
        with store.outage():
            last = await fill(connection, 1, 60)
            volume.tasks[0].cancel()
        first, second, *_ = volume.spool.complete()
        for segment in (first, second):
            await volume.archive.seal(volume.archive.keys.segment(*segment.key), segment.path.read_bytes())
        await damage(store, volume.archive.keys.segment(*second.key))
        await take(opened, "s")
        next_process = open_volumes(state, QUICK, store=store)
        await next_process.hold(KEY, "test")
        await become(lambda: emptied(next_process), "the spool is emptied")
        assert (await next_process.check(KEY, every_byte=True)).problems == ()
        await connection.close()
        await next_process.release(KEY, "test")
        await restored(next_process, NEW, SnapshotTarget("s"))
        assert len(await numbers(next_process, NEW)) == last


async def emptied(opened: LocalVolumes) -> bool:
    return len(opened._of(KEY).spool.complete()) <= 1 and await shipped(opened)


async def test_a_long_outage_is_a_recorded_gap_and_a_new_base_backup(state: pathlib.Path) -> None:
    notices: list[Notice] = []
    store = FaultyStore(MemoryStore())
    settings = dataclasses.replace(QUICK, spool_limit_bytes=40 * MIB)
    async with volumes(state, NEW, settings=settings, store=store, notify=notices.append) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        await opened.maintain(KEY, retention=DAY)
        volume, last = opened._of(KEY), 0
        await take(opened, "before")
        with store.outage():

            async def protected() -> bool:
                nonlocal last
                last = await fill(connection, last + 1, 16)
                return volume.moments.gap is not None and not volume.receiving()

            await become(protected, "the volume protects itself", 60)
            assert await connection.fetchval("SELECT count(*) FROM pg_replication_slots") == 0
            with pytest.raises(VolumeError, match="snapshots are possible when its store takes WAL again"):
                await opened.mark(KEY, "p")
            size = sum(path.stat().st_size for path in (volume.paths.data / "pg_wal").glob("0*"))
            last = await fill(connection, last + 1, 100)
            await opened.hold(KEY, "another")  # brings no receiver back
            assert not volume.receiving()
            assert size < 2000 * MIB

        async def mended() -> bool:
            return volume.moments.gap is None and volume.receiving()

        await become(mended, "the gap ends", 90)
        await take(opened, "after")
        await connection.close()
        window = await opened.window(KEY)
        assert window is not None
        ((since, until),) = window.gaps
        assert window.earliest < since < until <= window.latest
        assert [notice.category for notice in notices].count("gap") == 2
        await restored(opened, NEW, SnapshotTarget("after"))
        assert len(await numbers(opened, NEW)) == last
        await opened.destroy(NEW, retain_until=None)
        await restored(opened, NEW, SnapshotTarget("before"))
        assert await numbers(opened, NEW) == []


async def test_the_window_moves_on_in_an_idle_volume_and_holds_after_its_end(state: pathlib.Path) -> None:
    async with volumes(state, settings=QUICK) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        await opened.maintain(KEY, retention=DAY)

        async def window() -> object:
            return await opened.window(KEY)

        first = await become(window, "a heartbeat")

        async def later() -> object:
            now = await opened.window(KEY)
            return now is not None and now.latest > first.latest and now

        second = await become(later, "the next heartbeat")
        assert second.earliest == first.earliest
        await write(connection, 1, 1)
        now = await connection.fetchval("SELECT clock_timestamp()")
        await connection.close()
        await opened.release(KEY, "test")
        stopped = await opened.window(KEY)
        assert stopped is not None
        assert stopped.latest > now, "a clean stop has a last heartbeat"
        until = datetime.datetime.now(datetime.UTC) + DAY
        await opened.destroy(KEY, retain_until=until)
        assert await opened.window(KEY) == stopped
        assert await opened.purge(KEY) > 0
        assert await opened.window(KEY) is None
        assert KEY not in await opened.archives()


async def test_the_receiver_is_killed(state: pathlib.Path) -> None:
    async with volumes(state, NEW, settings=QUICK) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        last = 0
        for number in range(3):
            receiver = processes.load(opened._of(KEY).paths.receiver)
            assert receiver is not None
            os.kill(receiver.pid, signal.SIGKILL)
            last = await fill(connection, last + 1, 20)
            await opened.hold(KEY, "test")
            await take(opened, f"s{number}")
        await connection.close()
        await restored(opened, NEW, SnapshotTarget("s2"))
        assert len(await numbers(opened, NEW)) == last


async def test_a_remote_store_has_all_of_a_snapshot_when_it_is_published(state: pathlib.Path) -> None:
    store = FaultyStore(MemoryStore())
    settings = dataclasses.replace(QUICK, mark_within=2.0)
    async with volumes(state, NEW, settings=settings, store=store, remote=True) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        last = await fill(connection, 1, 40)
        await take(opened, "s")
        assert (await opened.archive(KEY).manifest("s")).tail
        with store.outage():
            await fill(connection, last + 1, 40)
            point = await opened.mark(KEY, "late")
        slow = trouble(Wrong.UNAVAILABLE, Operation.PUT, keys="*/wal/*", times=None)
        store.script.append(slow)
        await fill(connection, last + 1000, 40)
        point = await opened.mark(KEY, "later")
        intent = SnapshotIntent(snapshot_id="late", volume=KEY, point=point, attributes={})
        await opened.draft(intent)
        await opened.verify(intent)
        with pytest.raises(VolumeError, match="does not have the WAL yet"):
            await opened.publish(intent)
        store.script.remove(slow)
        await connection.close()
    # The state directory is lost: the store alone is enough.
    with state_directory() as another:
        async with volumes(another, NEW, store=store, remote=True) as opened:
            await restored(opened, NEW, SnapshotTarget("s"))
            assert len(await numbers(opened, NEW)) == last


async def test_expiry_and_check_tell_why_and_what(state: pathlib.Path) -> None:
    store = MemoryStore()
    settings = dataclasses.replace(QUICK, base_after_bytes=8 * MIB)
    async with volumes(state, NEW, settings=settings, store=store) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        await fill(connection, 1, 20)
        await opened.maintain(KEY, retention=DAY)
        await take(opened, "s")
        await connection.close()
        await opened.release(KEY, "test")
        archive = opened.archive(KEY)
        assert (await opened.check(KEY, every_byte=True)).problems == ()
        verdicts = await opened.expire(KEY, dry_run=True)
        assert all(verdict.keep for verdict in verdicts)
        assert {verdict.kind for verdict in verdicts} >= {"base", "wal", "snapshot", "record"}
        before = {entry.key: await store.get(entry.key) async for entry in store.list("")}
        manifest = await archive.manifest("s")
        part = archive.keys.part(manifest.chain[0].base_id, 0)
        await damage(store, part)
        report = await opened.check(KEY)
        assert report.problems == (), "its size is right"
        report = await opened.check(KEY, every_byte=True)
        assert [(problem.kind, problem.name) for problem in report.problems] == [("damaged", part)]
        await store.delete([part])
        assert ("missing", part) in {
            (problem.kind, problem.name) for problem in (await opened.check(KEY)).problems
        }
        await store.put(part, before[part])
        await damage(store, archive.keys.manifest("s"))
        assert ("damaged", archive.keys.manifest("s")) in {
            (problem.kind, problem.name) for problem in (await opened.check(KEY)).problems
        }
        await store.put(archive.keys.manifest("s"), before[archive.keys.manifest("s")])
        await store.put(archive.keys.part("broken", 0), b"x")
        await store.put(f"{archive.keys.root}notes", b"x")
        for key in before:
            if (
                archive.keys.parse(key).kind is Kind.BASE
                and archive.keys.parse(key).owner == manifest.chain[0].base_id
            ):
                await store.delete([key])
        kinds = [(problem.kind, problem.name) for problem in (await opened.check(KEY)).problems]
        assert ("unknown", f"{archive.keys.root}notes") in kinds
        assert any(kind == "missing" and name == "s" for kind, name in kinds)
        assert any(kind == "broken chain" for kind, _ in kinds) == (len(manifest.chain) > 1)


async def damage(store: ObjectStore, key: str) -> None:
    content = bytearray(await store.get(key))
    content[len(content) // 2] ^= 1
    await store.put(key, bytes(content))


async def test_flipped_bits_are_never_restored(state: pathlib.Path) -> None:
    store = FaultyStore(MemoryStore())
    async with volumes(state, NEW, settings=QUICK, store=store) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        await fill(connection, 1, 40)
        await take(opened, "s")
        await connection.close()
        await opened.destroy(KEY, retain_until=None)
        for keys in ("*/base/*/000000", "*/wal/*"):
            line = trouble(Wrong.FLIPPED, Operation.GET, keys=keys, times=None)
            store.script.append(line)
            with pytest.raises(VolumeError, match="is damaged"):
                await restored(opened, NEW, SnapshotTarget("s"))
            store.script.remove(line)
        await restored(opened, NEW, SnapshotTarget("s"))


async def test_a_listing_that_lacks_a_snapshot_costs_nothing(state: pathlib.Path) -> None:
    store = FaultyStore(MemoryStore())
    async with volumes(state, NEW, settings=QUICK, store=store) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        await write(connection, 1, 5)
        await take(opened, "s")
        await take(opened, "t")
        await connection.close()
        await opened.destroy(KEY, retain_until=None)
        lost = [
            trouble(Wrong.LOST_ENTRY, Operation.LIST, keys=keys, times=None)
            for keys in ("*/manifest.json", "*/base.json")
        ]
        store.script += lost
        await opened.forget(KEY, "t")
        store.script.clear()
        await restored(opened, NEW, SnapshotTarget("s"))
        assert await numbers(opened, NEW) == [1, 2, 3, 4, 5]


async def test_nor_does_one_that_a_new_process_meets_first(state: pathlib.Path) -> None:
    """It has seen no snapshot made, but is told which there are; the cluster is gone, and only the manifest pins anything."""
    store = FaultyStore(MemoryStore())
    async with volumes(state, NEW, settings=QUICK, store=store) as opened:
        await opened.create(KEY, kms_key_arn=None)
        connection = await table(opened)
        await write(connection, 1, 5)
        await take(opened, "s")
        await connection.close()
        await opened.destroy(KEY, retain_until=None)
        store.script.append(trouble(Wrong.LOST_ENTRY, Operation.LIST, keys="*/manifest.json", times=None))
        later = open_volumes(state, QUICK, store=store)
        later.expect(KEY, "s")
        await later.expire(KEY)
        await later.purge(KEY)
        store.script.clear()
        await restored(opened, NEW, SnapshotTarget("s"))
        assert await numbers(opened, NEW) == [1, 2, 3, 4, 5]


async def test_a_copy_in_another_store_outlives_everything(
    state: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    one = LocalKeyring(tmp_path / "keys", "123456789012", "eu-west-1")
    two = LocalKeyring(tmp_path / "keys", "123456789012", "us-east-1")
    here, there = await one.create(), await two.create()
    far = FaultyStore(MemoryStore())
    with state_directory() as elsewhere:
        async with (
            volumes(state, settings=QUICK, kms=one) as opened,
            volumes(elsewhere, NEW, settings=QUICK, kms=two, store=far, remote=True) as others,
        ):
            await opened.create(KEY, kms_key_arn=here.arn)
            connection = await table(opened)
            last = await fill(connection, 1, 40)
            await take(opened, "s")
            await write(connection, 10**6, 10**6 + 9)

            async def copy() -> list[int]:
                told: list[int] = []
                await others.copy(
                    origin=opened,
                    source=KEY,
                    snapshot_id="s",
                    as_id="c",
                    kms_key_arn=there.arn,
                    progress=told.append,
                )
                return told

            far.script.append(trouble(Wrong.FLIPPED, Operation.PUT, keys="*/wal/*", times=1))
            with pytest.raises(VolumeError, match="does not give back what was put"):
                await copy()
            with pytest.raises(VolumeError):
                await restored(others, NEW, SnapshotTarget("c"))
            moved = [key for operation, key in far.calls if operation is Operation.PUT and "/base/" in key]
            far.calls.clear()
            told = await copy()
            assert told == sorted(told)
            assert told[-1] == 100
            again = {key for operation, key in far.calls if operation is Operation.PUT}
            assert not set(moved) & again - {key for key in moved if key.endswith("base.json")}, "taken up"
            await connection.close()
            await opened.forget(KEY, "s")
            await opened.destroy(KEY, retain_until=None)
            await one.disable(here.arn)
            await restored(others, NEW, SnapshotTarget("c"), KEY)
            assert await numbers(others, NEW) == list(range(1, last + 1))
            assert (await others.check(KEY, every_byte=True)).problems == ()
            assert await others.forget(KEY, "c") > 0
            assert [entry.key async for entry in far.list(f"{KEY.prefix}/")] == []


async def test_an_unencrypted_snapshot_can_not_be_copied_under_a_key(
    state: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    ring = LocalKeyring(tmp_path / "keys", "123456789012", "eu-west-1")
    key = await ring.create()
    async with volumes(state, settings=QUICK, kms=ring) as opened:
        await opened.create(KEY, kms_key_arn=None)
        await opened.hold(KEY, "test")
        await take(opened, "s")
        with pytest.raises(VolumeError, match="is not encrypted"):
            await opened.copy(
                origin=opened,
                source=KEY,
                snapshot_id="s",
                as_id="c",
                kms_key_arn=key.arn,
                progress=lambda _: None,
            )


async def test_many_snapshots_at_once(state: pathlib.Path) -> None:
    async with volumes(state, settings=QUICK) as opened:
        await opened.create(KEY, kms_key_arn=None)
        await opened.hold(KEY, "test")
        await asyncio.gather(*(take(opened, f"s{number}") for number in range(20)))
        assert len(await opened.archive(KEY).manifests()) == 20
