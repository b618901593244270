"""StopDBCluster and StartDBCluster: a stopped cluster keeps its volume and its instances, and no process."""

from __future__ import annotations

import dataclasses

from stilldb.control import clusters, events, instances
from stilldb.control.context import Control
from stilldb.control.jobs import JobRun, submit
from stilldb.control.ports import Transaction
from stilldb.control.views import ClusterView, cluster_view
from stilldb.domain import transitions
from stilldb.domain.faults import InvalidDBClusterStateFault, InvalidDBInstanceState
from stilldb.domain.resources import Instance, InstanceStatus, Job


async def stop(control: Control, identifier: str) -> ClusterView:
    """StopDBCluster: the cluster as it was; the job stops its servers."""

    def work(tx: Transaction) -> ClusterView:
        cluster = clusters.require(tx, identifier)
        clusters.require_available(cluster)
        view = cluster_view(tx, cluster)
        if not view.members:
            raise InvalidDBClusterStateFault(
                f"The cluster {identifier} has no instance, so there is nothing to stop."
            )
        for member in view.members:
            if member.status is not InstanceStatus.AVAILABLE:
                raise InvalidDBInstanceState(
                    f"Instance {member.identifier} is in {member.status} state; a cluster can be stopped once its "
                    "instances are available."
                )
        move(tx, view, "stop")
        submit(tx, control, "stop-cluster", cluster.resource_id, identifier=identifier)
        return view

    view = await control.store.run(work)
    control.wake()
    return view


async def start(control: Control, identifier: str) -> ClusterView:
    """StartDBCluster: the cluster as it was; the reconciler brings up its instances."""

    def work(tx: Transaction) -> ClusterView:
        cluster = clusters.require(tx, identifier)
        if not transitions.allows(cluster.status, "start"):
            raise InvalidDBClusterStateFault(
                f"DbCluster {identifier} is in {cluster.status} state but expected it to be one of "
                "stopped,inaccessible-encryption-credentials-recoverable."
            )
        view = cluster_view(tx, cluster)
        move(tx, view, "start")
        events.record(tx, control, cluster, "notification", "DB cluster started")
        return view

    return await control.store.run(work)


def move(tx: Transaction, view: ClusterView, happened: str, reason: str = "") -> None:
    """Move a cluster and its instances together."""
    for row in view.members:
        tx.save(_moved(row, happened, reason))
    cluster = view.cluster
    status = transitions.after(cluster.status, happened)
    tx.save(dataclasses.replace(cluster, status=status, status_reason=reason))


def _moved(row: Instance, happened: str, reason: str) -> Instance:
    return dataclasses.replace(row, status=transitions.after(row.status, happened), status_reason=reason)


async def run_stop(run: JobRun) -> None:
    """Stop every gateway, then PostgreSQL with its last holder; then all is stopped."""
    view = await run.control.store.run(lambda tx: _view(tx, run.job))
    for member in view.members:
        await instances.take_down(run.control, member, view.cluster)
    await run.reached("servers")

    def stopped(tx: Transaction) -> None:
        move(tx, _view(tx, run.job), "stopped")
        events.record(tx, run.control, view.cluster, "notification", "DB cluster stopped")

    await run.finish(stopped)


def _view(tx: Transaction, job: Job) -> ClusterView:
    return cluster_view(tx, clusters.wanted(tx, job))


def give_up_stop(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """The cluster runs on, with the reason why it did not stop."""
    view = _view(tx, job)
    move(tx, view, "stop-failed", reason)
    events.record(tx, control, view.cluster, "failure", f"DB cluster not stopped: {reason}")
