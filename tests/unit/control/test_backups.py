"""What the operator is told of the archives: whose they are, what goes and why, what is broken."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import AsyncIterator, Sequence

import pytest

from stilldb.control import backups
from stilldb.control.backups import BackupsNotFound, BackupsNotUsable
from stilldb.domain.faults import DBClusterNotFoundFault
from stilldb.domain.names import Scope
from stilldb.domain.volumes import RestorableWindow, VolumeError, VolumeKey
from stilldb.volume.check import Problem, Report
from stilldb.volume.expire import Verdict
from support import rows
from support.twins import Plane, plane

LIVE, DEAD, STRANGE = VolumeKey("cluster-A", 1), VolumeKey("cluster-GONE", 1), VolumeKey("cluster-X", 2)
MOMENT = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)


class Archives:
    """Three archives; a dry run is noted."""

    def __init__(self) -> None:
        self.expired: list[tuple[VolumeKey, bool]] = []
        self.read: list[bool] = []
        self.damaged: set[VolumeKey] = set()
        self.problems: dict[VolumeKey, tuple[Problem, ...]] = {}

    async def archives(self) -> list[VolumeKey]:
        return [LIVE, DEAD, STRANGE]

    async def expire(self, key: VolumeKey, *, dry_run: bool) -> Sequence[Verdict]:
        self.expired.append((key, dry_run))
        if key in self.damaged:
            raise VolumeError("a manifest is damaged")
        return [
            Verdict("base", "b1", True, "the window begins with it", ("k1", "k2"), 70),
            Verdict("wal", "w1", False, "nothing needs it", ("k3",), 30),
        ]

    async def check(self, key: VolumeKey, *, every_byte: bool) -> Report:
        self.read.append(every_byte)
        if key in self.damaged:
            raise VolumeError("the store is away")
        return Report(3, 100, 1, 1, 3 if every_byte else 0, self.problems.get(key, ()))

    async def window(self, key: VolumeKey) -> RestorableWindow | None:
        return RestorableWindow(MOMENT, MOMENT, ((MOMENT, MOMENT),)) if key == LIVE else None


@pytest.fixture
def archives() -> Archives:
    return Archives()


@pytest.fixture
async def running() -> AsyncIterator[Plane]:
    async with plane() as made:
        cluster = dataclasses.replace(rows.cluster(), resource_id=LIVE.resource_id, identifier="alpha")
        snapshot = dataclasses.replace(
            rows.snapshot(),
            identifier="last",
            cluster_resource_id=DEAD.resource_id,
            incarnation=1,
            cluster_identifier="beta",
        )
        await made.store.run(lambda tx: (tx.add(cluster), tx.add(snapshot)))
        yield made


async def test_each_archive_is_told_with_its_name_and_its_window(running: Plane, archives: Archives) -> None:
    told = await backups.listed(running.control, archives)
    assert [(one["archive"], one["cluster"], one["state"], one["snapshots"]) for one in told] == [
        ("cluster-A/1", "alpha", "live", []),
        ("cluster-GONE/1", "beta", "snapshots only", ["last"]),
        ("cluster-X/2", None, "snapshots only", []),
    ]
    assert told[0]["earliest"] == MOMENT.isoformat()
    assert told[0]["gaps"] == [[MOMENT.isoformat(), MOMENT.isoformat()]]
    assert (told[0]["bytes"], told[0]["expired_bytes"]) == (100, 30)
    assert all(dry for _, dry in archives.expired), "to tell must change nothing"


@pytest.mark.parametrize("name", ["beta", "cluster-GONE", "cluster-GONE/1"])
async def test_expiry_gives_a_reason_for_everything(running: Plane, archives: Archives, name: str) -> None:
    told = await backups.expire(running.control, archives, name, dry_run=True)
    assert [(one["name"], one["keep"], one["reason"], one["objects"], one["bytes"]) for one in told] == [
        ("b1", True, "the window begins with it", 2, 70),
        ("w1", False, "nothing needs it", 1, 30),
    ]
    assert archives.expired == [(DEAD, True)]
    await backups.expire(running.control, archives, None, dry_run=False)
    assert archives.expired[1:] == [(LIVE, False), (DEAD, False), (STRANGE, False)]


async def test_a_name_that_is_none_is_refused(running: Plane, archives: Archives) -> None:
    with pytest.raises(BackupsNotFound, match="gamma"):
        await backups.expire(running.control, archives, "gamma", dry_run=False)
    with pytest.raises(DBClusterNotFoundFault, match="gamma"):
        await backups.purge(running.control, "gamma")
    assert archives.expired == []


async def test_another_accounts_archives_are_none_of_ours(running: Plane, archives: Archives) -> None:
    theirs = dataclasses.replace(
        rows.snapshot(),
        snapshot_id="x",
        cluster_resource_id=STRANGE.resource_id,
        incarnation=STRANGE.incarnation,
    )
    other = running.controls.of(Scope("111122223333", running.control.deployment.region))
    await other.store.run(lambda tx: tx.add(theirs))
    assert [one["archive"] for one in await backups.listed(running.control, archives)] == [
        "cluster-A/1",
        "cluster-GONE/1",
    ]
    assert [one["archive"] for one in await backups.listed(other, archives)] == ["cluster-X/2"]
    for name in (STRANGE.prefix, STRANGE.resource_id):
        with pytest.raises(BackupsNotFound):
            await backups.expire(running.control, archives, name, dry_run=False)
    # A snapshot that was shared and copied lies in the archive of its source: both know it.
    copied = dataclasses.replace(theirs, snapshot_id="y")
    await running.store.run(lambda tx: tx.add(dataclasses.replace(copied, identifier="copied")))
    assert len(await backups.listed(running.control, archives)) == 3


async def test_a_damaged_archive_is_a_fault_of_expiry_and_a_problem_of_a_check(
    running: Plane, archives: Archives
) -> None:
    archives.damaged.add(DEAD)
    archives.problems[LIVE] = (Problem("orphan", "cluster-A/1/base/x/000000", "belongs to nothing"),)
    with pytest.raises(BackupsNotUsable, match="manifest is damaged"):
        await backups.expire(running.control, archives, "beta", dry_run=True)
    told = await backups.check(running.control, archives, None, deep=True)
    assert [(one["cluster"], one["kind"], one["detail"]) for one in told["problems"]] == [
        ("alpha", "orphan", "belongs to nothing"),
        ("beta", "unreadable", "the store is away"),
    ]
    assert (told["archives"], told["objects"], told["read"]) == (3, 6, 6)
    assert archives.read == [True] * 3
