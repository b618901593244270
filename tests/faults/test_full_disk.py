"""A full archive: snapshots fail with a clear reason, the cluster stays available, and the next one works once there is room.

The archive is a small file system of its own, which only root can mount; elsewhere the test is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import sqlite3
import subprocess
from collections.abc import Iterator

import pytest

from support.invariants import settled
from support.service import Service, service, wait_until

SIZE = "96m"


@contextlib.contextmanager
def small_archive(state: pathlib.Path) -> Iterator[pathlib.Path]:
    """A tmpfs where the archive is; skips where that is not permitted."""
    place = state / "archive"
    place.mkdir(exist_ok=True)
    options = f"size={SIZE},mode=0700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "stilldb-test", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"a file system can't be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def house() -> Iterator[Service]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    with service(started=False) as it, small_archive(it.state):
        it.expected_errors = ["job given up kind=create-snapshot", "could not"]
        it.start()
        yield it
        it.end()


def fill(place: pathlib.Path) -> pathlib.Path:
    """Take every byte that is left."""
    ballast = place / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 65536)
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x")
    return ballast


def reason(house: Service, name: str) -> str:
    with sqlite3.connect(f"file:{house.state}/stilldb.db?mode=ro", uri=True) as connection:
        (told,) = connection.execute(
            "SELECT status_reason FROM snapshots WHERE identifier = ?", [name]
        ).fetchone()
    connection.close()
    return str(told)


def test_no_room_for_the_manifest(house: Service) -> None:
    cluster = house.create_cluster()
    house.create_snapshot("before")
    ballast = fill(house.state / "archive")
    house.create_snapshot("full", wait=False)
    house.snapshot("full", "failed", seconds=60)
    assert "No space left on device" in reason(house, "full")
    assert house.cluster("alpha")["Status"] == "available"
    ballast.unlink()
    house.create_snapshot("after")
    house.restore("beta", "after")
    house.client().delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="full")
    house.snapshot("full", None)
    assert not list(house.archive(cluster).glob("snapshots/*/manifest.draft*"))
    settled(house)


def test_no_room_for_the_wal(house: Service) -> None:
    cluster = house.create_cluster()
    house.client().create_db_instance(
        DBInstanceIdentifier="alpha-1",
        DBInstanceClass="db.r6g.large",
        Engine="docdb",
        DBClusterIdentifier="alpha",
    )
    house.instance("alpha-1", "available")

    async def write() -> None:
        connection = await house.connect(cluster)
        # More than a segment, so that there is something to ship.
        await connection.execute(
            "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 9) AS x FROM generate_series(1, 90000) n"
        )
        await connection.close()

    ballast = fill(house.state / "archive")
    asyncio.run(write())
    house.create_snapshot("full", wait=False)
    house.snapshot("full", "failed", seconds=90)
    assert "No space left on device" in reason(house, "full")
    spool = house.data(cluster).with_name("spool")
    waiting = {path.name for path in spool.iterdir() if not path.name.endswith(".partial")}
    assert len(waiting) >= 2, "WAL waits where there is room"
    assert house.cluster("alpha")["Status"] == "available"
    assert house.instance("alpha-1")["DBInstanceStatus"] == "available"
    ballast.unlink()
    shipped = house.archive(cluster) / "wal"
    wait_until(lambda: waiting <= {path.name for path in shipped.iterdir()}, "the WAL is shipped after all")
    house.create_snapshot("after")
    house.restore("beta", "after")
    house.client().delete_db_instance(DBInstanceIdentifier="alpha-1")
    house.instance("alpha-1", None)
