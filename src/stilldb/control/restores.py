"""RestoreDBClusterFromSnapshot, and the job that fills the volume of any restored or cloned cluster."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from stilldb.control import clusters, encryption, events, sharing
from stilldb.control.clusters import NewCluster
from stilldb.control.context import Control
from stilldb.control.jobs import JobRun, submit
from stilldb.control.ports import Transaction
from stilldb.control.views import ClusterView, cluster_view
from stilldb.domain import engine
from stilldb.domain.faults import InvalidDBClusterSnapshotStateFault, InvalidParameterCombination
from stilldb.domain.names import Place
from stilldb.domain.resources import Cluster, Job, Snapshot, SnapshotStatus
from stilldb.domain.volumes import SnapshotTarget, TimeTarget, VolumeKey


async def from_snapshot(control: Control, new: NewCluster, source: Place) -> ClusterView:
    """The new cluster in status creating, without instances, and the job that fills its volume.

    From the snapshot: the data with its users, the port, the engine version, the backup and maintenance windows;
    from the request: what it gives; the rest are the defaults of a new cluster.
    """
    found = await control.store.run(lambda tx: _require_available(tx, control, source))
    key = await encryption.of_snapshot_restore(control, source, found.kms_key_arn, new.kms_key_id)

    def work(tx: Transaction) -> ClusterView:
        snapshot = _require_available(tx, control, source)
        refuse_another_version(new, f"snapshot {source.name}", snapshot.engine_version)
        settled = settle(
            new,
            snapshot.settings,
            engine_version=snapshot.engine_version,
            port=new.port if new.port is not None else snapshot.settings["port"],
        )
        cluster = clusters.begin(
            tx,
            control,
            settled,
            master=master_of(snapshot.master_username),
            percent_progress=0,
            source_snapshot_id=snapshot.snapshot_id,
            source_volume=snapshot.volume.prefix,
            kms_key_arn=key,
        )
        of = f"the cluster snapshot {source.name}"
        submit(tx, control, "restore-cluster", cluster.resource_id, identifier=cluster.identifier, of=of)
        return cluster_view(tx, cluster)

    view = await control.store.run(work)
    control.wake()
    return view


def _require_available(tx: Transaction, control: Control, source: Place) -> Snapshot:
    snapshot = sharing.require(tx, control, source)
    if snapshot.status is not SnapshotStatus.AVAILABLE:
        raise InvalidDBClusterSnapshotStateFault(
            f"The cluster snapshot {source.name} is in status {snapshot.status}; a restore needs it to be available."
        )
    return snapshot


def refuse_another_version(new: NewCluster, source: str, version: str) -> None:
    """Volumes are not converted."""
    if new.engine_version is not None and engine.engine_version(new.engine_version) != version:
        raise InvalidParameterCombination(
            f"The {source} has engine version {version} and can't be restored as {new.engine_version}. Leave "
            f"EngineVersion out, or give {version}."
        )


def master_of(username: str) -> dict[str, Any]:
    """The master user comes with the data."""
    return {"master_username": username, "master_version": 0, "master_verifiers": ()}


def settle(new: NewCluster, settings: Any, **more: Any) -> NewCluster:
    """The request with the source's settings where it is silent."""
    return dataclasses.replace(
        new,
        availability_zones=new.availability_zones or tuple(settings["availability_zones"]),
        backup_retention_period=settings["backup_retention_period"],
        preferred_backup_window=settings["preferred_backup_window"],
        preferred_maintenance_window=settings["preferred_maintenance_window"],
        **more,
    )


async def run_restore(run: JobRun) -> None:
    """Restore or clone the volume, telling how far it is; then the cluster is available, without instances."""
    control = run.control
    cluster = await control.store.run(lambda tx: clusters.wanted(tx, run.job))
    try:
        await _fill(run, cluster)
        await run.reached("volume")
        message = f"DB cluster created from {run.job.payload.get('of', 'a snapshot')}"
        await run.finish(lambda tx: clusters.created(tx, run, "restored", message))
    finally:
        control.progress.pop(cluster.resource_id, None)


async def _fill(run: JobRun, cluster: Cluster) -> None:
    assert cluster.source_volume is not None, "a restored cluster knows its source"
    resource_id, _, incarnation = cluster.source_volume.rpartition("/")
    source = VolumeKey(resource_id, int(incarnation))

    def progress(percent: int) -> None:
        run.control.progress[cluster.resource_id] = percent

    volumes, key = run.control.volumes, cluster.kms_key_arn
    if run.job.payload.get("clone"):
        await volumes.clone(cluster.volume, source=source, kms_key_arn=key, progress=progress)
        return
    target = _target(run.job, cluster)
    await volumes.restore(cluster.volume, source=source, target=target, kms_key_arn=key, progress=progress)


def _target(job: Job, cluster: Cluster) -> SnapshotTarget | TimeTarget:
    if cluster.source_snapshot_id is not None:
        return SnapshotTarget(cluster.source_snapshot_id)
    return TimeTarget(datetime.datetime.fromisoformat(job.payload["time"]))


def give_up_restore(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """The cluster shows migration-failed, with the reason; it can be deleted."""
    cluster = clusters.move(tx, job, "restore-failed", reason)
    events.record(tx, control, cluster, "failure", f"DB cluster could not be restored: {reason}")
