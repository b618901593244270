"""Automated snapshots and retained backups on twins, by a clock that the test sets."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stilldb.control import (
    automated,
    clusters,
    deletions,
    reconcile,
    recoveries,
    restores,
    retained,
    snapshots,
)
from stilldb.control.clusters import NewCluster
from stilldb.control.recoveries import Moment
from stilldb.domain import faults
from stilldb.domain.names import Place
from stilldb.domain.resources import Cluster, Event, Job, RetainedBackup, Snapshot, SnapshotStatus
from support.twins import Plane, plane, until

HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
NOON = datetime.datetime(2026, 3, 1, 12, 0, 30, tzinfo=datetime.UTC)


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    monkeypatch.setattr(reconcile, "MAINTAIN_EVERY", 3600.0)  # the tests look themselves
    async with plane() as it:
        it.at(NOON)
        yield it


async def alpha(running: Plane, **more: Any) -> Cluster:
    more = {"preferred_backup_window": "15:00-15:30", "backup_retention_period": 3, **more}
    await clusters.create(
        running.control, NewCluster(identifier="alpha", **more), username="keeper", password="long-enough!"
    )
    await until(lambda: _status(running, "available"))
    found = await running.store.run(lambda tx: tx.get(Cluster, "alpha"))
    assert found is not None
    return found


async def _status(running: Plane, status: str | None) -> bool:
    found = await running.store.run(lambda tx: tx.get(Cluster, "alpha"))
    return (None if found is None else found.status) == status


async def look(running: Plane, moment: datetime.datetime) -> dict[str, str]:
    """Identifier to status of the automated snapshots after a look at this moment and the jobs that it made."""
    running.at(moment)
    await automated.tend(running.control)
    await idle(running)
    rows = await running.store.run(lambda tx: tx.find(Snapshot, snapshot_type="automated"))
    return {row.identifier: str(row.status) for row in rows}


async def idle(running: Plane) -> None:
    async def no_job() -> bool:
        return await running.store.run(lambda tx: tx.count(Job)) == 0

    await until(no_job)


async def test_one_a_day_when_the_window_opens_named_as_aws_names_them(running: Plane) -> None:
    await alpha(running)
    assert await look(running, NOON + 2 * HOUR) == {}
    first = "rds:alpha-2026-03-01-15-00"
    assert await look(running, NOON + 3 * HOUR) == {first: "available"}
    assert await look(running, NOON + 4 * HOUR) == {first: "available"}
    row = await running.store.run(lambda tx: tx.get(Snapshot, first))
    assert (row.percent_progress, row.settings["backup_retention_period"]) == (100, 3)
    told = await running.store.run(lambda tx: tx.find(Event, source_type="db-cluster-snapshot"))
    assert [event.message for event in told] == [
        "Creating automated cluster snapshot",
        "Automated cluster snapshot created",
    ]
    assert len(await look(running, NOON + DAY + 3 * HOUR)) == 2


async def test_a_window_missed_by_downtime_is_caught_up_once(running: Plane) -> None:
    await alpha(running)
    assert list(await look(running, NOON + 2 * DAY + 9 * HOUR)) == ["rds:alpha-2026-03-03-21-00"]
    assert len(await look(running, NOON + 2 * DAY + 10 * HOUR)) == 1


async def test_they_expire_after_the_retention_but_the_newest_good_one_stays(running: Plane) -> None:
    await alpha(running)
    for day in range(4):
        await look(running, NOON + 3 * HOUR + day * DAY)
    third = await look(running, NOON + 3 * HOUR + 3 * DAY)
    assert sorted(third) == [f"rds:alpha-2026-03-0{day}-15-00" for day in (2, 3, 4)]
    running.volumes.failing["mark"] = 100
    later = await look(running, NOON + 365 * DAY)  # a clock that jumped
    assert later["rds:alpha-2026-03-04-15-00"] == "available"
    assert [status for status in later.values() if status != "available"] == ["failed"]
    assert len(later) == 2


async def test_a_failed_one_is_tried_again_after_a_while(running: Plane) -> None:
    await alpha(running)
    running.volumes.failing["mark"] = 4
    opened = NOON + 3 * HOUR
    assert list((await look(running, opened)).values()) == ["failed"]
    assert list((await look(running, opened + 0.4 * HOUR)).values()) == ["failed"]
    await look(running, opened + 0.5 * HOUR)
    assert await look(running, opened + 0.5 * HOUR) == {"rds:alpha-2026-03-01-15-30": "available"}


async def test_they_do_not_count_and_can_not_be_deleted_by_hand(running: Plane) -> None:
    await alpha(running)
    (name,) = await look(running, NOON + 3 * HOUR)
    assert await running.store.run(lambda tx: tx.count(Snapshot, snapshot_type="manual")) == 0
    with pytest.raises(
        faults.InvalidDBClusterSnapshotStateFault, match="Only manual snapshots may be deleted"
    ):
        await snapshots.delete(running.control, name)


async def test_none_of_a_cluster_that_is_not_available(running: Plane) -> None:
    cluster = await alpha(running)
    running.volumes.failing["destroy"] = 1000
    await deletions.delete(running.control, "alpha", skip_final_snapshot=True, final_snapshot=None)
    running.at(NOON + 4 * HOUR)
    await automated.tend(running.control)
    assert await running.store.run(lambda tx: tx.count(Snapshot)) == 0
    assert cluster.status == "available"


async def deleted(running: Plane) -> tuple[Cluster, str]:
    """A cluster deleted an hour after its automated snapshot was taken, and that one's name."""
    cluster = await alpha(running)
    (name,) = await look(running, NOON + 3 * HOUR)
    running.at(NOON + 4 * HOUR)
    await deletions.delete(running.control, "alpha", skip_final_snapshot=True, final_snapshot=None)
    await until(lambda: _status(running, None))
    return cluster, name


