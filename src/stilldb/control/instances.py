"""Instances: create, describe, delete, and the jobs that start and stop their servers."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from stilldb.control import events, tags
from stilldb.control.clusters import addresses_in_use
from stilldb.control.context import Control
from stilldb.control.jobs import JobRun, NoLongerPossible, submit
from stilldb.control.ports import Transaction
from stilldb.control.views import InstanceView, Page, instance_view
from stilldb.domain import engine, transitions, windows
from stilldb.domain.faults import (
    CertificateNotFound,
    DBClusterNotFoundFault,
    DBInstanceAlreadyExists,
    DBInstanceNotFound,
    InstanceQuotaExceeded,
    InsufficientDBInstanceCapacity,
    InvalidDBClusterStateFault,
    InvalidDBInstanceState,
    InvalidParameterValue,
)
from stilldb.domain.names import new_resource_id
from stilldb.domain.resources import Cluster, ClusterStatus, Instance, InstanceStatus, Job
from stilldb.domain.volumes import GatewayState, VolumeError, VolumeState
from stilldb.endpoint import GatewayEndpoint, MasterUser, ScramVerifier

READY_WITHIN = 60.0  # seconds for a new instance to answer
POLL = 0.02


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewInstance:
    """What a caller chooses about a new instance; None leaves it to the default."""

    identifier: str
    cluster_identifier: str
    instance_class: str
    availability_zone: str | None = None
    preferred_maintenance_window: str | None = None
    auto_minor_version_upgrade: bool = True
    copy_tags_to_snapshot: bool = False
    promotion_tier: int | None = None
    ca_certificate: str | None = None
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)


def not_found(identifier: str) -> DBInstanceNotFound:
    """The fault for an instance that is not there."""
    return DBInstanceNotFound(f"DBInstance {identifier} not found.")


def holder(instance: Instance) -> str:
    """The name under which an instance holds its volume."""
    return f"instance:{instance.resource_id}"


def arn(control: Control, instance: Instance) -> str:
    """The instance's ARN."""
    return control.deployment.arn("db", instance.identifier)


async def create(control: Control, new: NewInstance) -> InstanceView:
    """CreateDBInstance: the instance in status creating, and the job that starts its servers."""

    def work(tx: Transaction) -> InstanceView:
        cluster = tx.get(Cluster, new.cluster_identifier)
        if cluster is None:
            raise DBClusterNotFoundFault(f"DBCluster {new.cluster_identifier} not found.")
        _refuse(tx, control, new, cluster)
        instance = _new_instance(tx, control, new, cluster)
        tx.add(instance)
        tags.put(tx, arn(control, instance), new.tags)
        submit(tx, control, "create-instance", instance.resource_id, identifier=instance.identifier)
        return InstanceView(instance, cluster)

    view = await control.store.run(work)
    control.wake()
    return view


def _refuse(tx: Transaction, control: Control, new: NewInstance, cluster: Cluster) -> None:
    if tx.get(Instance, new.identifier) is not None:
        raise DBInstanceAlreadyExists("DB instance already exists")
    if tx.count(Instance) >= control.quotas.instances:
        raise InstanceQuotaExceeded(
            f"Cannot create more than {control.quotas.instances} instances. Delete one, or raise the quota."
        )
    if cluster.status is not ClusterStatus.AVAILABLE:
        raise InvalidDBClusterStateFault(
            f"DbCluster {cluster.identifier} is in {cluster.status} state but expected it to be one of available."
        )
    if tx.count(Instance, cluster_resource_id=cluster.resource_id):
        raise InsufficientDBInstanceCapacity(
            f"The cluster {cluster.identifier} has its writer. This release of StillDB runs one instance a cluster; "
            "read replicas are not available yet."
        )
    if new.availability_zone is not None and new.availability_zone not in cluster.availability_zones:
        raise InvalidParameterValue(
            f"Invalid availability zone: {new.availability_zone}. The zones of this cluster are "
            f"{', '.join(cluster.availability_zones)}."
        )
    if new.ca_certificate not in {None, engine.CA_CERTIFICATE}:
        raise CertificateNotFound(
            f"Certificate {new.ca_certificate} not found. This deployment has {engine.CA_CERTIFICATE}."
        )


