"""The reconcile loop: what instances are meant to be against what is observed, and the way back up.

``available`` is observed, not remembered: a start of the control plane moves every cluster that has instances to
``starting``, and only an answer moves it on. A server that dies is started again; nobody has to ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import logging

from stilldb.control import automated, events, gauges, instances
from stilldb.control.context import Control, Controls
from stilldb.control.ports import Transaction
from stilldb.control.views import InstanceView, instance_view
from stilldb.domain import transitions
from stilldb.domain.faults import Fault
from stilldb.domain.names import Scope
from stilldb.domain.resources import Cluster, ClusterStatus, Instance, InstanceStatus, Snapshot
from stilldb.domain.volumes import VolumeError
from stilldb.util.log import event

log = logging.getLogger("stilldb.reconcile")

OBSERVE_EVERY = 0.5  # seconds
STARTING_EVERY = 0.05  # seconds between looks at an instance that comes up
MAINTAIN_EVERY = 5.0  # seconds between looks for due base backups, snapshots and expiries

_KEPT = (ClusterStatus.AVAILABLE, ClusterStatus.STARTING, ClusterStatus.STOPPED)  # have a volume to care for
_OWN_START = "the control plane started"
WATCHED = (InstanceStatus.AVAILABLE, InstanceStatus.STARTING)


def forget_what_was_observed(tx: Transaction) -> None:
    """At a start nothing has been observed yet: clusters with instances, and the instances, are starting."""
    for scope, instance in tx.everywhere(Instance, status=InstanceStatus.AVAILABLE):
        _lost(tx.within(scope.account, scope.region), instance.identifier, _OWN_START)


def _lost(tx: Transaction, identifier: str, reason: str) -> None:
    _move(tx, identifier, "lost", InstanceStatus.AVAILABLE, ClusterStatus.AVAILABLE, reason)


def _answered(tx: Transaction, identifier: str) -> None:
    _move(tx, identifier, "answered", InstanceStatus.STARTING, ClusterStatus.STARTING, "")


def _down(tx: Transaction, control: Control, identifier: str, reason: str) -> None:
    """The instance is lost, and an event says so."""
    instance = tx.get(Instance, identifier)
    _lost(tx, identifier, reason)
    if instance is not None and instance.status is InstanceStatus.AVAILABLE:
        events.record(tx, control, instance, "availability", "DB instance shutdown")


def _back(tx: Transaction, control: Control, identifier: str) -> None:
    """The instance answers again; an event says so unless it ran on while nobody looked."""
    instance = tx.get(Instance, identifier)
    _answered(tx, identifier)
    if instance is None or instance.status is not InstanceStatus.STARTING:
        return
    if instance.status_reason != _OWN_START:
        events.record(tx, control, instance, "availability", "DB instance restarted")


def _is_let_go(tx: Transaction, instance: Instance) -> bool:
    """Whether it was stopped or deleted while it was looked at: it must hold nothing then that its job has let go of."""
    now = tx.get(Instance, instance.identifier)
    return now is None or now.resource_id != instance.resource_id or now.status not in WATCHED


def _move(
    tx: Transaction,
    identifier: str,
    happened: str,
    instance_from: InstanceStatus,
    cluster_from: ClusterStatus,
    reason: str,
) -> None:
    """Move an instance, and its cluster with it, each if it still is where the event applies."""
    instance = tx.get(Instance, identifier)
    if instance is None or instance.status is not instance_from:
        return
    status = transitions.after(instance.status, happened)
    tx.save(dataclasses.replace(instance, status=status, status_reason=reason))
    for cluster in tx.find(Cluster, resource_id=instance.cluster_resource_id, status=cluster_from):
        moved = transitions.after(cluster.status, happened)
        tx.save(dataclasses.replace(cluster, status=moved, status_reason=reason))


def _views(tx: Transaction, **equals: object) -> list[tuple[Scope, InstanceView]]:
    return [
        (scope, instance_view(tx.within(scope.account, scope.region), instance))
        for scope, instance in tx.everywhere(Instance, **equals)
    ]


class Reconciler:
    """Watches every instance of every account and region, each in a task of its own: one slow start delays no other."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._maintenance: dict[str, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Forget what was observed before, then watch."""
        await self._controls.store.run(forget_what_was_observed)
        for control, view in await self._watched():
            # Before any job runs: its release would stop the PostgreSQL of an instance that is yet to be adopted.
            control.volumes.claim(view.cluster.volume, instances.holder(view.instance))
        # Nor is anything expired before it is known which snapshots there are.
        for scope, row in await self._controls.store.run(lambda tx: tx.everywhere(Snapshot)):
            self._controls.of(scope).volumes.expect(row.volume, row.snapshot_id)
        for volumes in self._controls.volumes.values():  # a region's volumes are of all its accounts
            await volumes.tidy()
        self._loops = [
            asyncio.create_task(self._watch(), name="reconcile"),
            asyncio.create_task(self._maintain(), name="maintain"),
        ]

    async def stop(self) -> None:
        """Stop watching, then stop every server cleanly."""
        await self.interrupt()
        downs = (
            instances.take_down(self._controls.of(scope), view.instance, view.cluster)
            for scope, view in await self._controls.store.run(_views)
        )
        for outcome in await asyncio.gather(*downs, return_exceptions=True):
            if isinstance(outcome, BaseException):
                log.error(event("could not stop cleanly", reason=outcome))
        for volumes in self._controls.volumes.values():
            await volumes.close()

    async def interrupt(self) -> None:
        """End every task where it stands."""
        tasks = [*self._loops, *self._busy.values(), *self._maintenance.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watched(self) -> list[tuple[Control, InstanceView]]:
        views = await self._controls.store.run(lambda tx: _views(tx, status=list(WATCHED)))
        return [(self._controls.of(scope), view) for scope, view in views]

    async def _watch(self) -> None:
        while True:
            watched = await self._watched()
            for control, view in watched:
                key = view.instance.resource_id
                if key not in self._busy:
                    self._busy[key] = task = asyncio.create_task(
                        self._reconcile(control, view), name=f"reconcile {view.instance.identifier}"
                    )
                    task.add_done_callback(lambda _, key=key: self._busy.pop(key, None))  # type: ignore[misc]
            starting = any(view.instance.status is InstanceStatus.STARTING for _, view in watched)
            await asyncio.sleep(STARTING_EVERY if starting else OBSERVE_EVERY)

    async def _reconcile(self, control: Control, view: InstanceView) -> None:
        identifier = view.instance.identifier
        try:
            state = await instances.observe(control, view.instance, view.cluster)
            if state.ready:
                # A receiver that died is started again by this.
                await control.volumes.hold(view.cluster.volume, instances.holder(view.instance))
                if await control.store.run(lambda tx: _is_let_go(tx, view.instance)):
                    await control.volumes.release(view.cluster.volume, instances.holder(view.instance))
                    return
                if view.instance.status is InstanceStatus.STARTING:
                    await control.store.run(lambda tx: _back(tx, control, identifier))
                return
            if view.instance.status is InstanceStatus.AVAILABLE:
                log.warning(event("instance lost", instance=identifier, reason=state.reason))
                await control.store.run(lambda tx: _down(tx, control, identifier, state.reason))
            if not state.running:
                await instances.bring_up(control, view.instance, view.cluster)
                if await control.store.run(lambda tx: _is_let_go(tx, view.instance)):
                    await instances.take_down(control, view.instance, view.cluster)
        except (VolumeError, OSError) as error:
            log.warning(event("instance does not come up", instance=identifier, reason=error))
            await asyncio.sleep(1)

    async def _maintain(self) -> None:
        while True:
            for control, cluster in await self._kept():
                key = cluster.resource_id
                if key not in self._maintenance:
                    self._maintenance[key] = task = asyncio.create_task(_maintain_one(control, cluster))
                    task.add_done_callback(lambda _, key=key: self._maintenance.pop(key, None))  # type: ignore[misc]
            for scope in await self._controls.store.scopes():
                await _tend(self._controls.of(scope))
            await asyncio.sleep(MAINTAIN_EVERY)

    async def _kept(self) -> list[tuple[Control, Cluster]]:
        rows = await self._controls.store.run(lambda tx: tx.everywhere(Cluster, status=list(_KEPT)))
        return [(self._controls.of(scope), cluster) for scope, cluster in rows]


async def _maintain_one(control: Control, cluster: Cluster) -> None:
    pause = 0.0
    try:
        retention = datetime.timedelta(days=cluster.backup_retention_period)
        await control.volumes.maintain(cluster.volume, retention=retention)
        window = await control.volumes.window(cluster.volume)
        if window is not None:
            control.windows[cluster.resource_id] = window
    except (VolumeError, Fault) as error:  # a fault: the KMS key is closed
        log.warning(event("maintenance failed", cluster=cluster.identifier, reason=error))
        pause = MAINTAIN_EVERY
    with contextlib.suppress(VolumeError, Fault):
        scope = Scope(control.deployment.account, control.deployment.region)
        gauges.archive_seen(scope, cluster.identifier, await control.volumes.archive_state(cluster.volume))
    await asyncio.sleep(pause)


async def _tend(control: Control) -> None:
    try:
        await automated.tend(control)
    except Exception:  # the next look may fare better; without it no backup would be taken ever again
        log.error(event("automated backups: a look failed"), exc_info=True)
