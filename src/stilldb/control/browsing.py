"""Looking into snapshots without making a cluster: served read-only on a MongoDB endpoint, or compared.

A look is a throw-away PostgreSQL and a gateway in front of it. It lives as long as its client renews the lease, and no longer than this
process: the next one removes what it finds of an earlier one's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

from stilldb.control import snapshots
from stilldb.control.clusters import addresses_in_use
from stilldb.control.context import Control
from stilldb.control.ports import Looks, Transaction
from stilldb.domain.faults import (
    DBClusterNotFoundFault,
    Fault,
    InvalidDBClusterSnapshotStateFault,
    InvalidDBClusterStateFault,
    InvalidParameterValue,
)
from stilldb.domain.resources import Cluster, ClusterStatus, Snapshot, SnapshotStatus
from stilldb.domain.volumes import PostgresAddress, VolumeError
from stilldb.endpoint import GatewayEndpoint, MasterUser, ScramVerifier
from stilldb.util import scram
from stilldb.util.log import event

log = logging.getLogger("stilldb.browsing")

LEASE: Final = 60.0  # seconds that a look stays open without being renewed
READY_WITHIN: Final = 60.0
_PREFIX: Final = "look-"
_POLL: Final = 0.02
_SWEEP: Final = 1.0
_CLUSTER: Final = "cluster:"
_GUEST: Final = "browse"
_CONNECTIONS: Final = 200
MOST_EXAMPLES: Final = 1_000

Progress = Callable[[int], None]


class SnapshotNotReadable(Fault):
    """A snapshot could not be restored to be looked into; the message says why."""

    code = "SnapshotNotReadable"
    status = 409


class LookNotFound(Fault):
    """No look of this id is open: it was closed, or its lease ran out."""

    code = "LookNotFound"
    status = 404


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A snapshot served on an endpoint. The password of its guest is told to who opened it, and kept nowhere."""

    look_id: str
    snapshot: str
    address: str
    port: int
    username: str
    password: str = dataclasses.field(repr=False)
    lease_seconds: float = LEASE


@dataclasses.dataclass(slots=True)
class _Open:
    snapshot: Snapshot
    until: float  # monotonic


def available(tx: Transaction, identifier: str) -> Snapshot:
    """The snapshot; a fault when there is none or it is not available."""
    snapshot = tx.get(Snapshot, identifier)
    if snapshot is None:
        raise snapshots.not_found(identifier)
    if snapshot.status is not SnapshotStatus.AVAILABLE:
        raise InvalidDBClusterSnapshotStateFault(
            f"The cluster snapshot {identifier} is in status {snapshot.status}; it must be available."
        )
    return snapshot


@contextlib.contextmanager
def readable(identifier: str) -> Iterator[None]:
    """Tell a failed restore as a fault."""
    try:
        yield
    except VolumeError as error:
        raise SnapshotNotReadable(f"The cluster snapshot {identifier} can't be read: {error}") from error


async def close_leftovers(control: Control) -> None:
    """Stop the gateways of looks that an earlier process left in the region, before any look is opened."""
    for instance_id in await control.gateways.started():
        if instance_id.startswith(_PREFIX):
            await control.gateways.stop(instance_id)
            control.host.forget(instance_id)


