"""RestoreDBClusterFromSnapshot and its job."""

from __future__ import annotations

import dataclasses

from stilldb.control import clusters, snapshots
from stilldb.control.clusters import NewCluster
from stilldb.control.context import Control
from stilldb.control.jobs import JobRun, submit
from stilldb.control.ports import Transaction
from stilldb.control.views import ClusterView, cluster_view
from stilldb.domain import engine
from stilldb.domain.faults import InvalidDBClusterSnapshotStateFault, InvalidParameterCombination
from stilldb.domain.resources import Job, Snapshot, SnapshotStatus
from stilldb.domain.volumes import SnapshotTarget, VolumeKey


async def from_snapshot(control: Control, new: NewCluster, snapshot_identifier: str) -> ClusterView:
    """The new cluster in status creating, without instances, and the job that fills its volume.

    From the snapshot: the data with its users, the port, the engine version, the backup and maintenance windows;
    from the request: what it gives; the rest are the defaults of a new cluster.
    """

    def work(tx: Transaction) -> ClusterView:
        snapshot = _require_available(tx, snapshot_identifier)
        settled = _settled(new, snapshot)
        cluster = clusters.begin(
            tx,
            control,
            settled,
            master={"master_username": snapshot.master_username, "master_version": 0, "master_verifiers": ()},
            percent_progress=0,
            source_snapshot_id=snapshot.snapshot_id,
            source_volume=snapshot.volume.prefix,
        )
        submit(tx, control, "restore-cluster", cluster.resource_id, identifier=cluster.identifier)
        return cluster_view(tx, cluster)

    view = await control.store.run(work)
    control.wake()
    return view


def _require_available(tx: Transaction, identifier: str) -> Snapshot:
    snapshot = tx.get(Snapshot, identifier)
    if snapshot is None:
        raise snapshots.not_found(identifier)
    if snapshot.status is not SnapshotStatus.AVAILABLE:
        raise InvalidDBClusterSnapshotStateFault(
            f"The cluster snapshot {identifier} is in status {snapshot.status}; a restore needs it to be available."
        )
    return snapshot


def _settled(new: NewCluster, snapshot: Snapshot) -> NewCluster:
    """The request with the snapshot's settings where it is silent."""
    if (
        new.engine_version is not None
        and engine.engine_version(new.engine_version) != snapshot.engine_version
    ):
        raise InvalidParameterCombination(
            f"The snapshot {snapshot.identifier} has engine version {snapshot.engine_version} and can't be restored as "
            f"{new.engine_version}. Leave EngineVersion out, or give {snapshot.engine_version}."
        )
    settings = snapshot.settings
    return dataclasses.replace(
        new,
        engine_version=snapshot.engine_version,
        port=new.port if new.port is not None else settings["port"],
        availability_zones=new.availability_zones or tuple(settings["availability_zones"]),
        backup_retention_period=settings["backup_retention_period"],
        preferred_backup_window=settings["preferred_backup_window"],
        preferred_maintenance_window=settings["preferred_maintenance_window"],
    )


async def run_restore(run: JobRun) -> None:
    """Restore the volume, telling how far it is; then the cluster is available, without instances."""
    control = run.control
    cluster = await control.store.run(lambda tx: clusters.wanted(tx, run.job))
    assert cluster.source_volume is not None
    assert cluster.source_snapshot_id is not None
    resource_id, _, incarnation = cluster.source_volume.rpartition("/")

    def progress(percent: int) -> None:
        control.progress[cluster.resource_id] = percent

    try:
        await control.volumes.restore(
            cluster.volume,
            source=VolumeKey(resource_id, int(incarnation)),
            target=SnapshotTarget(cluster.source_snapshot_id),
            kms_key_arn=None,
            progress=progress,
        )
        await run.reached("volume")
        await run.finish(lambda tx: clusters.move(tx, run.job, "restored"))
    finally:
        control.progress.pop(cluster.resource_id, None)


def give_up_restore(tx: Transaction, job: Job, reason: str) -> None:
    """The cluster shows migration-failed, with the reason; it can be deleted."""
    clusters.move(tx, job, "restore-failed", reason)
