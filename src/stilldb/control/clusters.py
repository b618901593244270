"""Clusters: create, describe, delete, and the jobs that make and end their volumes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from stilldb.control import snapshots, tags
from stilldb.control.context import Control
from stilldb.control.jobs import JobRun, NoLongerPossible, submit
from stilldb.control.ports import Transaction
from stilldb.control.views import ClusterView, Page, cluster_view
from stilldb.domain import engine, transitions, windows
from stilldb.domain.faults import (
    DBClusterAlreadyExistsFault,
    DBClusterNotFoundFault,
    DBClusterQuotaExceededFault,
    InvalidDBClusterStateFault,
    InvalidParameterCombination,
    InvalidParameterValue,
    InvalidVPCNetworkStateFault,
)
from stilldb.domain.names import new_resource_id
from stilldb.domain.resources import (
    Cluster,
    ClusterStatus,
    Instance,
    InstanceStatus,
    Job,
    Snapshot,
    SnapshotStatus,
)
from stilldb.domain.volumes import VolumeError
from stilldb.util import scram

LONGEST_LISTED_ZONES = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewCluster:
    """What a caller chooses about a new cluster; None leaves it to the default."""

    identifier: str
    engine_version: str | None = None
    port: int | None = None
    parameter_group: str | None = None
    availability_zones: Sequence[str] = ()
    backup_retention_period: int = 1
    preferred_backup_window: str | None = None
    preferred_maintenance_window: str | None = None
    deletion_protection: bool = False
    storage_type: str | None = None
    copy_tags_to_snapshot: bool = False
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)


async def create(
    control: Control, new: NewCluster, *, username: str | None, password: str | None
) -> ClusterView:
    """CreateDBCluster: the cluster in status creating, and the job that makes its volume."""
    name = engine.master_username(username)
    # The key derivation takes milliseconds of CPU by design: not on the event loop.
    verifiers = tuple(await asyncio.to_thread(scram.verifiers, name, engine.master_password(password)))

    def work(tx: Transaction) -> ClusterView:
        master = {"master_username": name, "master_version": 1, "master_verifiers": verifiers}
        cluster = begin(tx, control, new, master=master)
        submit(tx, control, "create-cluster", cluster.resource_id, identifier=cluster.identifier)
        return cluster_view(tx, cluster)

    view = await control.store.run(work)
    control.wake()
    return view


def begin(
    tx: Transaction, control: Control, new: NewCluster, *, master: Mapping[str, Any], **more: Any
) -> Cluster:
    """Write a cluster in status creating, with its addresses and tags; faults when the name or the quota forbids."""
    if tx.get(Cluster, new.identifier) is not None:
        raise DBClusterAlreadyExistsFault("DB Cluster already exists")
    if tx.count(Cluster) >= control.quotas.clusters:
        raise DBClusterQuotaExceededFault(
            f"Cannot create more than {control.quotas.clusters} clusters. Delete one, or raise the quota."
        )
    version = engine.engine_version(new.engine_version)
    port = engine.port(new.port)
    backup, maintenance = _windows(control, new)
    taken = addresses_in_use(tx)
    address = _address(control, port, taken)
    cluster = Cluster(
        identifier=new.identifier,
        resource_id=new_resource_id("cluster"),
        incarnation=1,
        status=ClusterStatus.CREATING,
        engine_version=version,
        port=port,
        availability_zones=_zones(control, new.availability_zones),
        backup_retention_period=new.backup_retention_period,
        preferred_backup_window=backup,
        preferred_maintenance_window=maintenance,
        parameter_group=engine.parameter_group(new.parameter_group, version),
        subnet_group="default",
        security_groups=(control.deployment.security_group,),
        deletion_protection=new.deletion_protection,
        storage_type=engine.storage_type(new.storage_type, version),
        copy_tags_to_snapshot=new.copy_tags_to_snapshot,
        address=address,
        reader_address=_address(control, port, taken | {address}),
        created_at=control.now(),
        **master,
        **more,
    )
    tx.add(cluster)
    tags.put(tx, arn(control, cluster), new.tags)
    return cluster


def _windows(control: Control, new: NewCluster) -> tuple[str, str]:
    region = control.deployment.region
    backup = new.preferred_backup_window or windows.default_backup_window(region, control.chance)
    if new.preferred_maintenance_window is None:
        return backup, windows.default_maintenance_window(region, backup, control.chance)
    maintenance = windows.maintenance_window(new.preferred_maintenance_window)
    if windows.overlap(backup, maintenance):
        if new.preferred_backup_window is not None:
            raise InvalidParameterValue("The backup window and maintenance window must not overlap.")
        while windows.overlap(backup, maintenance):
            backup = windows.default_backup_window(region, control.chance)
    return backup, maintenance


def _zones(control: Control, asked: Sequence[str]) -> tuple[str, ...]:
    """The zones asked for, filled up to three; more than three or unknown ones are refused."""
    known = control.deployment.availability_zones
    unknown = [zone for zone in asked if zone not in known]
    if unknown:
        raise InvalidParameterValue(
            f"Invalid availability zone: {unknown[0]}. The zones of this region are {', '.join(known)}."
        )
    chosen = list(dict.fromkeys(asked))
    chosen += [zone for zone in known if zone not in chosen]
    return tuple(sorted(chosen[:LONGEST_LISTED_ZONES]))


def _address(control: Control, port: int, taken: set[str]) -> str:
    try:
        return control.host.free_address(port, taken)
    except VolumeError as error:
        raise InvalidVPCNetworkStateFault(str(error)) from error


def addresses_in_use(tx: Transaction) -> set[str]:
    """Every loopback address that a cluster or an instance has, of whatever account and region: the host is one."""
    taken = {instance.address for _, instance in tx.everywhere(Instance)}
    for _, cluster in tx.everywhere(Cluster):
        taken |= {cluster.address, cluster.reader_address}
    return taken


def arn(control: Control, cluster: Cluster) -> str:
    """The cluster's ARN."""
    return control.deployment.arn("cluster", cluster.identifier)


