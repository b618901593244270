"""In-memory twins of the control plane's ports: the same promises, no process, no file."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from stilldb.control.context import Control, Controls, Quotas
from stilldb.control.jobs import Worker
from stilldb.control.kinds import KINDS
from stilldb.control.ports import Store, Volumes
from stilldb.control.reconcile import Reconciler
from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.names import DEFAULT_ACCOUNT, Deployment, Scope
from stilldb.domain.volumes import (
    ArchiveState,
    GatewayState,
    PostgresAddress,
    RestorableWindow,
    RestorePoint,
    RestoreTarget,
    SnapshotIntent,
    SnapshotTarget,
    VolumeError,
    VolumeKey,
    VolumeState,
)
from stilldb.endpoint import GatewayEndpoint
from stilldb.metadata.store import SqlStore


@dataclasses.dataclass
class _Volume:
    created_at: datetime.datetime
    kms_key_arn: str | None
    holders: set[str] = dataclasses.field(default_factory=set)
    lsn: int = 0


@dataclasses.dataclass
class _Archive:
    """What outlives a volume for a while."""

    since: datetime.datetime
    closed_at: datetime.datetime | None = None
    gaps: tuple[tuple[datetime.datetime, datetime.datetime], ...] = ()


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class MemoryVolumes:
    """control.ports.Volumes. ``failing`` names methods that raise; ``gates`` lets a test hold a method up."""

    def __init__(self) -> None:
        self.volumes: dict[VolumeKey, _Volume] = {}
        self.archives: dict[VolumeKey, _Archive] = {}
        self.drafts: dict[str, SnapshotIntent] = {}
        self.published: dict[str, SnapshotIntent] = {}
        self.restored: dict[VolumeKey, RestoreTarget | str] = {}  # what it was made from; "clone" for a clone
        self.retentions: dict[VolumeKey, datetime.timedelta] = {}
        self.failing: dict[str, int] = {}
        self.expected: set[tuple[VolumeKey, str]] = set()
        self.gates: dict[str, asyncio.Event] = {}
        self.marks: list[str] = []
        self.looked_at_windows = 0
        self.shares_blocks = True
        self.closed_keys: set[str] = set()
        self.now: Callable[[], datetime.datetime] = utc_now

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

    def _require_open(self, kms_key_arn: str | None) -> None:
        if kms_key_arn in self.closed_keys:
            raise KMSKeyNotAccessibleFault(f"Specified KMS key [{kms_key_arn}] is not enabled")

    def _make(self, key: VolumeKey, kms_key_arn: str | None) -> None:
        now = self.now()
        self.volumes.setdefault(key, _Volume(now, kms_key_arn))
        self.archives.setdefault(key, _Archive(now))

    async def create(self, key: VolumeKey, *, kms_key_arn: str | None) -> None:
        await self._enter("create")
        self._require_open(kms_key_arn)
        self._make(key, kms_key_arn)

    async def restore(
        self,
        key: VolumeKey,
        *,
        source: VolumeKey,
        target: RestoreTarget,
        kms_key_arn: str | None,
        progress: Callable[[int], None],
    ) -> None:
        progress(10)
        await self._enter("restore")
        if isinstance(target, SnapshotTarget):
            published = self.published.get(target.snapshot_id)
            if published is None or published.volume != source:
                raise VolumeError("there is no such snapshot of that volume")
            self._require_open(published.kms_key_arn)
        else:
            window = self._window(source)
            if window is None or not window.earliest <= target.time <= window.latest:
                raise VolumeError(f"{target.time} is not inside the restorable window")
        progress(100)
        self.restored[key] = target
        self._make(key, kms_key_arn)

    async def clone(
        self, key: VolumeKey, *, source: VolumeKey, kms_key_arn: str | None, progress: Callable[[int], None]
    ) -> None:
        await self._enter("clone")
        if not self.shares_blocks:
            raise VolumeError("this file system can't share blocks")
        if source not in self.volumes:
            raise VolumeError(f"no volume {source.prefix}")
        progress(100)
        self.restored[key] = "clone"
        self._make(key, kms_key_arn)

    async def hold(self, key: VolumeKey, holder: str) -> PostgresAddress:
        await self._enter("hold")
        if key not in self.volumes:
            raise VolumeError(f"no volume {key.prefix}")
        self.volumes[key].holders.add(holder)
        return PostgresAddress(host="/run/x", port=5432, user="stilldb", database="stilldb")

    def claim(self, key: VolumeKey, holder: str) -> None:
        if key in self.volumes:
            self.volumes[key].holders.add(holder)

    def expect(self, source: VolumeKey, snapshot_id: str) -> None:
        self.expected.add((source, snapshot_id))

    async def tidy(self) -> None:
        """Nothing runs here that nobody holds."""

    async def close(self) -> None:
        for volume in self.volumes.values():
            volume.holders.clear()

    async def release(self, key: VolumeKey, holder: str) -> None:
        await self._enter("release")
        if key in self.volumes:
            self.volumes[key].holders.discard(holder)

    async def destroy(self, key: VolumeKey, *, retain_until: datetime.datetime | None) -> None:
        await self._enter("destroy")
        self.volumes.pop(key, None)
        archive = self.archives.get(key)
        if archive is not None and retain_until is not None and archive.closed_at is None:
            archive.closed_at = self.now()
        elif retain_until is None:
            self.archives.pop(key, None)

    async def purge(self, key: VolumeKey) -> int:
        await self._enter("purge")
        return 16 if key not in self.volumes and self.archives.pop(key, None) else 0

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
            taken_at=self.now(),
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

    async def maintain(self, key: VolumeKey, *, retention: datetime.timedelta) -> None:
        await self._enter("maintain")
        self.retentions[key] = retention

    def _window(self, key: VolumeKey) -> RestorableWindow | None:
        archive = self.archives.get(key)
        if archive is None:
            return None
        return RestorableWindow(archive.since, archive.closed_at or self.now(), archive.gaps)

    async def window(self, key: VolumeKey) -> RestorableWindow | None:
        self.looked_at_windows += 1
        await self._enter("window")
        return self._window(key)

    async def archive_state(self, key: VolumeKey) -> ArchiveState:
        return ArchiveState(0, 0, 0.0, len(self.archives[key].gaps), "")

    async def copy(
        self,
        *,
        origin: Volumes,
        source: VolumeKey,
        snapshot_id: str,
        as_id: str,
        kms_key_arn: str | None,
        progress: Callable[[int], None],
    ) -> None:
        progress(40)
        await self._enter("copy")
        assert isinstance(origin, MemoryVolumes)
        published = origin.published.get(snapshot_id)
        if published is None or published.volume != source:
            raise VolumeError("there is no such snapshot of that volume")
        self._require_open(published.kms_key_arn)
        self._require_open(kms_key_arn)
        progress(100)
        self.published[as_id] = dataclasses.replace(published, snapshot_id=as_id, kms_key_arn=kms_key_arn)

    async def snapshot_size(self, source: VolumeKey, snapshot_id: str) -> int:
        if snapshot_id not in self.published:
            raise VolumeError("there is no such snapshot of that volume")
        return 16


class MemoryKms:
    """control.ports.Kms: the default key, and every other key of this account that a test put in ``keys``."""

    def __init__(self, account: str, region: str) -> None:
        self._prefix = f"arn:aws:kms:{region}:{account}:key/"
        self.keys = {self._prefix + "default", self._prefix + "own"}
        self.closed: set[str] = set()
        self.silent = False

    async def resolve(self, key_id: str | None) -> str:
        if self.silent:
            raise VolumeError("the key service does not answer")
        arn = key_id or "default"
        if not arn.startswith("arn:"):
            arn = self._prefix + arn.removeprefix("alias/")
        if arn not in self.keys - self.closed:
            raise KMSKeyNotAccessibleFault(
                f"Specified KMS key [{key_id}] does not exist, is not enabled or you do not have permissions to access it."
            )
        return arn

    async def is_default(self, arn: str) -> bool:
        return arn == self._prefix + "default"


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

    async def started(self) -> list[str]:
        return sorted(self.endpoints)


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
    """A management plane on twins, with its worker and reconciler running; the first four are the default scope's."""

    control: Control
    volumes: MemoryVolumes
    gateways: MemoryGateways
    store: Store
    controls: Controls
    worker: Worker
    reconciler: Reconciler

    def at(self, moment: datetime.datetime) -> None:
        """Stop the clock there, the control plane's and the volumes'."""
        self.control.now = self.volumes.now = lambda: moment

    async def restart(self) -> None:
        """As after kill -9 of the control plane: the tasks end, what is durable stays, a new start."""
        await self.worker.interrupt()
        await self.reconciler.interrupt()
        self.worker = Worker(self.controls, KINDS)
        self.reconciler = Reconciler(self.controls)
        await self.reconciler.start()
        await self.worker.start()