class Browsing:
    """The looks of one account and region."""

    def __init__(self, control: Control, looks: Looks) -> None:
        self._control = control
        self._looks = looks
        self._open: dict[str, _Open] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Close looks whose lease runs out, from now on."""
        self._sweeping = asyncio.create_task(self._sweep(), name="browsing")

    async def stop(self) -> None:
        """Close every look."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        for look_id in list(self._open):
            await self.close(look_id)

    async def open(self, identifier: str, *, port: int | None, progress: Progress) -> Look:
        """Serve a snapshot: restore it, start a gateway on a loopback address of its own, wait until it answers.

        Its own users get in, and a guest made for this look. Raises SnapshotNotReadable and KMSKeyNotAccessibleFault.
        """
        snapshot = await self._control.store.run(lambda tx: available(tx, identifier))
        look_id = f"{_PREFIX}{uuid.uuid4().hex[:16]}"
        with readable(identifier):
            try:
                postgres = await self._looks.open(
                    snapshot.volume, snapshot.snapshot_id, holder=look_id, served=True, progress=progress
                )
                look = await self._serve(look_id, snapshot, postgres, port)
            except BaseException:
                await self._take_down(look_id, snapshot)
                raise
        self._open[look_id] = _Open(snapshot, time.monotonic() + LEASE)
        log.info(
            event("snapshot served", snapshot=identifier, look=look_id, address=look.address, port=look.port)
        )
        return look

    async def _serve(
        self, look_id: str, snapshot: Snapshot, postgres: PostgresAddress, port: int | None
    ) -> Look:
        control = self._control
        port = int(snapshot.settings["port"]) if port is None else port
        address = control.host.free_address(port, await control.store.run(addresses_in_use))
        certificate, key = await asyncio.to_thread(control.host.certificate, look_id, [address])
        here = f"{address}:{port}"
        password = secrets.token_urlsafe(24)
        verifiers = await asyncio.to_thread(scram.verifiers, _GUEST, password)
        await control.gateways.start(
            GatewayEndpoint(
                cluster_resource_id=snapshot.cluster_resource_id,
                incarnation=snapshot.incarnation,
                instance_id=look_id,
                writer=False,
                engine_version=snapshot.engine_version,
                postgres_host=postgres.host,
                postgres_port=postgres.port,
                postgres_user=postgres.user,
                postgres_database=postgres.database,
                listen=((address, port),),
                replica_set="rs0",
                hosts=(here,),
                me=here,
                primary="",
                tls_certificate=certificate,
                tls_key=key,
                health_socket=control.host.health_socket(look_id),
                max_connections=_CONNECTIONS,
                master_user=None,
                run_as=control.host.run_as,
                guest=MasterUser(
                    name=_GUEST,
                    version=1,
                    verifiers=tuple(ScramVerifier(**verifier) for verifier in verifiers),
                ),
            )
        )
        await self._until_ready(look_id)
        return Look(
            look_id=look_id,
            snapshot=snapshot.identifier,
            address=address,
            port=port,
            username=_GUEST,
            password=password,
        )

    async def _until_ready(self, look_id: str) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not (state := await self._control.gateways.observe(look_id)).ready:
            if not state.running or time.monotonic() > deadline:
                raise VolumeError(f"its gateway does not answer: {state.reason or 'it ended'}")
            await asyncio.sleep(_POLL)

    async def renew(self, look_id: str) -> float:
        """Keep a look open for LEASE seconds more; raises LookNotFound when it is not open, or its gateway is gone."""
        if look_id not in self._open:
            raise _not_found(look_id)
        state = await self._control.gateways.observe(look_id)
        if not state.running:
            await self.close(look_id)
            raise LookNotFound(f"The look {look_id} ended: {state.reason}. Open it again.")
        if look_id not in self._open:
            raise _not_found(look_id)
        self._open[look_id].until = time.monotonic() + LEASE
        return LEASE

    async def close(self, look_id: str) -> None:
        """Stop its gateway and its PostgreSQL, and remove the data; raises LookNotFound."""
        opened = self._open.pop(look_id, None)
        if opened is None:
            raise _not_found(look_id)
        await self._take_down(look_id, opened.snapshot)
        log.info(event("look closed", snapshot=opened.snapshot.identifier, look=look_id))

    async def _take_down(self, look_id: str, snapshot: Snapshot) -> None:
        await self._control.gateways.stop(look_id)
        self._control.host.forget(look_id)
        await self._looks.close(snapshot.volume, snapshot.snapshot_id, holder=look_id)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            now = time.monotonic()
            for look_id in [look_id for look_id, one in self._open.items() if one.until < now]:
                log.info(event("lease ran out", look=look_id))
                try:
                    await self.close(look_id)
                except (Fault, VolumeError, OSError) as error:
                    log.warning(event("look could not be closed", look=look_id, reason=error))

    # -- differences

    async def diff(self, old: str, new: str, *, examples: int, progress: Progress) -> Mapping[str, Any]:
        """What changed from one snapshot to another, or to what ``cluster:NAME`` holds now; see ``volume.compare``."""
        if not 0 <= examples <= MOST_EXAMPLES:
            raise InvalidParameterValue(f"examples must be from 0 to {MOST_EXAMPLES}")
        # Two restores and a comparison, each a third of the way.
        async with (
            self._side(old, lambda percent: progress(percent // 3)) as before,
            self._side(new, lambda percent: progress(33 + percent // 3)) as after,
        ):
            with readable(f"{old} or {new}"):
                return await self._looks.compare(
                    before, after, examples=examples, progress=lambda percent: progress(66 + percent // 3)
                )

    @contextlib.asynccontextmanager
    async def _side(self, name: str, progress: Progress) -> AsyncIterator[PostgresAddress]:
        holder = f"diff-{uuid.uuid4().hex[:16]}"
        if name.startswith(_CLUSTER):
            cluster = await self._control.store.run(lambda tx: _running(tx, name.removeprefix(_CLUSTER)))
            address = await self._control.volumes.hold(cluster.volume, holder)
            try:
                yield address
            finally:
                await self._control.volumes.release(cluster.volume, holder)
            return
        snapshot = await self._control.store.run(lambda tx: available(tx, name))
        try:
            with readable(name):
                address = await self._looks.open(
                    snapshot.volume, snapshot.snapshot_id, holder=holder, served=False, progress=progress
                )
            yield address
        finally:
            await self._looks.close(snapshot.volume, snapshot.snapshot_id, holder=holder)


def _not_found(look_id: str) -> LookNotFound:
    return LookNotFound(f"No look {look_id} is open: it was closed, or not renewed for {LEASE:.0f} seconds.")


def _running(tx: Transaction, identifier: str) -> Cluster:
    cluster = tx.get(Cluster, identifier)
    if cluster is None:
        raise DBClusterNotFoundFault(f"DBCluster {identifier} not found.")
    if cluster.status is not ClusterStatus.AVAILABLE:
        raise InvalidDBClusterStateFault(
            f"DbCluster {identifier} is in {cluster.status} state but expected it to be one of available."
        )
    return cluster