def require(tx: Transaction, identifier: str) -> Cluster:
    """The cluster with this identifier; a fault when there is none."""
    cluster = tx.get(Cluster, identifier)
    if cluster is None:
        raise DBClusterNotFoundFault(f"DBCluster {identifier} not found.")
    return cluster


async def describe(control: Control, identifier: str | None, page: Page) -> list[ClusterView]:
    """DescribeDBClusters: the named one (a fault when there is none, or when a filter excludes it) or a page."""

    def work(tx: Transaction) -> list[ClusterView]:
        if identifier is None:
            return [cluster_view(tx, row) for row in tx.find(Cluster, **page.arguments())]
        found = tx.find(Cluster, **page.named(identifier))
        if not found:
            raise DBClusterNotFoundFault(f"DBCluster {identifier} not found.")
        return [cluster_view(tx, row) for row in found]

    return await control.store.run(work)


async def delete(
    control: Control, identifier: str, *, skip_final_snapshot: bool, final_snapshot: str | None
) -> ClusterView:
    """DeleteDBCluster: every check first, then the cluster in status deleting, with its final snapshot if one is asked."""

    def work(tx: Transaction) -> ClusterView:
        cluster = require(tx, identifier)
        _refuse_delete(tx, cluster, final_snapshot)
        _refuse_final(skip_final_snapshot, final_snapshot)
        payload: dict[str, Any] = {"identifier": identifier}
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


async def modify_deletion_protection(control: Control, identifier: str, protect: bool) -> ClusterView:
    """ModifyDBCluster for DeletionProtection, so that a protected cluster is not protected for ever."""

    def work(tx: Transaction) -> ClusterView:
        cluster = require(tx, identifier)
        if cluster.status is not ClusterStatus.AVAILABLE:
            raise InvalidDBClusterStateFault(
                f"DbCluster {identifier} is in {cluster.status} state but expected it to be one of available."
            )
        changed = dataclasses.replace(cluster, deletion_protection=protect)
        tx.save(changed)
        return cluster_view(tx, changed)

    return await control.store.run(work)


async def run_create(run: JobRun) -> None:
    """Make the volume with its first base backup; then the cluster is available."""
    cluster = await run.control.store.run(lambda tx: wanted(tx, run.job))
    await run.control.volumes.create(cluster.volume, kms_key_arn=None)
    await run.reached("volume")
    await run.finish(lambda tx: move(tx, run.job, "created"))


async def run_delete(run: JobRun) -> None:
    """Wait for snapshots and instances under way, then end the volume; what snapshots pin stays."""
    cluster = await run.control.store.run(lambda tx: wanted(tx, run.job))
    final = run.job.payload.get("final_snapshot")
    await run.wait_for(
        lambda tx: (
            not tx.count(Snapshot, cluster_resource_id=cluster.resource_id, status="creating")
            and not tx.count(Instance, cluster_resource_id=cluster.resource_id)
        )
    )
    if final is not None:
        taken = await run.control.store.run(lambda tx: tx.get(Snapshot, final))
        if taken is None or taken.status is not SnapshotStatus.AVAILABLE:
            reason = "" if taken is None else taken.status_reason
            raise NoLongerPossible(f"the final snapshot {final} failed, so nothing was deleted: {reason}")
    await run.control.volumes.destroy(cluster.volume, retain_until=None)
    await run.reached("destroy")

    def gone(tx: Transaction) -> None:
        transitions.require_gone(cluster.status, "deleted")
        tags.drop_all(tx, arn(run.control, cluster))
        tx.remove(cluster)

    await run.finish(gone)


def wanted(tx: Transaction, job: Job) -> Cluster:
    """The cluster that a job is about."""
    cluster = tx.get(Cluster, job.payload["identifier"])
    if cluster is None or cluster.resource_id != job.resource:
        raise NoLongerPossible("the cluster is gone")
    return cluster


def move(tx: Transaction, job: Job, happened: str, reason: str = "") -> None:
    """Move the job's cluster by an event of the table."""
    cluster = wanted(tx, job)
    status = transitions.after(cluster.status, happened)
    tx.save(dataclasses.replace(cluster, status=status, status_reason=reason, percent_progress=None))


def give_up_create(tx: Transaction, job: Job, reason: str) -> None:
    """The cluster shows failed, with the reason; it can be deleted."""
    move(tx, job, "create-failed", reason)


def give_up_delete(tx: Transaction, job: Job, reason: str) -> None:
    """A failed final snapshot leaves the cluster as it was; otherwise it stays deleting, with the reason."""
    cluster = tx.get(Cluster, job.payload["identifier"])
    if cluster is None:
        return
    if "final_snapshot" in job.payload:
        move(tx, job, "final-snapshot-failed", reason)
    else:
        tx.save(dataclasses.replace(cluster, status_reason=reason))
