"""Trial restores and looks on real snapshots: what is whole is proven, damage is named, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import asyncpg
import bson
import pytest

from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.proofs import Proof
from stilldb.domain.volumes import VolumeError
from stilldb.postgres import Server
from stilldb.util import processes
from stilldb.volume import archive, fetch, trial
from stilldb.volume.keyring import LocalKeyring
from stilldb.volume.layout import VolumePaths
from stilldb.volume.local import LocalVolumes
from stilldb.volume.objects.faulty import FaultyStore
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.scratch import Scratch
from stilldb.volume.settings import VolumeSettings
from support.volumes import KEY, become, connected, state_directory, take, volumes

QUICK = VolumeSettings()
_TABLES = """
CREATE SCHEMA stilldb;
CREATE TABLE stilldb.format (version int);
INSERT INTO stilldb.format VALUES (1);
CREATE TABLE stilldb.collections (id int, database text, name text, uuid bytea, options bytea);
CREATE TABLE stilldb.indexes (id int, collection int, name text, spec bytea);
CREATE TABLE stilldb.users (name text, verifiers text);
CREATE TABLE stilldb.c1 (id bytea PRIMARY KEY, doc bytea);
CREATE TABLE stilldb.c2 (id bytea PRIMARY KEY, doc bytea);
"""


@pytest.fixture
def state() -> Iterator[pathlib.Path]:
    with state_directory() as path:
        yield path


def scratch_of(opened: LocalVolumes) -> Scratch:
    return Scratch(opened._layout, opened._programs, opened.archive)


async def documents(connection: asyncpg.Connection, table: int, first: int, last: int) -> None:
    rows = [(b"%08d" % n, bson.encode({"_id": n, "text": "x" * 500})) for n in range(first, last + 1)]
    await connection.executemany(f"INSERT INTO stilldb.c{table} VALUES ($1, $2)", rows)


@contextlib.asynccontextmanager
async def snapshot(state: pathlib.Path, **more: Any) -> AsyncIterator[LocalVolumes]:
    """Volumes with the snapshot ``one`` of 3000 documents in atlas.places and none in atlas.empty."""
    arn = more.pop("kms_key_arn", None)
    async with volumes(state, settings=QUICK, **more) as opened:
        await opened.create(KEY, kms_key_arn=arn)
        connection = await connected(opened)
        await connection.execute(_TABLES)
        for number, name in ((1, "places"), (2, "empty")):
            await connection.execute(
                "INSERT INTO stilldb.collections VALUES ($1, 'atlas', $2, '\\x00', $3)",
                number,
                name,
                bson.encode({}),
            )
        await documents(connection, 1, 1, 2000)
        await opened._care(KEY).back_up(1 << 60, gently=False)
        await documents(connection, 1, 2001, 3000)
        await take(opened, "one")
        await connection.execute("DROP TABLE stilldb.c1")
        await connection.close()
        try:
            yield opened
        finally:
            assert left(opened) == []


def left(opened: LocalVolumes) -> list[str]:
    """What there is of throw-aways: directories, logs, processes."""
    layout = opened._layout
    logs = [path.name for path in (layout.state / "log").iterdir() if path.name.startswith(("look", "trial"))]
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    standing = [str(processes.working_directory(pid)) for pid in pids]
    return (
        [path.name for path in layout.scratch.iterdir()]
        + logs
        + [place for place in standing if place.startswith(str(layout.scratch))]
    )


async def prove(scratch: Scratch, expected: Mapping[str, int] | None = None) -> Proof:
    told: list[int] = []
    proof = await scratch.prove(KEY, "one", expected=expected, progress=told.append)
    assert told == sorted(told)
    return proof


def only_server(opened: LocalVolumes) -> Server:
    (root,) = opened._layout.scratch.iterdir()
    paths = VolumePaths(root)
    return Server(
        data=paths.data,
        sockets=opened._layout.sockets(root.name),
        log=opened._layout.log(root.name),
        programs=opened._programs,
    )


def flip(path: pathlib.Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


async def test_a_whole_snapshot_is_proven_and_counted(state: pathlib.Path) -> None:
    async with snapshot(state) as opened:
        scratch = scratch_of(opened)
        proof = await prove(scratch)
        assert (proof.ok, proof.reason) == (True, "")
        assert proof.documents == {"atlas.places": 3000, "atlas.empty": 0}
        assert proof.snapshot_id == "one"
        assert proof.size > 20 << 20
        assert proof.seconds > 0
        assert left(opened) == []

        assert (await prove(scratch, proof.documents)).ok
        other = await prove(scratch, {"atlas.places": 2999, "atlas.empty": 0, "atlas.gone": 1})
        assert not other.ok
        assert "atlas.places has 3000 documents, the last proof counted 2999" in other.reason
        assert "atlas.gone has 0 documents" in other.reason


@pytest.mark.parametrize("what", ["part", "segment", "manifest"])
async def test_a_flipped_bit_in_an_object_is_found_and_named(state: pathlib.Path, what: str) -> None:
    async with snapshot(state) as opened:
        source = opened.archive(KEY)
        manifest = await source.manifest("one")
        assert len(manifest.chain) == 2
        key = {
            "part": source.keys.part(manifest.base.base_id, 0),
            "segment": source.keys.segment(manifest.point.timeline, manifest.segments[0]),
            "manifest": source.keys.manifest("one"),
        }[what]
        if what == "segment":
            await shipped(opened, key)
        path = opened._layout.archive_root / key
        flip(path, path.stat().st_size // 2)
        proof = await prove(scratch_of(opened))
        assert not proof.ok
        assert (key.rsplit("/", 1)[1] if what != "manifest" else "manifest") in proof.reason
        assert proof.documents == {}
        with pytest.raises(VolumeError):
            await scratch_of(opened).open_snapshot(KEY, "one", progress=lambda _: None)
        assert left(opened) == []
        flip(path, path.stat().st_size // 2)  # so that its snapshot can be read when the volume goes


async def shipped(opened: LocalVolumes, key: str) -> None:
    """The segment is in the store, and there only."""
    connection = await connected(opened)
    await connection.execute("SELECT pg_switch_wal()")
    await connection.close()
    await opened.release(KEY, "test")
    await become(lambda: opened.archive(KEY).store.size(key), f"{key} shipped")
    for spooled in opened._of(KEY).paths.spool.iterdir():
        spooled.unlink()


async def test_a_missing_object_is_told(state: pathlib.Path) -> None:
    async with snapshot(state) as opened:
        manifest = await opened.archive(KEY).manifest("one")
        path = opened._layout.archive_root / opened.archive(KEY).keys.part(manifest.chain[0].base_id, 0)
        path.rename(path.with_suffix(".away"))
        proof = await prove(scratch_of(opened))
        path.with_suffix(".away").rename(path)
        assert not proof.ok
        assert path.name in proof.reason


async def test_damage_in_the_data_itself_is_found(
    state: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page whose checksum is wrong, an index that lacks a row, a table that the catalog names and that is not there."""
    examine = trial.examine

    async def broken_page(server: Server, *args: Any) -> None:
        await server.stop()
        largest = max((server.data / "base").rglob("*"), key=lambda path: path.stat().st_size)
        flip(largest, 8192 * 3 + 5000)
        await examine(server, *args)

    async def broken_index(server: Server, *args: Any) -> None:
        await server.start()
        connection = await server.connect()
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("SET allow_system_table_mods = on")
        await connection.execute(
            "UPDATE pg_index SET indisready = false WHERE indexrelid = 'stilldb.c1_pkey'::regclass"
        )
        await connection.close()
        connection = await server.connect()
        await connection.execute("SET default_transaction_read_only = off")
        await documents(connection, 1, 4000, 4000)
        await connection.execute("SET allow_system_table_mods = on")
        await connection.execute(
            "UPDATE pg_index SET indisready = true WHERE indexrelid = 'stilldb.c1_pkey'::regclass"
        )
        await connection.close()
        await examine(server, *args)

    async def missing_table(server: Server, *args: Any) -> None:
        await server.start()
        connection = await server.connect()
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("DROP TABLE stilldb.c2")
        await connection.close()
        await examine(server, *args)

    async with snapshot(state) as opened:
        scratch = scratch_of(opened)
        for damage, reason in (
            (broken_page, "pages are damaged.*checksum verification failed"),
            (broken_index, "pg_amcheck found damage.*c1"),
            (missing_table, "c2.* does not exist"),
        ):
            monkeypatch.setattr(trial, "examine", damage)
            proof = await prove(scratch)
            assert not proof.ok
            assert re.search(reason, proof.reason, re.DOTALL), proof.reason
        monkeypatch.setattr(trial, "examine", examine)
        assert (await prove(scratch)).ok


