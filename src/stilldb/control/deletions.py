"""DeleteDBCluster: the checks, the final snapshot, and the job that ends the volume and retains its backups."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from stilldb.control import clusters, events, retained, snapshots, tags
from stilldb.control.context import Control
from stilldb.control.jobs import JobRun, NoLongerPossible, submit
from stilldb.control.ports import Transaction
from stilldb.control.views import ClusterView, cluster_view
from stilldb.domain import transitions
from stilldb.domain.faults import InvalidDBClusterStateFault, InvalidParameterCombination
from stilldb.domain.resources import (
    Cluster,
    ClusterStatus,
    Instance,
    InstanceStatus,
    Job,
    Snapshot,
    SnapshotStatus,
)
from stilldb.domain.volumes import RestorableWindow


async def delete(
    control: Control, identifier: str, *, skip_final_snapshot: bool, final_snapshot: str | None
) -> ClusterView:
    """DeleteDBCluster: every check first, then the cluster in status deleting, with its final snapshot if one is asked."""

    def work(tx: Transaction) -> ClusterView:
        cluster = clusters.require(tx, identifier)
        _refuse_delete(tx, cluster, final_snapshot)
        _refuse_final(skip_final_snapshot, final_snapshot)
        payload: dict[str, Any] = {"identifier": identifier}
        if cluster.status is ClusterStatus.AVAILABLE:  # others never held anything
            retention = datetime.timedelta(days=cluster.backup_retention_period)
            payload["retain_until"] = (control.now() + retention).isoformat()
        if final_snapshot is not None:
            snapshots.refuse_if_taken_or_over_quota(tx, control, final_snapshot, cluster)
            snapshots.begin(tx, control, final_snapshot, cluster, {})
            payload["final_snapshot"] = final_snapshot
        deleting = dataclasses.replace(
            cluster, status=transitions.after(cluster.status, "delete"), status_reason=""
        )
        tx.save(deleting)
        submit(tx, control, "delete-cluster", cluster.resource_id, **payload)
        return cluster_view(tx, deleting)

    view = await control.store.run(work)
    control.wake()
    return view


def _refuse_delete(tx: Transaction, cluster: Cluster, final_snapshot: str | None) -> None:
    if cluster.deletion_protection:
        raise InvalidParameterCombination(
            "Cannot delete protected Cluster, please disable deletion protection and try again."
        )
    members = tx.find(Instance, cluster_resource_id=cluster.resource_id)
    if any(member.status is not InstanceStatus.DELETING for member in members):
        raise InvalidDBClusterStateFault(
            "Cluster cannot be deleted, it still contains DB instances in non-deleting state."
        )
    if not transitions.allows(cluster.status, "delete"):
        if final_snapshot is not None:
            raise snapshots.not_available(cluster.identifier)
        raise InvalidDBClusterStateFault(
            f"DbCluster {cluster.identifier} is in {cluster.status} state but expected it to be one of available."
        )


def _refuse_final(skip: bool, name: str | None) -> None:
    if not skip and name is None:
        raise InvalidParameterCombination(
            "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified."
        )
    if skip and name is not None:
        raise InvalidParameterCombination(
            "FinalDBSnapshotIdentifier cannot be specified when SkipFinalSnapshot is true. Give one of the two."
        )


async def run_delete(run: JobRun) -> None:
    """Wait for what is under way, then end the volume; what snapshots pin stays, and for its retention the rest."""
    control = run.control
    cluster = await control.store.run(lambda tx: clusters.wanted(tx, run.job))
    await run.wait_for(lambda tx: not _in_use(tx, cluster))
    await control.store.run(lambda tx: _require_final(tx, run.job))
    deadline = run.job.payload.get("retain_until")
    retain_until = None if deadline is None else datetime.datetime.fromisoformat(deadline)
    await control.volumes.destroy(cluster.volume, retain_until=retain_until)
    await run.reached("destroy")
    window = None if retain_until is None else await control.volumes.window(cluster.volume)
    if window is None and not await control.store.run(lambda tx: retained.automated(tx, cluster.resource_id)):
        await control.volumes.purge(cluster.volume)
        retain_until = None
    await run.finish(lambda tx: _gone(tx, control, cluster, retain_until, window))
    control.windows.pop(cluster.resource_id, None)


def _in_use(tx: Transaction, cluster: Cluster) -> bool:
    """Whether a snapshot or an instance is under way, or another cluster is being made of this one."""
    return bool(
        tx.count(Snapshot, cluster_resource_id=cluster.resource_id, status=SnapshotStatus.CREATING)
        or tx.count(Instance, cluster_resource_id=cluster.resource_id)
        or clusters.recovering(tx, cluster.volume)
    )


def _require_final(tx: Transaction, job: Job) -> None:
    """Nothing is deleted when the final snapshot that was asked for failed."""
    final = job.payload.get("final_snapshot")
    if final is None:
        return
    taken = tx.get(Snapshot, final)
    if taken is None or taken.status is not SnapshotStatus.AVAILABLE:
        reason = "" if taken is None else taken.status_reason
        raise NoLongerPossible(f"the final snapshot {final} failed, so nothing was deleted: {reason}")


def _gone(
    tx: Transaction,
    control: Control,
    cluster: Cluster,
    retain_until: datetime.datetime | None,
    window: RestorableWindow | None,
) -> None:
    transitions.require_gone(cluster.status, "deleted")
    if retain_until is not None:
        retained.begin(tx, control, cluster, retain_until, window)
    tags.drop_all(tx, clusters.arn(control, cluster))
    tx.remove(cluster)
    events.record(tx, control, cluster, "deletion", "DB cluster deleted")


def give_up_delete(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """A failed final snapshot leaves the cluster as it was; otherwise it stays deleting, with the reason."""
    cluster = tx.get(Cluster, job.payload["identifier"])
    if cluster is None:
        return
    if "final_snapshot" in job.payload:
        cluster = clusters.move(tx, job, "final-snapshot-failed", reason)
        events.record(tx, control, cluster, "failure", f"DB cluster not deleted: {reason}")
    else:
        tx.save(dataclasses.replace(cluster, status_reason=reason))
