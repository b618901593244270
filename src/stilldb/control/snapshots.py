"""Cluster snapshots: create, delete, and the jobs that make them real. Who sees them is in sharing.py."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from stilldb.control import events, tags
from stilldb.control.context import Control
from stilldb.control.jobs import JobRun, NoLongerPossible, submit
from stilldb.control.ports import Transaction
from stilldb.domain import transitions
from stilldb.domain.faults import (
    DBClusterNotFoundFault,
    DBClusterSnapshotAlreadyExistsFault,
    DBClusterSnapshotNotFoundFault,
    InvalidDBClusterSnapshotStateFault,
    InvalidDBClusterStateFault,
    SnapshotQuotaExceeded,
)
from stilldb.domain.resources import (
    AlreadyExists,
    Cluster,
    ClusterStatus,
    Job,
    Snapshot,
    SnapshotStatus,
)
from stilldb.domain.volumes import RestorePoint, SnapshotIntent, VolumeKey

MANUAL = "manual"
AUTOMATED = "automated"


def not_found(identifier: str) -> DBClusterSnapshotNotFoundFault:
    """The fault for a snapshot that is not there."""
    return DBClusterSnapshotNotFoundFault(f"DBClusterSnapshot not found: {identifier}")


def not_available(identifier: str) -> InvalidDBClusterStateFault:
    """The fault for a cluster whose status forbids a snapshot."""
    return InvalidDBClusterStateFault(
        f"Can't create a snapshot because the database cluster {identifier} isn't currently in the available state."
    )


def already_exists(identifier: str) -> DBClusterSnapshotAlreadyExistsFault:
    """The fault for a snapshot name that is taken."""
    return DBClusterSnapshotAlreadyExistsFault(
        f"Cannot create the cluster snapshot because one with the identifier {identifier} already exists."
    )


async def create(
    control: Control, *, identifier: str, cluster_identifier: str, given_tags: Mapping[str, str]
) -> Snapshot:
    """CreateDBClusterSnapshot: the snapshot in status creating, and the job that takes it."""

    def work(tx: Transaction) -> Snapshot:
        cluster = tx.get(Cluster, cluster_identifier)
        if cluster is None:
            raise DBClusterNotFoundFault(f"DBCluster {cluster_identifier} not found.")
        refuse_if_taken_or_over_quota(tx, control, identifier, cluster)
        return begin(tx, control, identifier, cluster, given_tags)

    snapshot = await control.store.run(work)
    control.wake()
    return snapshot


def refuse_if_taken_or_over_quota(
    tx: Transaction, control: Control, identifier: str, cluster: Cluster
) -> None:
    """The checks of a manual snapshot that come before anything is changed."""
    refuse_if_taken(tx, identifier)
    if cluster.status is not ClusterStatus.AVAILABLE:
        raise not_available(cluster.identifier)
    refuse_over_quota(tx, control)


def refuse_if_taken(tx: Transaction, identifier: str) -> None:
    """The fault for a name that another snapshot has."""
    taken = tx.get(Snapshot, identifier)
    if taken is None:
        return
    if taken.status is SnapshotStatus.DELETING:
        raise InvalidDBClusterSnapshotStateFault(
            f"The cluster snapshot {identifier} is being deleted. Its identifier is free once it is gone."
        )
    raise already_exists(identifier)


def refuse_over_quota(tx: Transaction, control: Control) -> None:
    """The fault for one manual snapshot too many; automated ones do not count."""
    most = control.quotas.manual_snapshots
    if tx.count(Snapshot, snapshot_type=MANUAL) >= most:
        raise SnapshotQuotaExceeded(f"Cannot create more than {most} manual snapshots")


def begin(
    tx: Transaction,
    control: Control,
    identifier: str,
    cluster: Cluster,
    given_tags: Mapping[str, str],
    snapshot_type: str = MANUAL,
) -> Snapshot:
    """Write the snapshot in status creating with its tags and its job."""
    snapshot = Snapshot(
        identifier=identifier,
        snapshot_id=uuid.uuid4().hex,
        cluster_identifier=cluster.identifier,
        cluster_resource_id=cluster.resource_id,
        incarnation=cluster.incarnation,
        status=SnapshotStatus.CREATING,
        snapshot_type=snapshot_type,
        percent_progress=0,
        created_at=control.now(),
        cluster_created_at=cluster.created_at,
        engine_version=cluster.engine_version,
        master_username=cluster.master_username,
        availability_zones=control.deployment.availability_zones,
        storage_type=cluster.storage_type,
        settings=settings_of(cluster),
        kms_key_arn=cluster.kms_key_arn,
    )
    try:
        tx.add(snapshot)
    except AlreadyExists as error:  # the database's own word, should two writers ever meet
        raise already_exists(identifier) from error
    if not given_tags and cluster.copy_tags_to_snapshot:
        given_tags = tags.read(tx, control.deployment.arn("cluster", cluster.identifier))
    tags.put(tx, arn(control, snapshot), given_tags)
    events.record(tx, control, snapshot, "backup", f"Creating {snapshot_type} cluster snapshot")
    submit(tx, control, "create-snapshot", snapshot.snapshot_id, identifier=identifier)
    return snapshot


def settings_of(cluster: Cluster) -> dict[str, Any]:
    """What a restore takes from a snapshot of this cluster (Developer Guide, restoring from a snapshot)."""
    return {
        "port": cluster.port,
        "engine_version": cluster.engine_version,
        "master_username": cluster.master_username,
        "backup_retention_period": cluster.backup_retention_period,
        "preferred_backup_window": cluster.preferred_backup_window,
        "preferred_maintenance_window": cluster.preferred_maintenance_window,
        "availability_zones": list(cluster.availability_zones),
    }


def arn(control: Control, snapshot: Snapshot) -> str:
    """The snapshot's ARN."""
    return control.deployment.arn("cluster-snapshot", snapshot.identifier)


