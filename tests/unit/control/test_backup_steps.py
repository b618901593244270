"""Every step of the jobs of backup and recovery made to fail, and interrupted at its failpoint, on twins: each job ends well."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from stilldb.control import clusters, copies, deletions, instances, retained, snapshots, stopping
from stilldb.control.clusters import NewCluster
from stilldb.control.context import Control
from stilldb.control.copies import NewCopy
from stilldb.control.instances import NewInstance
from stilldb.domain.names import Place
from stilldb.domain.resources import Cluster, Instance, Job, RetainedBackup, Snapshot
from support.points import ON_TWINS
from support.twins import Plane, plane, until

EVERY = ("copy-snapshot.copy", *ON_TWINS)  # the first on the whole service too


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    monkeypatch.setenv("STILLDB_TESTING", "1")
    async with plane() as it:
        await clusters.create(
            it.control, NewCluster(identifier="alpha"), username="keeper", password="long-enough!"
        )
        await idle(it)
        yield it


async def idle(running: Plane) -> None:
    async def no_job() -> bool:
        return await running.store.run(lambda tx: tx.count(Job)) == 0

    await until(no_job, 10)


async def status(running: Plane, kind: type[Cluster] | type[Snapshot], name: str) -> str | None:
    row = await running.store.run(lambda tx: tx.get(kind, name))
    return None if row is None else str(row.status)


async def copy(running: Plane) -> None:
    await snapshots.create(running.control, identifier="one", cluster_identifier="alpha", given_tags={})
    await idle(running)
    here = Place(running.control.deployment.account, running.control.deployment.region, "one")
    await copies.copy(running.control, NewCopy(identifier="two", source=here))


async def stop(running: Plane) -> None:
    new = NewInstance(identifier="alpha-1", cluster_identifier="alpha", instance_class="db.r6g.large")
    await instances.create(running.control, new)
    await idle(running)
    await stopping.stop(running.control, "alpha")


async def purge(running: Plane) -> None:
    def take(tx: object, control: Control = running.control) -> None:
        cluster = tx.get(Cluster, "alpha")  # type: ignore[attr-defined]
        snapshots.begin(tx, control, "rds:alpha-x", cluster, {}, snapshots.AUTOMATED)  # type: ignore[arg-type]

    await running.store.run(take)
    running.control.wake()
    await idle(running)
    await deletions.delete(running.control, "alpha", skip_final_snapshot=True, final_snapshot=None)
    await idle(running)
    await retained.purge(running.control, "alpha")


async def copied(running: Plane, gave_up: bool) -> None:
    assert await status(running, Snapshot, "two") == ("failed" if gave_up else "available")
    assert await status(running, Snapshot, "one") == "available"


async def was_stopped(running: Plane, gave_up: bool) -> None:
    row = await running.store.run(lambda tx: tx.get(Instance, "alpha-1"))
    assert row is not None
    assert {str(row.status), await status(running, Cluster, "alpha")} <= (
        {"starting", "available"} if gave_up else {"stopped"}
    )


async def purged(running: Plane, gave_up: bool) -> None:
    assert not gave_up
    assert await running.store.run(lambda tx: tx.count(RetainedBackup) + tx.count(Snapshot)) == 0
    assert not running.volumes.published
    assert not running.volumes.archives


JOBS: dict[str, tuple[Callable[[Plane], Awaitable[None]], Callable[[Plane, bool], Awaitable[None]], bool]] = {
    "copy-snapshot": (copy, copied, True),
    "stop-cluster": (stop, was_stopped, True),
    "purge-retained": (purge, purged, False),  # tried until it happens
}


def test_every_job_has_its_points() -> None:
    assert {point.partition(".")[0] for point in EVERY} == set(JOBS)


@pytest.mark.parametrize("point", EVERY)
async def test_interrupted_there_the_next_control_plane_finishes(
    running: Plane, point: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    start, ended, _ = JOBS[point.partition(".")[0]]
    monkeypatch.setenv("STILLDB_FAILPOINTS", f"{point}=pause")
    monkeypatch.setenv("STILLDB_FAILPOINT_DIR", str(tmp_path))
    await start(running)
    await until((tmp_path / f"{point}.reached").exists)
    await running.worker.interrupt()
    monkeypatch.delenv("STILLDB_FAILPOINTS")
    await running.restart()
    await idle(running)
    await ended(running, False)


@pytest.mark.parametrize("point", EVERY)
async def test_a_step_that_keeps_failing_is_given_up_or_tried_until_it_works(
    running: Plane, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, ended, gives_up = JOBS[point.partition(".")[0]]
    monkeypatch.setenv("STILLDB_FAILPOINTS", f"{point}=error")
    await start(running)
    if not gives_up:
        await asyncio.sleep(0.5)
        assert await running.store.run(lambda tx: tx.find(Job)[0].attempts) >= 1
        monkeypatch.delenv("STILLDB_FAILPOINTS")
    await idle(running)
    await ended(running, gives_up)
