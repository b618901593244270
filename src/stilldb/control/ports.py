"""What the control plane needs from the outside: store, volumes, gateways, host. Each has an in-memory twin in the tests."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from stilldb.domain.names import Scope
from stilldb.domain.proofs import Proof
from stilldb.domain.resources import (
    Cluster,
    Event,
    Instance,
    Job,
    RetainedBackup,
    Row,
    Setting,
    Snapshot,
    Tag,
)
from stilldb.domain.volumes import (
    ArchiveState,
    GatewayState,
    PostgresAddress,
    RestorableWindow,
    RestorePoint,
    RestoreTarget,
    SnapshotIntent,
    VolumeKey,
    VolumeState,
)
from stilldb.endpoint import GatewayEndpoint

Kind = TypeVar("Kind", Cluster, Instance, Snapshot, RetainedBackup, Event, Tag, Job, Setting, Proof)
Result = TypeVar("Result")


class Transaction(Protocol):
    """One atomic piece of work on the control plane's state; rows come ordered by their key (domain.resources.KEYS).

    It sees one account and region only. Tags, by their ARN, and settings are of the whole deployment.
    """

    def get(self, kind: type[Kind], /, *key: str) -> Kind | None:
        """The row with this key."""

    def find(
        self,
        kind: type[Kind],
        /,
        *,
        after: tuple[str, ...] | None = None,
        limit: int | None = None,
        **equals: object,
    ) -> list[Kind]:
        """Rows whose fields equal the given values (or are among them, for a collection), after a key, at most limit."""

    def count(self, kind: type[Kind], /, **equals: object) -> int:
        """How many rows ``find`` would give."""

    def add(self, row: Row) -> None:
        """A new row; raises AlreadyExists."""

    def save(self, row: Row) -> None:
        """New values for the row with this key; raises Vanished."""

    def remove(self, row: Row) -> None:
        """The row goes; raises Vanished."""

    def within(self, account: str, region: str) -> Transaction:
        """The same piece of work, seeing another account and region."""

    def everywhere(self, kind: type[Kind], /, **equals: object) -> list[tuple[Scope, Kind]]:
        """Rows of every account and region, each with its own, ordered by that and then by key."""


class Store(Protocol):
    """The control plane's own state. Durable when ``run`` returns; nothing is kept when ``work`` raises."""

    async def run(self, work: Callable[[Transaction], Result]) -> Result:
        """Run ``work`` in one serial transaction."""

    def scoped(self, account: str, region: str) -> Store:
        """The same state, its transactions seeing just this account and region."""

    async def scopes(self) -> list[Scope]:
        """Every account and region that has rows, in order."""


class Volumes(Protocol):
    """Cluster volumes of this deployment. Every method is idempotent and raises VolumeError."""

    async def create(self, key: VolumeKey, *, kms_key_arn: str | None) -> None:
        """Make the volume: data directory, streaming archive, first full base backup; leaves PostgreSQL stopped.

        With a KMS key its archive is encrypted.
        """

    async def restore(
        self,
        key: VolumeKey,
        *,
        source: VolumeKey,
        target: RestoreTarget,
        kms_key_arn: str | None,
        progress: Callable[[int], None],
    ) -> None:
        """Make the volume from a published snapshot or a moment of ``source``, whose own volume may be gone.

        It gets an archive of its own, encrypted when there is a KMS key. Tells the percentage done.
        """

    async def clone(
        self,
        key: VolumeKey,
        *,
        source: VolumeKey,
        kms_key_arn: str | None,
        progress: Callable[[int], None],
    ) -> None:
        """Make the volume from the present state of a running or stopped one, sharing its blocks (copy-on-write).

        Raises VolumeError where the file system can't share blocks.
        """

    async def hold(self, key: VolumeKey, holder: str) -> PostgresAddress:
        """Start or adopt PostgreSQL and its WAL receiver, and keep them up for ``holder``."""

    def claim(self, key: VolumeKey, holder: str) -> None:
        """Count ``holder`` among those that need PostgreSQL, without starting it."""

    def expect(self, source: VolumeKey, snapshot_id: str) -> None:
        """A snapshot that there is: what it needs is kept, also when the store's listing should not show it."""

    async def release(self, key: VolumeKey, holder: str) -> None:
        """``holder`` no longer needs PostgreSQL; the last release stops it cleanly, the archive complete."""

    async def destroy(self, key: VolumeKey, *, retain_until: datetime.datetime | None) -> None:
        """Stop it and remove its data. Of the archive stays what a snapshot pins and, until ``retain_until``, the rest."""

    async def purge(self, key: VolumeKey) -> int:
        """Drop what is retained of a destroyed volume and no snapshot pins; returns the bytes freed."""

    async def tidy(self) -> None:
        """Stop every PostgreSQL that runs on this host and that nobody claimed: what an interrupted job left."""

    async def close(self) -> None:
        """Stop every PostgreSQL that still runs on this host, whoever holds it; the next start brings up what it needs."""

    async def observe(self, key: VolumeKey) -> VolumeState:
        """What is so on this host right now."""

    async def mark(self, key: VolumeKey, name: str) -> RestorePoint:
        """Write a restore point into the WAL of a running volume; returns when the archive durably holds it."""

    async def draft(self, intent: SnapshotIntent) -> None:
        """Choose the base backup, pin it and the WAL range, write the manifest under its draft name."""

    async def verify(self, intent: SnapshotIntent) -> None:
        """Check the draft and every object that it names; raises VolumeError when one is missing or short."""

    async def publish(self, intent: SnapshotIntent) -> None:
        """Give the manifest its name: from here on the snapshot exists."""

    async def forget(self, source: VolumeKey, snapshot_id: str) -> int:
        """Remove a snapshot, published or draft, and what only it needed; returns the bytes freed."""

    async def maintain(self, key: VolumeKey, *, retention: datetime.timedelta) -> None:
        """Take a base backup when one is due; expire what neither a snapshot nor the retention needs."""

    async def window(self, key: VolumeKey) -> RestorableWindow | None:
        """The moments that a volume, or what is retained of a destroyed one, can be restored to; None: none."""

    async def archive_state(self, key: VolumeKey) -> ArchiveState:
        """How far the store is behind the volume."""

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
        """Make a published snapshot of ``origin`` one more, ``as_id``, of these volumes, under the same volume key.

        In one store it is a manifest that pins the same objects, its data key wrapped by ``kms_key_arn``; from another
        store the objects move. Tells the percentage of the bytes done.
        """

    async def snapshot_size(self, source: VolumeKey, snapshot_id: str) -> int:
        """Bytes that the store keeps for a published snapshot, shared ones included."""


