"""Clusters: create, describe, modify, and the job that makes a volume. How they end is in deletions.py."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from stilldb.control import encryption, events, tags
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
    InvalidParameterValue,
    InvalidVPCNetworkStateFault,
)
from stilldb.domain.names import new_resource_id
from stilldb.domain.resources import Cluster, ClusterStatus, Instance, Job
from stilldb.domain.volumes import VolumeError, VolumeKey
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
    storage_encrypted: bool = False
    kms_key_id: str | None = None
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)


async def create(
    control: Control, new: NewCluster, *, username: str | None, password: str | None
) -> ClusterView:
    """CreateDBCluster: the cluster in status creating, and the job that makes its volume."""
    name = engine.master_username(username)
    # The key derivation takes milliseconds of CPU by design: not on the event loop.
    verifiers = tuple(await asyncio.to_thread(scram.verifiers, name, engine.master_password(password)))
    key = await encryption.of_new_cluster(control, new)

    def work(tx: Transaction) -> ClusterView:
        master = {"master_username": name, "master_version": 1, "master_verifiers": verifiers}
        cluster = begin(tx, control, new, master=master, kms_key_arn=key)
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


def recovering(tx: Transaction, source: VolumeKey) -> int:
    """How many recoveries to a moment and clones of this volume are under way."""
    return tx.count(
        Cluster, source_volume=source.prefix, source_snapshot_id=None, status=ClusterStatus.CREATING
    )


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


async def modify(
    control: Control,
    identifier: str,
    *,
    deletion_protection: bool | None = None,
    backup_retention_period: int | None = None,
    preferred_backup_window: str | None = None,
) -> ClusterView:
    """ModifyDBCluster for what is given; it holds at once."""
    given = {
        "deletion_protection": deletion_protection,
        "backup_retention_period": backup_retention_period,
        "preferred_backup_window": preferred_backup_window,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}

    def work(tx: Transaction) -> ClusterView:
        cluster = require(tx, identifier)
        require_available(cluster)
        changed = dataclasses.replace(cluster, **changes)
        if windows.overlap(changed.preferred_backup_window, changed.preferred_maintenance_window):
            raise InvalidParameterValue("The backup window and maintenance window must not overlap.")
        tx.save(changed)
        return cluster_view(tx, changed)

    return await control.store.run(work)


def require_available(cluster: Cluster) -> None:
    """The fault for a cluster that another operation keeps busy, or that is stopped."""
    if cluster.status is not ClusterStatus.AVAILABLE:
        raise InvalidDBClusterStateFault(
            f"DbCluster {cluster.identifier} is in {cluster.status} state but expected it to be one of available."
        )


async def run_create(run: JobRun) -> None:
    """Make the volume with its first base backup; then the cluster is available."""
    cluster = await run.control.store.run(lambda tx: wanted(tx, run.job))
    await run.control.volumes.create(cluster.volume, kms_key_arn=cluster.kms_key_arn)
    await run.reached("volume")
    await run.finish(lambda tx: created(tx, run, "created", "DB cluster created"))


def created(tx: Transaction, run: JobRun, happened: str, message: str) -> None:
    """The new cluster is available, and an event says so."""
    events.record(tx, run.control, move(tx, run.job, happened), "creation", message)


def wanted(tx: Transaction, job: Job) -> Cluster:
    """The cluster that a job is about."""
    cluster = tx.get(Cluster, job.payload["identifier"])
    if cluster is None or cluster.resource_id != job.resource:
        raise NoLongerPossible("the cluster is gone")
    return cluster


def move(tx: Transaction, job: Job, happened: str, reason: str = "") -> Cluster:
    """The job's cluster, moved by an event of the table."""
    cluster = wanted(tx, job)
    status = transitions.after(cluster.status, happened)
    moved = dataclasses.replace(cluster, status=status, status_reason=reason, percent_progress=None)
    tx.save(moved)
    return moved


def give_up_create(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """The cluster shows failed, with the reason; it can be deleted."""
    cluster = move(tx, job, "create-failed", reason)
    events.record(tx, control, cluster, "failure", f"DB cluster could not be created: {reason}")
