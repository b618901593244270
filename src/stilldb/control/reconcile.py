"""The reconcile loop: what instances are meant to be against what is observed, and the way back up.

``available`` is observed, not remembered: a start of the control plane moves every cluster that has instances to
``starting``, and only an answer moves it on. A server that dies is started again; nobody has to ask.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging

from stilldb.control import instances
from stilldb.control.context import Control
from stilldb.control.ports import Transaction
from stilldb.control.views import InstanceView, instance_view
from stilldb.domain import transitions
from stilldb.domain.resources import Cluster, ClusterStatus, Instance, InstanceStatus
from stilldb.domain.volumes import VolumeError
from stilldb.util.log import event

log = logging.getLogger("stilldb.reconcile")

OBSERVE_EVERY = 0.5  # seconds
STARTING_EVERY = 0.05  # seconds between looks at an instance that comes up
MAINTAIN_EVERY = 5.0  # seconds between looks for due base backups

WATCHED = (InstanceStatus.AVAILABLE, InstanceStatus.STARTING)


def forget_what_was_observed(tx: Transaction) -> None:
    """At a start nothing has been observed yet: clusters with instances, and the instances, are starting."""
    for instance in tx.find(Instance, status=InstanceStatus.AVAILABLE):
        _lost(tx, instance.identifier, "the control plane started")


def _lost(tx: Transaction, identifier: str, reason: str) -> None:
    _move(tx, identifier, "lost", InstanceStatus.AVAILABLE, ClusterStatus.AVAILABLE, reason)


def _answered(tx: Transaction, identifier: str) -> None:
    _move(tx, identifier, "answered", InstanceStatus.STARTING, ClusterStatus.STARTING, "")


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


def _watched(tx: Transaction) -> list[InstanceView]:
    return [instance_view(tx, instance) for instance in tx.find(Instance, status=list(WATCHED))]


class Reconciler:
    """Watches every instance, each in a task of its own, so that one slow start delays no other."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._maintenance: dict[str, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Forget what was observed before, then watch."""
        await self._control.store.run(forget_what_was_observed)
        for view in await self._control.store.run(_watched):
            # Before any job runs: its release would stop the PostgreSQL of an instance that is yet to be adopted.
            self._control.volumes.claim(view.cluster.volume, instances.holder(view.instance))
        await self._control.volumes.tidy()
        self._loops = [
            asyncio.create_task(self._watch(), name="reconcile"),
            asyncio.create_task(self._maintain(), name="maintain"),
        ]

    async def stop(self) -> None:
        """Stop watching, then stop every server cleanly."""
        tasks = [*self._loops, *self._busy.values(), *self._maintenance.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        views = await self._control.store.run(
            lambda tx: [instance_view(tx, row) for row in tx.find(Instance)]
        )
        downs = (instances.take_down(self._control, view.instance, view.cluster) for view in views)
        for outcome in await asyncio.gather(*downs, return_exceptions=True):
            if isinstance(outcome, BaseException):
                log.error(event("could not stop cleanly", reason=outcome))
        await self._control.volumes.close()

    async def _watch(self) -> None:
        while True:
            views = await self._control.store.run(_watched)
            for view in views:
                key = view.instance.identifier
                if key not in self._busy:
                    self._busy[key] = task = asyncio.create_task(
                        self._reconcile(view), name=f"reconcile {key}"
                    )
                    task.add_done_callback(lambda _, key=key: self._busy.pop(key, None))  # type: ignore[misc]
            starting = any(view.instance.status is InstanceStatus.STARTING for view in views)
            await asyncio.sleep(STARTING_EVERY if starting else OBSERVE_EVERY)

    async def _reconcile(self, view: InstanceView) -> None:
        identifier = view.instance.identifier
        try:
            state = await instances.observe(self._control, view.instance, view.cluster)
            if state.ready:
                # A receiver that died is started again by this.
                await self._control.volumes.hold(view.cluster.volume, instances.holder(view.instance))
                if view.instance.status is InstanceStatus.STARTING:
                    await self._control.store.run(lambda tx: _answered(tx, identifier))
                return
            if view.instance.status is InstanceStatus.AVAILABLE:
                log.warning(event("instance lost", instance=identifier, reason=state.reason))
                await self._control.store.run(lambda tx: _lost(tx, identifier, state.reason))
            if not state.running:
                await instances.bring_up(self._control, view.instance, view.cluster)
        except (VolumeError, OSError) as error:
            log.warning(event("instance does not come up", instance=identifier, reason=error))
            await asyncio.sleep(1)

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTAIN_EVERY)
            for view in await self._control.store.run(_watched):
                key = view.cluster.resource_id
                if key not in self._maintenance:
                    self._maintenance[key] = task = asyncio.create_task(self._maintain_one(view.cluster))
                    task.add_done_callback(lambda _, key=key: self._maintenance.pop(key, None))  # type: ignore[misc]

    async def _maintain_one(self, cluster: Cluster) -> None:
        try:
            retention = datetime.timedelta(days=cluster.backup_retention_period)
            await self._control.volumes.maintain(cluster.volume, retention=retention)
        except VolumeError as error:
            log.warning(event("maintenance failed", cluster=cluster.identifier, reason=error))
            await asyncio.sleep(MAINTAIN_EVERY)