async def delete(control: Control, identifier: str) -> Snapshot:
    """DeleteDBClusterSnapshot: answers the snapshot as it was; it goes, with what only it needed, in a job."""

    def work(tx: Transaction) -> Snapshot:
        snapshot = tx.get(Snapshot, identifier)
        if snapshot is None:
            raise not_found(identifier)
        if snapshot.snapshot_type != MANUAL:
            raise InvalidDBClusterSnapshotStateFault("Only manual snapshots may be deleted.")
        if not transitions.allows(snapshot.status, "delete"):
            raise InvalidDBClusterSnapshotStateFault(
                f"The cluster snapshot {identifier} is in status {snapshot.status}; it can be deleted once it is available."
            )
        begin_delete(tx, control, snapshot)
        return snapshot

    snapshot = await control.store.run(work)
    control.wake()
    return snapshot


def begin_delete(tx: Transaction, control: Control, snapshot: Snapshot) -> None:
    """The snapshot in status deleting, and the job that frees what only it needed. A copy under way is cancelled."""
    tx.save(dataclasses.replace(snapshot, status=transitions.after(snapshot.status, "delete")))
    submit(tx, control, "delete-snapshot", snapshot.snapshot_id, identifier=snapshot.identifier)


async def run_create(run: JobRun) -> None:
    """Take the snapshot: hold the volume, mark, draft, verify, publish; then it is available."""
    volumes = run.control.volumes
    snapshot = await run.control.store.run(lambda tx: _fenced(tx, run.job))
    async with held(run.control, snapshot.volume, f"snapshot:{snapshot.snapshot_id}"):
        intent = _intent(snapshot, await run.once("mark", lambda: _mark(run, snapshot)))
        await volumes.draft(intent)
        await run.reached("draft")
        await volumes.verify(intent)
        await run.reached("verify")
        await volumes.publish(intent)
        await run.reached("publish")
    await run.finish(lambda tx: _published(tx, run.control, run.job, intent.point.taken_at))


def _fenced(tx: Transaction, job: Job) -> Snapshot:
    """The snapshot, if the incarnation that it was asked of is still the cluster's."""
    snapshot = tx.get(Snapshot, job.payload["identifier"])
    if snapshot is None or snapshot.snapshot_id != job.resource:
        raise NoLongerPossible("the snapshot is no longer wanted")
    clusters = tx.find(Cluster, resource_id=snapshot.cluster_resource_id)
    if not clusters or clusters[0].incarnation != snapshot.incarnation:
        raise NoLongerPossible(
            f"the cluster {snapshot.cluster_identifier} is no longer the one it was asked of"
        )
    return snapshot