@asynccontextmanager
async def plane(
    quotas: Quotas | None = None,
    *,
    regions: Sequence[str] = ("us-east-1",),
    accounts: Collection[str] | Callable[[], Collection[str]] = (DEFAULT_ACCOUNT,),
) -> AsyncIterator[Plane]:
    """A running management plane on twins; ``accounts`` have keys."""
    volumes, gateways, whole = (
        {name: MemoryVolumes() for name in regions},
        MemoryGateways(),
        await SqlStore.open(None),
    )
    host = MemoryHost()

    def made(scope: Scope) -> Control:
        return Control(
            deployment=Deployment(scope.account, scope.region),
            store=whole.scoped(scope.account, scope.region),
            volumes=volumes[scope.region],
            gateways=gateways,
            host=host,
            kms=MemoryKms(scope.account, scope.region),
            quotas=quotas or Quotas(),
        )

    controls = Controls(whole, volumes, made, accounts if callable(accounts) else lambda: accounts)
    control = controls.of(Scope(DEFAULT_ACCOUNT, regions[0]))
    running = Plane(
        control,
        volumes[regions[0]],
        gateways,
        control.store,
        controls,
        Worker(controls, KINDS),
        Reconciler(controls),
    )
    await running.reconciler.start()
    await running.worker.start()
    try:
        yield running
    finally:
        await running.worker.stop()
        await running.reconciler.stop()
        whole.close()


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
