"""In-memory twins of the control plane's ports: the same promises, no process, no file."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from stilldb.control.context import Control, Quotas
from stilldb.control.jobs import Worker
from stilldb.control.kinds import KINDS
from stilldb.control.reconcile import Reconciler
from stilldb.domain.names import Deployment
from stilldb.domain.volumes import (
    GatewayState,
    PostgresAddress,
    RestorePoint,
    SnapshotIntent,
    VolumeError,
    VolumeKey,
    VolumeState,
)
from stilldb.endpoint import GatewayEndpoint
from stilldb.metadata.store import SqlStore


@dataclasses.dataclass
class _Volume:
    holders: set[str] = dataclasses.field(default_factory=set)
    lsn: int = 0


class MemoryVolumes:
    """control.ports.Volumes. ``failing`` names methods that raise; ``gates`` lets a test hold a method up."""

    def __init__(self) -> None:
        self.volumes: dict[VolumeKey, _Volume] = {}
        self.drafts: dict[str, SnapshotIntent] = {}
        self.published: dict[str, SnapshotIntent] = {}
        self.failing: dict[str, int] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.marks: list[str] = []

    async def _enter(self, method: str) -> None:
        await asyncio.sleep(0)
        if method in self.gates:
            await self.gates[method].wait()
        if self.failing.get(method, 0) > 0:
            self.failing[method] -= 1
            raise VolumeError(f"{method} was made to fail")

    def _running(self, key: VolumeKey) -> _Volume:
        volume = self.volumes.get(key)
        if volume is None or not volume.holders:
            raise VolumeError(f"the volume {key.prefix} does not run")
        return volume

    async def create(self, key: VolumeKey) -> None:
        await self._enter("create")
        self.volumes.setdefault(key, _Volume())

    async def restore(
        self, key: VolumeKey, *, source: VolumeKey, snapshot_id: str, progress: Callable[[int], None]
    ) -> None:
        progress(10)
        await self._enter("restore")
        published = self.published.get(snapshot_id)
        if published is None or published.volume != source:
            raise VolumeError("there is no such snapshot of that volume")
        progress(100)
        self.volumes.setdefault(key, _Volume())

    async def hold(self, key: VolumeKey, holder: str) -> PostgresAddress:
        await self._enter("hold")
        if key not in self.volumes:
            raise VolumeError(f"no volume {key.prefix}")
        self.volumes[key].holders.add(holder)
        return PostgresAddress(host="/run/x", port=5432, user="stilldb", database="stilldb")

    def claim(self, key: VolumeKey, holder: str) -> None:
        if key in self.volumes:
            self.volumes[key].holders.add(holder)

    async def tidy(self) -> None:
        """Nothing runs here that nobody holds."""

    async def close(self) -> None:
        for volume in self.volumes.values():
            volume.holders.clear()

    async def release(self, key: VolumeKey, holder: str) -> None:
        await self._enter("release")
        if key in self.volumes:
            self.volumes[key].holders.discard(holder)

    async def destroy(self, key: VolumeKey) -> None:
        await self._enter("destroy")
        self.volumes.pop(key, None)

    async def observe(self, key: VolumeKey) -> VolumeState:
        volume = self.volumes.get(key)
        if volume is None:
            return VolumeState.ABSENT
        return VolumeState.RUNNING if volume.holders else VolumeState.STOPPED

    async def mark(self, key: VolumeKey, name: str) -> RestorePoint:
        await self._enter("mark")
        volume = self._running(key)
        volume.lsn += 160
        self.marks.append(name)
        return RestorePoint(
            name=name,
            lsn=volume.lsn,
            timeline=1,
            system_identifier=7,
            taken_at=datetime.datetime.now(datetime.UTC),
        )

    async def draft(self, intent: SnapshotIntent) -> None:
        await self._enter("draft")
        self.drafts[intent.snapshot_id] = intent

    async def verify(self, intent: SnapshotIntent) -> None:
        await self._enter("verify")
        if self.drafts.get(intent.snapshot_id) != intent:
            raise VolumeError("no such draft")

    async def publish(self, intent: SnapshotIntent) -> None:
        await self._enter("publish")
        self.published[intent.snapshot_id] = self.drafts[intent.snapshot_id]

    async def forget(self, source: VolumeKey, snapshot_id: str) -> int:
        await self._enter("forget")
        self.drafts.pop(snapshot_id, None)
        return 16 if self.published.pop(snapshot_id, None) else 0

    async def maintain(self, key: VolumeKey) -> None:
        await self._enter("maintain")


class MemoryGateways:
    """control.ports.Gateways: what was started is ready at once, unless ``broken`` says why not."""

    def __init__(self) -> None:
        self.endpoints: dict[str, GatewayEndpoint] = {}
        self.broken: str | None = None

    async def start(self, endpoint: GatewayEndpoint) -> None:
        self.endpoints[endpoint.instance_id] = endpoint

    async def stop(self, instance_id: str) -> None:
        self.endpoints.pop(instance_id, None)

    async def observe(self, instance_id: str) -> GatewayState:
        running = instance_id in self.endpoints
        if running and self.broken is not None:
            return GatewayState(running=True, ready=False, reason=self.broken)
        return GatewayState(running=running, ready=running)


class MemoryHost:
    """control.ports.Host with made-up addresses and paths."""

    run_as: tuple[int, int] | None = None

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.forgotten: list[str] = []

    def free_address(self, port: int, taken: Collection[str]) -> str:
        return next(a for a in (f"127.70.0.{n}" for n in self._numbers) if a not in taken)

    def certificate(self, instance_id: str, addresses: Sequence[str]) -> tuple[str, str]:
        return f"/tls/{instance_id}.pem", f"/tls/{instance_id}.key"

    def certificate_valid_till(self, instance_id: str) -> datetime.datetime | None:
        return datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)

    def health_socket(self, instance_id: str) -> str:
        return f"/run/{instance_id}.sock"

    def forget(self, instance_id: str) -> None:
        self.forgotten.append(instance_id)


@dataclasses.dataclass
class Plane:
    """A management plane on twins, with its worker and reconciler running."""

    control: Control
    volumes: MemoryVolumes
    gateways: MemoryGateways
    store: SqlStore
    worker: Worker
    reconciler: Reconciler

    async def restart(self) -> None:
        """As after kill -9 of the control plane: the tasks end, what is durable stays, a new start."""
        await self.worker.interrupt()
        for task in [*self.reconciler._loops, *self.reconciler._busy.values()]:
            task.cancel()
        self.worker = Worker(self.control, KINDS)
        self.reconciler = Reconciler(self.control)
        await self.reconciler.start()
        await self.worker.start()


@asynccontextmanager
async def plane(quotas: Quotas | None = None) -> AsyncIterator[Plane]:
    """A running management plane on twins."""
    volumes, gateways, store = MemoryVolumes(), MemoryGateways(), await SqlStore.open(None)
    control = Control(
        deployment=Deployment("123456789012", "us-east-1"),
        store=store,
        volumes=volumes,
        gateways=gateways,
        host=MemoryHost(),
        quotas=quotas or Quotas(),
    )
    running = Plane(control, volumes, gateways, store, Worker(control, KINDS), Reconciler(control))
    await running.reconciler.start()
    await running.worker.start()
    try:
        yield running
    finally:
        await running.worker.stop()
        await running.reconciler.stop()
        store.close()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait, not longer than ``seconds``, until ``condition()`` (or its awaited result) is true."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        outcome = condition()
        if asyncio.iscoroutine(outcome):
            outcome = await outcome
        if outcome:
            return
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