class Looks(Protocol):
    """Snapshots restored into throw-away PostgreSQLs below this host's scratch, to be proven or looked into.

    Every method raises VolumeError, and KMSKeyNotAccessibleFault for an encrypted snapshot whose key is closed.
    """

    async def prove(
        self,
        source: VolumeKey,
        snapshot_id: str,
        *,
        expected: Mapping[str, int] | None,
        progress: Callable[[int], None],
    ) -> Proof:
        """Restore and check it; what is wrong with the snapshot is in the proof. VolumeError: it could not be tried.

        ``expected`` are the documents by database.collection that an earlier proof counted; None where there is none.
        """

    async def open(
        self,
        source: VolumeKey,
        snapshot_id: str,
        *,
        holder: str,
        served: bool,
        progress: Callable[[int], None],
    ) -> PostgresAddress:
        """Restore it and keep it up, read only, until ``holder`` closes it.

        To be ``served`` by a gateway it must have been by one before: VolumeError for one whose cluster had no instance.
        """

    async def close(self, source: VolumeKey, snapshot_id: str, *, holder: str) -> None:
        """``holder`` needs it no more; what was opened for nobody else is stopped and removed."""

    async def compare(
        self,
        old: PostgresAddress,
        new: PostgresAddress,
        *,
        examples: int,
        progress: Callable[[int], None],
    ) -> Mapping[str, Any]:
        """What differs between two volumes' documents, indexes and users: a JSON object (``volume.compare``)."""


class Kms(Protocol):
    """The KMS keys of one account and region."""

    async def resolve(self, key_id: str | None) -> str:
        """The ARN of an open key of this account by id, ARN, alias or alias ARN; None: the default key.

        Raises KMSKeyNotAccessibleFault.
        """

    async def is_default(self, arn: str) -> bool:
        """Whether it is the default key, under which nothing can be shared; raises KMSKeyNotAccessibleFault."""


class Gateways(Protocol):
    """The gateway processes of this host."""

    async def start(self, endpoint: GatewayEndpoint) -> None:
        """Start the gateway, or adopt the one that runs with exactly this endpoint; returns before it is ready."""

    async def stop(self, instance_id: str) -> None:
        """Stop it, connections drained for a moment; nothing to do if it does not run."""

    async def observe(self, instance_id: str) -> GatewayState:
        """Ask the process itself."""

    async def started(self) -> list[str]:
        """The instance ids of all that were started and not stopped, by an earlier control plane too."""


class Host(Protocol):
    """What the machine gives an instance: addresses, certificates, paths, an unprivileged user."""

    run_as: tuple[int, int] | None  # uid and gid that servers drop to, when the control plane is root

    def free_address(self, port: int, taken: Collection[str]) -> str:
        """A loopback address, none of ``taken``, on which ``port`` is free; raises VolumeError when there is none."""

    def certificate(self, instance_id: str, addresses: Sequence[str]) -> tuple[str, str]:
        """Paths of the certificate (chain) and the key of an instance that answers on these addresses."""

    def certificate_valid_till(self, instance_id: str) -> datetime.datetime | None:
        """When the instance's certificate ends (UTC); None while it has none."""

    def health_socket(self, instance_id: str) -> str:
        """Path of the unix socket on which the instance's gateway tells how it is."""

    def forget(self, instance_id: str) -> None:
        """Remove what was kept for an instance that is gone: its key and certificate, its socket's directory."""