async def test_too_little_space_is_told_before_anything_is_restored(
    state: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with snapshot(state) as opened:
        usage = shutil.disk_usage(state)._replace(free=1 << 30)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        for attempt in (
            prove(scratch_of(opened)),
            scratch_of(opened).open_snapshot(KEY, "one", progress=lambda _: None),
        ):
            with pytest.raises(VolumeError, match="has 1024 MiB free"):
                await attempt
        monkeypatch.undo()
        assert (await prove(scratch_of(opened))).ok


@pytest.mark.parametrize("size", ["20m", "50m"])
async def test_a_disk_that_fills_up_says_nothing_about_the_snapshot(
    state: pathlib.Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """While the base backups are unpacked, and while PostgreSQL replays."""
    async with snapshot(state) as opened:
        place = opened._layout.scratch
        with small_disk(place, size):
            owner = opened._layout.owner
            assert owner is not None
            os.chown(place, *owner)
            monkeypatch.setattr(fetch, "require_space", lambda *_: None)
            for attempt in (
                prove(scratch_of(opened)),
                scratch_of(opened).open_snapshot(KEY, "one", progress=lambda _: None),
            ):
                with pytest.raises(VolumeError) as told:
                    await attempt
                assert not isinstance(told.value, trial.Flaw), told.value
                assert "No space left on device" in str(told.value)
            assert left(opened) == []
        monkeypatch.undo()
        assert (await prove(scratch_of(opened))).ok


@contextlib.contextmanager
def small_disk(place: pathlib.Path, size: str) -> Iterator[None]:
    """A tmpfs; skips where only root could mount one and we are not."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "stilldb-test", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a file system can't be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_lost_store_says_nothing_about_the_snapshot(
    state: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_READ_WITHIN", 0.2)
    store = FaultyStore(MemoryStore())
    async with snapshot(state, store=store, remote=True) as opened:
        with store.outage():
            with pytest.raises(VolumeError, match="the store did not get"):
                await prove(scratch_of(opened))
            assert left(opened) == []
        assert (await prove(scratch_of(opened))).ok


async def test_a_closed_key_is_told_as_such(state: pathlib.Path) -> None:
    keyring = LocalKeyring(state / "kms", "123456789012", "us-west-2")
    key = await keyring.create(None)
    async with snapshot(state, kms=keyring, kms_key_arn=key.arn) as opened:
        assert (await prove(scratch_of(opened))).ok
        opened._volumes.clear()  # what was unwrapped is forgotten with the process
        opened._cares.clear()
        await keyring.disable(key.arn)
        for attempt in (
            prove(scratch_of(opened)),
            scratch_of(opened).open_snapshot(KEY, "one", progress=lambda _: None),
        ):
            with pytest.raises(KMSKeyNotAccessibleFault):
                await attempt
        assert left(opened) == []
        await keyring.enable(key.arn)
        await opened.tidy()


async def test_a_look_is_read_only_and_goes(state: pathlib.Path) -> None:
    async with snapshot(state) as opened:
        scratch = scratch_of(opened)
        address = await scratch.open_snapshot(KEY, "one", progress=lambda _: None)
        connection = await asyncpg.connect(
            host=address.host, port=address.port, user=address.user, database=address.database
        )
        assert await connection.fetchval("SELECT count(*) FROM stilldb.c1") == 3000
        assert await connection.fetchval("SHOW autovacuum") == "off"
        assert await connection.fetchval("SELECT count(*) FROM pg_replication_slots") == 0
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM stilldb.c1")
        assert (await prove(scratch)).ok, "a look and a trial at once"
        await scratch.close_snapshot(KEY, "one")
        await scratch.close_snapshot(KEY, "one")
        connection.terminate()


async def test_a_cancelled_trial_leaves_nothing(state: pathlib.Path) -> None:
    async with snapshot(state) as opened:
        reached: list[int] = []
        trying = asyncio.create_task(
            scratch_of(opened).prove(KEY, "one", expected=None, progress=reached.append)
        )

        async def restored() -> bool:
            return bool(reached) and reached[-1] >= 56

        await become(restored, "the base backups copied")
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        assert left(opened) == []


async def test_what_a_killed_process_left_is_cleared(state: pathlib.Path) -> None:
    """Its PostgreSQL runs on, without its postmaster even."""
    async with snapshot(state) as opened:
        await scratch_of(opened).open_snapshot(KEY, "one", progress=lambda _: None)
        connection = await only_server(opened).connect()
        postmaster = only_server(opened).process()
        assert postmaster is not None
        os.kill(postmaster.pid, signal.SIGKILL)
        (opened._layout.scratch / "imports").mkdir()  # somebody else's
        await scratch_of(opened).clear()
        connection.terminate()
        assert left(opened) == ["imports"]
        (opened._layout.scratch / "imports").rmdir()


async def test_clearing_waits_for_who_still_writes(state: pathlib.Path) -> None:
    """A program of the killed process, such as pg_combinebackup, ends only when its directory is gone."""
    async with snapshot(state) as opened:
        folder = opened._layout.make(opened._layout.scratch / "trial-old" / "data.draft")
        ended = threading.Event()

        def write() -> None:
            until, number = time.monotonic() + 0.5, 0
            while time.monotonic() < until:
                number += 1
                with contextlib.suppress(FileNotFoundError):
                    (folder / str(number)).touch()
            ended.set()

        writer = threading.Thread(target=write)
        writer.start()
        await scratch_of(opened).clear()
        await asyncio.to_thread(writer.join)
        assert ended.is_set()
        assert left(opened) == []
