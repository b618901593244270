"""Damaged archives: a restore from one fails with a clear reason, the target shows it and can be deleted; never silently.

Each test damages the archive of a cluster of its own; what is damaged is told to nobody else.
"""

from __future__ import annotations

import asyncio
import itertools
import pathlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stilldb.postgres import lsn
from stilldb.volume.manifest import load_manifest
from support.invariants import settled
from support.service import Service, service, wait_until

_names = itertools.count()


@pytest.fixture(scope="module")
def house() -> Iterator[Service]:
    with service() as it:
        it.expected_errors = ["job given up kind=restore-cluster", "nothing is expired"]
        yield it


def fill(house: Service, cluster: dict[str, Any]) -> None:
    """Some data after the base backup, held up by a snapshot's end: PostgreSQL runs only while somebody needs it."""
    house.client().create_db_instance(
        DBInstanceIdentifier=f"{cluster['DBClusterIdentifier']}-1",
        DBInstanceClass="db.r6g.large",
        Engine="docdb",
        DBClusterIdentifier=cluster["DBClusterIdentifier"],
    )
    house.instance(f"{cluster['DBClusterIdentifier']}-1", "available")

    async def write() -> None:
        connection = await house.connect(cluster)
        await connection.execute(
            "CREATE TABLE t AS SELECT n, md5(n::text) AS text FROM generate_series(1, 600000) n"
        )
        await connection.close()

    asyncio.run(write())


def manifest(archive: pathlib.Path) -> pathlib.Path:
    (path,) = archive.glob("snapshots/*/manifest.json")
    return path


def flip(path: pathlib.Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def part(archive: pathlib.Path) -> pathlib.Path:
    return max(archive.glob("base/*/0*"), key=lambda path: path.stat().st_size)


def segments(archive: pathlib.Path) -> list[pathlib.Path]:
    """The WAL segments that the snapshot needs and that only the store has: two or more.

    The newest complete one lies in the spool too, and is read from there.
    """
    snapshot = load_manifest(manifest(archive).read_bytes())
    names = [lsn.segment_name(snapshot.point.timeline, number) for number in snapshot.segments]
    assert len(names) >= 4, names
    return [archive / "wal" / name for name in names[:-2]]


def shipped(house: Service, cluster: dict[str, Any]) -> bool:
    spool = house.data(cluster).with_name("spool")
    return all(
        path.exists() and not (spool / path.name).exists() for path in segments(house.archive(cluster))
    )


def flip_manifest(archive: pathlib.Path) -> None:
    flip(manifest(archive), 200)


def cut_manifest(archive: pathlib.Path) -> None:
    path = manifest(archive)
    path.write_bytes(path.read_bytes()[:100])


def remove_manifest(archive: pathlib.Path) -> None:
    manifest(archive).unlink()


def flip_base(archive: pathlib.Path) -> None:
    flip(part(archive), 5000)


def cut_base(archive: pathlib.Path) -> None:
    path = part(archive)
    path.write_bytes(path.read_bytes()[:-8192])


def remove_base_part(archive: pathlib.Path) -> None:
    part(archive).unlink()


def swap_objects(archive: pathlib.Path) -> None:
    one, two = part(archive), segments(archive)[0]
    other = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(other)


def remove_base_description(archive: pathlib.Path) -> None:
    (path,) = archive.glob("base/*/base.json")
    path.unlink()


def flip_wal(archive: pathlib.Path) -> None:
    flip(segments(archive)[1], 50_000)


def cut_wal(archive: pathlib.Path) -> None:
    path = segments(archive)[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def remove_wal(archive: pathlib.Path) -> None:
    segments(archive)[1].unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_manifest, "a snapshot manifest is damaged"),
        (cut_manifest, "a snapshot manifest is damaged"),
        (remove_manifest, "has no object .*manifest.json"),
        (flip_base, "the object .*/base/.* is damaged: its checksum does not match"),
        (cut_base, "the object .*/base/.* is truncated"),
        (remove_base_part, "has no object .*/base/"),
        (swap_objects, "the object .* is another one"),
        (remove_base_description, "lacks a base backup"),
        (flip_wal, "the object .*/wal/.* is damaged: its checksum does not match"),
        (cut_wal, "the object .*/wal/.* is truncated"),
        (remove_wal, "lacks WAL segment"),
    ],
)
def test_a_damaged_archive_is_never_silently_restored(
    house: Service, damage: Callable[[pathlib.Path], None], reason: str
) -> None:
    name = f"c{next(_names)}"
    cluster = house.create_cluster(name)
    fill(house, cluster)
    house.create_snapshot(f"{name}-good", name)
    house.client().delete_db_instance(DBInstanceIdentifier=f"{name}-1")
    house.instance(f"{name}-1", None)
    wait_until(lambda: shipped(house, cluster), "WAL is shipped")
    damage(house.archive(cluster))
    house.restore(f"{name}-new", f"{name}-good", wait=False)
    house.cluster(f"{name}-new", "migration-failed")
    assert_reason(house, f"{name}-new", reason)
    house.delete_cluster(f"{name}-new")
    assert house.cluster(name)["Status"] == "available", "the source is not to blame"
    house.delete_cluster(name)
    house.client().delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=f"{name}-good")
    house.snapshot(f"{name}-good", None)
    settled(house)
    assert not list(house.archive(cluster).glob("snapshots/*/*"))


def assert_reason(house: Service, name: str, reason: str) -> None:
    with sqlite3.connect(f"file:{house.state}/stilldb.db?mode=ro", uri=True) as connection:
        (told,) = connection.execute(
            "SELECT status_reason FROM clusters WHERE identifier = ?", [name]
        ).fetchone()
    connection.close()
    assert re.search(reason, told, re.DOTALL), told