async def _mark(run: JobRun, snapshot: Snapshot) -> dict[str, Any]:
    # A name of its own for each attempt: of two restore points with one name, recovery would stop at the first.
    name = f"{snapshot.snapshot_id}-{uuid.uuid4().hex[:8]}"
    point = await run.control.volumes.mark(snapshot.volume, name)
    return {**dataclasses.asdict(point), "taken_at": point.taken_at.isoformat()}


def _intent(snapshot: Snapshot, mark: Mapping[str, Any]) -> SnapshotIntent:
    taken_at = datetime.datetime.fromisoformat(mark["taken_at"])
    point = RestorePoint(**{**mark, "taken_at": taken_at})
    return SnapshotIntent(
        snapshot_id=snapshot.snapshot_id,
        volume=snapshot.volume,
        point=point,
        attributes={
            "identifier": snapshot.identifier,
            "cluster_identifier": snapshot.cluster_identifier,
            **snapshot.settings,
        },
        kms_key_arn=snapshot.kms_key_arn,
    )


def _published(tx: Transaction, control: Control, job: Job, taken_at: datetime.datetime) -> None:
    snapshot = tx.get(Snapshot, job.payload["identifier"])
    assert snapshot is not None, "a snapshot in status creating can't be deleted"
    tx.save(
        dataclasses.replace(
            snapshot,
            status=transitions.after(snapshot.status, "published"),
            status_reason="",
            percent_progress=100,
            created_at=taken_at,
        )
    )
    kind = snapshot.snapshot_type.capitalize()
    events.record(tx, control, snapshot, "backup", f"{kind} cluster snapshot created")


def give_up_create(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """The snapshot shows failed, with the reason."""
    snapshot = tx.get(Snapshot, job.payload["identifier"])
    if snapshot is not None and snapshot.snapshot_id == job.resource:
        status = transitions.after(snapshot.status, "create-failed")
        tx.save(dataclasses.replace(snapshot, status=status, status_reason=reason))
        kind = snapshot.snapshot_type.capitalize()
        events.record(tx, control, snapshot, "backup", f"{kind} cluster snapshot failed: {reason}")


async def run_delete(run: JobRun) -> None:
    """Wait for restores and copies that read it, free what only it needed, then it is gone."""
    await run.wait_for(lambda tx: not is_read(tx, run.job.resource))
    snapshot = await run.control.store.run(lambda tx: tx.get(Snapshot, run.job.payload["identifier"]))
    if snapshot is None:
        raise NoLongerPossible("the snapshot is gone already")
    freed = await run.control.volumes.forget(snapshot.volume, snapshot.snapshot_id)
    await run.reached("forget")
    await run.finish(lambda tx: remove(tx, run.control, snapshot, freed))


def is_read(tx: Transaction, snapshot_id: str) -> bool:
    """Whether a restore or a copy of any account or region reads the snapshot, or its own copying has not ended yet."""
    if tx.everywhere(Cluster, source_snapshot_id=snapshot_id, status=ClusterStatus.CREATING):
        return True
    copying = [job for _, job in tx.everywhere(Job, kind="copy-snapshot")]
    return any(snapshot_id in {job.resource, job.payload["snapshot_id"]} for job in copying)


def remove(tx: Transaction, control: Control, snapshot: Snapshot, freed: int) -> None:
    """The snapshot, its tags and its row are gone; the event says how many bytes that freed."""
    transitions.require_gone(snapshot.status, "deleted")
    tags.drop_all(tx, arn(control, snapshot))
    tx.remove(snapshot)
    kind = snapshot.snapshot_type.capitalize()
    message = f"{kind} cluster snapshot deleted. {freed} bytes were freed."
    events.record(tx, control, snapshot, "backup", message)


def give_up_delete(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """The snapshot stays in status deleting, with the reason; the next start of the server tries again."""
    snapshot = tx.get(Snapshot, job.payload["identifier"])
    if snapshot is not None:
        tx.save(dataclasses.replace(snapshot, status_reason=reason))


@contextlib.asynccontextmanager
async def held(control: Control, volume: VolumeKey, holder: str) -> AsyncIterator[None]:
    """Keep the volume's PostgreSQL up for a while, started for this alone if no instance runs."""
    await control.volumes.hold(volume, holder)
    try:
        yield
    finally:
        await control.volumes.release(volume, holder)