async def test_a_deleted_cluster_stays_restorable_for_its_retention(running: Plane) -> None:
    cluster, name = await deleted(running)
    (row,) = await retained.listed(running.control)
    assert row.volume == cluster.volume
    assert (row.earliest, row.latest) == (NOON, NOON + 4 * HOUR)
    assert row.retain_until == NOON + 4 * HOUR + 3 * DAY
    assert await look(running, NOON + 3.1 * DAY) == {name: "available"}, (
        "nothing expires before all of it does"
    )
    for source in ("alpha", cluster.resource_id.lower()):
        view = await recoveries.to_point_in_time(
            running.control,
            NewCluster(identifier=f"again-{source[-1]}"),
            source,
            Moment(time=NOON + 2 * HOUR),
        )
        assert view.cluster.backup_retention_period == 3
    await restores.from_snapshot(
        running.control, NewCluster(identifier="third"), Place("123456789012", "us-east-1", name)
    )
    await idle(running)
    kinds = sorted(type(target).__name__ for target in running.volumes.restored.values())
    assert kinds == ["SnapshotTarget", "TimeTarget", "TimeTarget"]
    with pytest.raises(faults.InvalidParameterValue, match=r"12:00:30\.000Z to 2026-03-01T16:00:30\.000Z"):
        await recoveries.to_point_in_time(
            running.control, NewCluster(identifier="x"), "alpha", Moment(time=NOON + 5 * HOUR)
        )
    with pytest.raises(faults.InvalidParameterCombination, match="is deleted, so there is nothing to clone"):
        await recoveries.to_point_in_time(
            running.control,
            NewCluster(identifier="x"),
            "alpha",
            Moment(restore_type="copy-on-write", latest=True),
        )


async def test_what_is_retained_goes_when_its_time_is_over(running: Plane) -> None:
    cluster, _ = await deleted(running)
    assert await look(running, NOON + 4 * HOUR + 3 * DAY) == {}
    assert await retained.listed(running.control) == []
    assert cluster.volume not in running.volumes.archives
    assert not running.volumes.published
    with pytest.raises(faults.DBClusterNotFoundFault):
        await recoveries.to_point_in_time(
            running.control, NewCluster(identifier="x"), "alpha", Moment(latest=True)
        )
    told = await running.store.run(lambda tx: tx.find(Event, source_type="db-cluster"))
    assert told[-1].message == "Retained backups of the deleted DB cluster removed. 32 bytes were freed."


async def test_purge_before_the_time_waits_for_a_restore_that_reads_it(running: Plane) -> None:
    cluster, name = await deleted(running)
    running.volumes.gates["restore"] = gate = asyncio.Event()
    await recoveries.to_point_in_time(
        running.control, NewCluster(identifier="beta"), "alpha", Moment(latest=True)
    )
    await retained.purge(running.control, cluster.resource_id)
    with pytest.raises(
        faults.DBClusterNotFoundFault, match="No backup of a deleted cluster alpha is retained"
    ):
        await retained.purge(running.control, "alpha")
    with pytest.raises(faults.InvalidDBClusterSnapshotStateFault):
        await restores.from_snapshot(
            running.control, NewCluster(identifier="x"), Place("123456789012", "us-east-1", name)
        )
    await asyncio.sleep(0.1)
    assert cluster.volume in running.volumes.archives
    gate.set()
    await idle(running)
    assert cluster.volume not in running.volumes.archives
    assert await running.store.run(lambda tx: tx.count(RetainedBackup)) == 0
    assert await running.store.run(lambda tx: tx.get(Cluster, "beta").status) == "available"


async def test_manual_snapshots_outlive_what_is_retained(running: Plane) -> None:
    await alpha(running)
    await snapshots.create(running.control, identifier="kept", cluster_identifier="alpha", given_tags={})
    await idle(running)
    await deletions.delete(running.control, "alpha", skip_final_snapshot=True, final_snapshot=None)
    await until(lambda: _status(running, None))
    await look(running, NOON + 30 * DAY)
    row = await running.store.run(lambda tx: tx.get(Snapshot, "kept"))
    assert row.status is SnapshotStatus.AVAILABLE
    assert row.snapshot_id in running.volumes.published


async def test_nothing_is_retained_of_a_cluster_that_never_was(running: Plane) -> None:
    running.volumes.failing["create"] = 100
    await clusters.create(
        running.control, NewCluster(identifier="alpha"), username="keeper", password="long-enough!"
    )
    await until(lambda: _status(running, "failed"))
    await deletions.delete(running.control, "alpha", skip_final_snapshot=True, final_snapshot=None)
    await until(lambda: _status(running, None))
    assert await retained.listed(running.control) == []


async def test_the_same_name_again_while_the_old_one_is_retained(running: Plane) -> None:
    old, _ = await deleted(running)
    new = await alpha(running)
    await recoveries.to_point_in_time(
        running.control, NewCluster(identifier="of-new"), "alpha", Moment(latest=True)
    )
    await recoveries.to_point_in_time(
        running.control, NewCluster(identifier="of-old"), old.resource_id.lower(), Moment(latest=True)
    )
    rows = await running.store.run(lambda tx: {row.identifier: row for row in tx.find(Cluster)})
    assert rows["of-new"].source_volume == new.volume.prefix
    assert rows["of-old"].source_volume == old.volume.prefix
