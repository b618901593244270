"""Retained backups: what a deleted cluster can still be restored to, until its retention ends or somebody purges it."""

from __future__ import annotations

import dataclasses
import datetime

from stilldb.control import clusters, events, snapshots
from stilldb.control.context import Control
from stilldb.control.jobs import JobRun, NoLongerPossible, submit
from stilldb.control.ports import Transaction
from stilldb.domain import transitions
from stilldb.domain.faults import DBClusterNotFoundFault
from stilldb.domain.resources import Cluster, Job, RetainedBackup, Snapshot
from stilldb.domain.volumes import RestorableWindow


def begin(
    tx: Transaction,
    control: Control,
    cluster: Cluster,
    retain_until: datetime.datetime,
    window: RestorableWindow | None,
) -> None:
    """Keep what is left of a cluster that ends."""
    tx.add(
        RetainedBackup(
            resource_id=cluster.resource_id,
            incarnation=cluster.incarnation,
            cluster_identifier=cluster.identifier,
            cluster_created_at=cluster.created_at,
            deleted_at=control.now(),
            retain_until=retain_until,
            earliest=None if window is None else window.earliest,
            latest=None if window is None else window.latest,
            engine_version=cluster.engine_version,
            master_username=cluster.master_username,
            storage_type=cluster.storage_type,
            settings=snapshots.settings_of(cluster),
            kms_key_arn=cluster.kms_key_arn,
        )
    )


def find(tx: Transaction, name: str) -> RetainedBackup | None:
    """The retained backup of a cluster by resource id, or of the one deleted last with this identifier."""
    rows = [row for row in tx.find(RetainedBackup, purging=False) if _is(row, name)]
    return max(rows, key=lambda row: row.deleted_at, default=None)


def _is(row: RetainedBackup, name: str) -> bool:
    return name.lower() in {row.resource_id.lower(), row.cluster_identifier}


async def listed(control: Control) -> list[RetainedBackup]:
    """Every retained backup of this account and region."""
    return await control.store.run(lambda tx: tx.find(RetainedBackup))


async def purge(control: Control, name: str) -> RetainedBackup:
    """Let go of a retained backup before its time, by resource id or by the deleted cluster's identifier."""

    def work(tx: Transaction) -> RetainedBackup:
        found = find(tx, name)
        if found is None:
            raise DBClusterNotFoundFault(f"No backup of a deleted cluster {name} is retained.")
        return begin_purge(tx, control, found)

    row = await control.store.run(work)
    control.wake()
    return row


def expire(tx: Transaction, control: Control) -> int:
    """Begin to purge those whose retention has ended; returns how many."""
    over = [row for row in tx.find(RetainedBackup, purging=False) if row.retain_until <= control.now()]
    for row in over:
        begin_purge(tx, control, row)
    return len(over)


def begin_purge(tx: Transaction, control: Control, row: RetainedBackup) -> RetainedBackup:
    """Nothing can be restored from it any more; its automated snapshots go with it, in the job."""
    purging = dataclasses.replace(row, purging=True)
    tx.save(purging)
    for snapshot in automated(tx, row.resource_id):
        if transitions.allows(snapshot.status, "delete"):
            tx.save(dataclasses.replace(snapshot, status=transitions.after(snapshot.status, "delete")))
    submit(tx, control, "purge-retained", row.resource_id)
    return purging


def automated(tx: Transaction, resource_id: str) -> list[Snapshot]:
    """The automated snapshots of a cluster, live or deleted."""
    return tx.find(Snapshot, cluster_resource_id=resource_id, snapshot_type=snapshots.AUTOMATED)


async def run_purge(run: JobRun) -> None:
    """Wait for restores that read it; forget its automated snapshots, then the rest that no manual one pins."""
    control = run.control
    row = await control.store.run(lambda tx: tx.get(RetainedBackup, run.job.resource))
    if row is None:
        raise NoLongerPossible("the retained backup is gone already")
    await run.wait_for(lambda tx: not _is_read(tx, row))
    freed = 0
    for snapshot in await control.store.run(lambda tx: automated(tx, row.resource_id)):
        freed += await control.volumes.forget(snapshot.volume, snapshot.snapshot_id)
        await run.reached("forget")
    freed += await control.volumes.purge(row.volume)
    await run.reached("purge")

    def gone(tx: Transaction) -> None:
        for snapshot in automated(tx, row.resource_id):
            snapshots.remove(tx, control, snapshot, 0)
        tx.remove(row)
        message = f"Retained backups of the deleted DB cluster removed. {freed} bytes were freed."
        events.record(tx, control, row, "backup", message)

    await run.finish(gone)


def _is_read(tx: Transaction, row: RetainedBackup) -> bool:
    """Whether a restore or a copy reads the volume's archive or one of its automated snapshots."""
    return bool(clusters.recovering(tx, row.volume)) or any(
        snapshots.is_read(tx, snapshot.snapshot_id) for snapshot in automated(tx, row.resource_id)
    )


def give_up_purge(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """Nothing is left to purge."""