def _address(control: Control, port: int, taken: set[str]) -> str:
    try:
        return control.host.free_address(port, taken)
    except VolumeError as error:
        raise InsufficientDBInstanceCapacity(str(error)) from error


def _new_instance(tx: Transaction, control: Control, new: NewInstance, cluster: Cluster) -> Instance:
    window = new.preferred_maintenance_window
    return Instance(
        identifier=new.identifier,
        resource_id=new_resource_id("db"),
        cluster_resource_id=cluster.resource_id,
        status=InstanceStatus.CREATING,
        instance_class=engine.instance_class(new.instance_class, cluster.engine_version),
        address=_address(control, cluster.port, addresses_in_use(tx)),
        availability_zone=new.availability_zone or control.chance.choice(cluster.availability_zones),
        preferred_maintenance_window=windows.maintenance_window(window)
        if window
        else cluster.preferred_maintenance_window,
        promotion_tier=engine.promotion_tier(new.promotion_tier),
        auto_minor_version_upgrade=new.auto_minor_version_upgrade,
        copy_tags_to_snapshot=new.copy_tags_to_snapshot,
        ca_certificate=engine.CA_CERTIFICATE,
        writer=True,
    )


async def describe(control: Control, identifier: str | None, page: Page) -> list[InstanceView]:
    """DescribeDBInstances: the named one (a fault when there is none, or when a filter excludes it) or a page.

    The filter ``cluster_identifier`` of the page names clusters; the others are fields of the instance.
    """

    def work(tx: Transaction) -> list[InstanceView]:
        equals: dict[str, Any] = dict(page.equals)
        if "cluster_identifier" in equals:
            clusters = tx.find(Cluster, identifier=equals.pop("cluster_identifier"))
            equals["cluster_resource_id"] = [cluster.resource_id for cluster in clusters]
        narrowed = dataclasses.replace(page, equals=equals)
        if identifier is None:
            found = tx.find(Instance, **narrowed.arguments())
        else:
            found = tx.find(Instance, **narrowed.named(identifier))
            if not found:
                raise not_found(identifier)
        return [instance_view(tx, row) for row in found]

    return await control.store.run(work)


async def delete(control: Control, identifier: str) -> InstanceView:
    """DeleteDBInstance: the instance in status deleting, and the job that stops its servers."""

    def work(tx: Transaction) -> InstanceView:
        instance = tx.get(Instance, identifier)
        if instance is None:
            raise not_found(identifier)
        if not transitions.allows(instance.status, "delete"):
            raise InvalidDBInstanceState(
                f"Instance {identifier} is in {instance.status} state; it can be deleted once it is available."
            )
        deleting = dataclasses.replace(instance, status=transitions.after(instance.status, "delete"))
        tx.save(deleting)
        submit(tx, control, "delete-instance", instance.resource_id, identifier=identifier)
        return instance_view(tx, deleting)

    view = await control.store.run(work)
    control.wake()
    return view


async def bring_up(control: Control, instance: Instance, cluster: Cluster) -> None:
    """Start or adopt the instance's PostgreSQL, WAL receiver and gateway; idempotent, returns before it is ready."""
    postgres = await control.volumes.hold(cluster.volume, holder(instance))
    own = [instance.address, cluster.address, cluster.reader_address]
    certificate, key = await asyncio.to_thread(control.host.certificate, instance.resource_id, own)
    here = f"{instance.address}:{cluster.port}"
    await control.gateways.start(
        GatewayEndpoint(
            cluster_resource_id=cluster.resource_id,
            incarnation=cluster.incarnation,
            instance_id=instance.resource_id,
            writer=instance.writer,
            engine_version=cluster.engine_version,
            postgres_host=postgres.host,
            postgres_port=postgres.port,
            postgres_user=postgres.user,
            postgres_database=postgres.database,
            listen=tuple((address, cluster.port) for address in own),
            replica_set="rs0",
            hosts=(here,),
            me=here,
            primary=here,
            tls_certificate=certificate,
            tls_key=key,
            health_socket=control.host.health_socket(instance.resource_id),
            max_connections=engine.max_connections(instance.instance_class),
            master_user=_master_user(cluster),
            run_as=control.host.run_as,
        )
    )


def _master_user(cluster: Cluster) -> MasterUser | None:
    if not cluster.master_verifiers:
        return None
    verifiers = tuple(ScramVerifier(**verifier) for verifier in cluster.master_verifiers)
    return MasterUser(name=cluster.master_username, version=cluster.master_version, verifiers=verifiers)


async def observe(control: Control, instance: Instance, cluster: Cluster) -> GatewayState:
    """Whether the instance answers, gateway and PostgreSQL and archive, and why not."""
    state = await control.volumes.observe(cluster.volume)
    if state is not VolumeState.RUNNING:
        return GatewayState(running=False, ready=False, reason=f"its PostgreSQL is {state.value}")
    return await control.gateways.observe(instance.resource_id)


def wanted(tx: Transaction, job: Job) -> Instance:
    """The instance that a job is about."""
    instance = tx.get(Instance, job.payload["identifier"])
    if instance is None or instance.resource_id != job.resource:
        raise NoLongerPossible("the instance is gone")
    return instance


def _with_cluster(tx: Transaction, job: Job) -> InstanceView:
    return instance_view(tx, wanted(tx, job))


async def run_create(run: JobRun) -> None:
    """Bring the servers up and wait until they answer; then the instance is available."""
    view = await run.control.store.run(lambda tx: _with_cluster(tx, run.job))
    try:
        await bring_up(run.control, view.instance, view.cluster)
        await run.reached("start")
        await _until_ready(run.control, view)
    except Exception:
        await take_down(run.control, view.instance, view.cluster)
        raise

    def answered(tx: Transaction) -> None:
        instance = wanted(tx, run.job)
        status = transitions.after(instance.status, "answered")
        tx.save(dataclasses.replace(instance, status=status, status_reason="", created_at=run.control.now()))
        events.record(tx, run.control, instance, "creation", "DB instance created")

    await run.finish(answered)


async def _until_ready(control: Control, view: InstanceView) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        state = await observe(control, view.instance, view.cluster)
        if state.ready:
            return
        if not state.running or time.monotonic() > deadline:
            raise VolumeError(f"the instance does not answer: {state.reason or 'its gateway ended'}")
        await asyncio.sleep(POLL)


async def run_delete(run: JobRun) -> None:
    """Stop the gateway, let go of the volume, then the instance is gone."""
    view = await run.control.store.run(lambda tx: _with_cluster(tx, run.job))
    await take_down(run.control, view.instance, view.cluster)
    run.control.host.forget(view.instance.resource_id)
    await run.reached("stop")

    def gone(tx: Transaction) -> None:
        instance = wanted(tx, run.job)
        transitions.require_gone(instance.status, "deleted")
        tags.drop_all(tx, arn(run.control, instance))
        tx.remove(instance)
        events.record(tx, run.control, instance, "deletion", "DB instance deleted")
        _emptied(tx, instance.cluster_resource_id)

    await run.finish(gone)


def _emptied(tx: Transaction, cluster_resource_id: str) -> None:
    """A cluster that was starting when its last instance went has nothing left to wait for."""
    if tx.count(Instance, cluster_resource_id=cluster_resource_id):
        return
    for cluster in tx.find(Cluster, resource_id=cluster_resource_id, status=ClusterStatus.STARTING):
        status = transitions.after(cluster.status, "emptied")
        tx.save(dataclasses.replace(cluster, status=status, status_reason=""))


async def take_down(control: Control, instance: Instance, cluster: Cluster) -> None:
    """Stop the gateway, and PostgreSQL unless something else holds the volume."""
    await control.gateways.stop(instance.resource_id)
    await control.volumes.release(cluster.volume, holder(instance))


def give_up_create(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """The instance shows failed, with the reason; it can be deleted."""
    instance = wanted(tx, job)
    status = transitions.after(instance.status, "create-failed")
    tx.save(dataclasses.replace(instance, status=status, status_reason=reason))
    events.record(tx, control, instance, "failure", f"DB instance could not be created: {reason}")


def give_up_delete(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """Nothing is left to delete."""
