"""Snapshots that leave this deployment as exports, and come into it: what is told of them, and the rows that imports make.

The bytes are the business of ``Parcels``. An import is staged object by object, and becomes a snapshot in one step at its end; one that
is not finished within a while is thrown away.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from stilldb.control import events, snapshots
from stilldb.control.browsing import SnapshotNotReadable, available, readable
from stilldb.control.context import Control
from stilldb.control.ports import Transaction
from stilldb.domain import names
from stilldb.domain.faults import Fault, InvalidParameterValue
from stilldb.domain.resources import Setting, Snapshot, SnapshotStatus
from stilldb.domain.transfers import Packed
from stilldb.domain.volumes import VolumeError, VolumeKey
from stilldb.util.log import event

log = logging.getLogger("stilldb.transfers")

IDLE: Final = 900.0  # seconds after which an import that nobody goes on with is thrown away
_SWEEP: Final = 30.0
_INTENT: Final = "import/"
_KEY: Final = re.compile(r"[A-Za-z0-9._/-]{1,800}")
# What an import decides for itself, whatever the export says.
_OWN: Final = frozenset(
    {
        "identifier",
        "snapshot_id",
        "cluster_resource_id",
        "incarnation",
        "status",
        "status_reason",
        "percent_progress",
    }
    | {"snapshot_type", "created_at", "kms_key_arn", "source_arn", "restorable_by"}
)

Progress = Callable[[int], None]


class ImportNotFound(Fault):
    """No import of this id is under way."""

    code = "ImportNotFound"
    status = 404


class Parcels(Protocol):
    """The objects of snapshots on their way. Every method raises VolumeError."""

    async def pack(self, source: VolumeKey, snapshot_id: str, passphrase: str | None) -> Packed:
        """The manifest as it leaves and what it needs; an encrypted snapshot needs a passphrase."""

    async def content(self, source: VolumeKey, snapshot_id: str, key: str) -> bytes:
        """One object that a snapshot needs, verified."""

    async def stage(self, import_id: str, key: str, content: bytes, *, offset: int, total: int) -> None:
        """Keep bytes of an object that comes in, in order; the object is there when ``total`` is reached."""

    async def adopt(
        self,
        import_id: str,
        manifest_key: str,
        *,
        as_id: str,
        kms_key_arn: str | None,
        passphrase: str | None,
        progress: Progress,
    ) -> None:
        """Verify what was staged and make it a snapshot of the store, in the volume that the manifest's key names."""

    async def forget(self, source: VolumeKey, snapshot_id: str) -> None:
        """Remove an adopted snapshot again."""

    async def drop(self, import_id: str) -> None:
        """Throw staged objects away."""

    async def staged(self) -> list[str]:
        """The ids of all imports that have objects."""


@dataclasses.dataclass(slots=True)
class _Import:
    description: Mapping[str, Any]
    touched: float  # monotonic
    finishing: bool = False


class Transfers:
    """The exports and imports of one account and region."""

    def __init__(self, control: Control, parcels: Parcels) -> None:
        self._control = control
        self._parcels = parcels
        self._ours = f" of {control.deployment.account} in {control.deployment.region}"
        self._imports: dict[str, _Import] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Throw away what an earlier process left: what was staged, and a snapshot that was adopted and never told of."""
        for import_id in await self._parcels.staged():
            if import_id not in self._imports:
                await self._parcels.drop(import_id)
        for intent in await self._control.store.run(lambda tx: tx.find(Setting)):
            # Settings are of the whole deployment, and other accounts may be about to finish theirs.
            if intent.name.startswith(_INTENT) and intent.value.endswith(self._ours):
                resource_id, _, incarnation = intent.value.removesuffix(self._ours).rpartition("/")
                key = VolumeKey(resource_id, int(incarnation))
                await self._parcels.forget(key, intent.name.removeprefix(_INTENT))
                await self._control.store.run(lambda tx, intent=intent: tx.remove(intent))  # type: ignore[misc]
        self._sweeping = asyncio.create_task(self._sweep(), name="imports")

    async def stop(self) -> None:
        """Throw away what is not finished."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        for import_id in list(self._imports):
            await self.abandon(import_id)

    # -- out

    async def pack(self, identifier: str, passphrase: str | None) -> tuple[Packed, dict[str, Any]]:
        """What the export of a snapshot consists of, and its description: JSON values."""
        snapshot = await self._control.store.run(lambda tx: available(tx, identifier))
        with readable(identifier):
            packed = await self._parcels.pack(snapshot.volume, snapshot.snapshot_id, passphrase)
        description = {
            "snapshot": _told(snapshot),
            "arn": snapshots.arn(self._control, snapshot),
            "exported_at": self._control.now().isoformat(),
            "encrypted": packed.encrypted,
            "manifest": packed.manifest_key,
        }
        return packed, description

    async def content(self, identifier: str, key: str) -> bytes:
        """One object of an export."""
        snapshot = await self._control.store.run(lambda tx: available(tx, identifier))
        with readable(identifier):
            return await self._parcels.content(snapshot.volume, snapshot.snapshot_id, key)

    # -- in

    async def begin(self, description: Mapping[str, Any]) -> str:
        """Begin an import; its id."""
        _row(description, {})  # says now what is wrong with it
        import_id = f"import-{uuid.uuid4().hex[:16]}"
        self._imports[import_id] = _Import(description, time.monotonic())
        return import_id

    async def put(self, import_id: str, key: str, content: bytes, *, offset: int, total: int) -> None:
        """Take bytes of an object."""
        self._touch(import_id)
        if not _KEY.fullmatch(key) or not 0 <= offset <= offset + len(content) <= total:
            raise InvalidParameterValue(f"{key[:100]!r} from {offset} of {total} is no part of an object")
        try:
            await self._parcels.stage(import_id, key, content, offset=offset, total=total)
        except VolumeError as error:
            raise SnapshotNotReadable(f"The import can't go on: {error}") from error

    async def finish(
        self,
        import_id: str,
        *,
        identifier: str | None,
        kms_key_id: str | None,
        passphrase: str | None,
        progress: Progress,
    ) -> Snapshot:
        """Make a snapshot of what came in, as ``identifier`` or by the name that it had; it is available then.

        Encrypted ones are put under ``kms_key_id`` or the default key. What came in stays when this fails, to try again.
        """
        moving = self._touch(import_id)
        if moving.finishing:
            raise InvalidParameterValue(f"the import {import_id} is being finished already")
        wanted = (
            moving.description["snapshot"]["identifier"].replace(":", "-")
            if identifier is None
            else identifier
        )
        wanted = names.snapshot_identifier(wanted, "DBClusterSnapshotIdentifier")
        encrypted = bool(moving.description["encrypted"])
        if kms_key_id is not None and not encrypted:
            raise InvalidParameterValue(
                "the snapshot is not encrypted, so there is nothing to put under a KMS key"
            )
        await self._control.store.run(lambda tx: self._refuse(tx, wanted))
        arn = await self._control.kms.resolve(kms_key_id) if encrypted else None
        moving.finishing = True
        try:
            return await self._finish(import_id, moving, wanted, arn, passphrase, progress)
        except VolumeError as error:
            raise SnapshotNotReadable(f"The export can't be imported: {error}") from error
        finally:
            moving.finishing = False
            moving.touched = time.monotonic()

    async def _finish(
        self,
        import_id: str,
        moving: _Import,
        identifier: str,
        arn: str | None,
        passphrase: str | None,
        progress: Progress,
    ) -> Snapshot:
        snapshot_id = uuid.uuid4().hex
        manifest_key = str(moving.description["manifest"])
        volume = _volume(manifest_key)
        intent = Setting(name=f"{_INTENT}{snapshot_id}", value=volume.prefix + self._ours)
        await self._control.store.run(lambda tx: tx.add(intent))
        try:
            await self._parcels.adopt(
                import_id,
                manifest_key,
                as_id=snapshot_id,
                kms_key_arn=arn,
                passphrase=passphrase,
                progress=progress,
            )
        except BaseException:
            await self._undo(volume, snapshot_id, intent)
            raise
        snapshot = _row(
            moving.description,
            {
                "identifier": identifier,
                "snapshot_id": snapshot_id,
                "cluster_resource_id": volume.resource_id,
                "incarnation": volume.incarnation,
                "kms_key_arn": arn,
                "source_arn": str(moving.description["arn"]),
                "created_at": self._control.now(),
            },
        )

        def work(tx: Transaction) -> None:
            self._refuse(tx, identifier)
            tx.add(snapshot)
            tx.remove(intent)
            events.record(
                tx, self._control, snapshot, "backup", f"Cluster snapshot imported of {snapshot.source_arn}"
            )

        try:
            await self._control.store.run(work)
        except BaseException:
            await self._undo(volume, snapshot_id, intent)
            raise
        del self._imports[import_id]
        await self._parcels.drop(import_id)
        log.info(event("snapshot imported", snapshot=identifier, source=moving.description["arn"]))
        return snapshot

    async def _undo(self, volume: VolumeKey, snapshot_id: str, intent: Setting) -> None:
        await self._parcels.forget(volume, snapshot_id)
        await self._control.store.run(lambda tx: tx.remove(intent))

    def _refuse(self, tx: Transaction, identifier: str) -> None:
        snapshots.refuse_if_taken(tx, identifier)
        snapshots.refuse_over_quota(tx, self._control)

    async def abandon(self, import_id: str) -> None:
        """Throw an import away; raises ImportNotFound."""
        if self._imports.pop(import_id, None) is None:
            raise _not_found(import_id)
        await self._parcels.drop(import_id)

    def _touch(self, import_id: str) -> _Import:
        moving = self._imports.get(import_id)
        if moving is None:
            raise _not_found(import_id)
        moving.touched = time.monotonic()
        return moving

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            old = time.monotonic() - IDLE
            for import_id, moving in list(self._imports.items()):
                if moving.touched < old and not moving.finishing:
                    log.info(event("import abandoned", id=import_id))
                    await self.abandon(import_id)


def _not_found(import_id: str) -> ImportNotFound:
    return ImportNotFound(
        f"No import {import_id} is under way: it was finished, or nothing came for {IDLE:.0f} seconds."
    )


def _volume(manifest_key: str) -> VolumeKey:
    """The volume of a manifest's key, ``<resource id>/<incarnation>/snapshots/<snapshot id>/manifest.json``."""
    resource_id, incarnation, *rest = manifest_key.split("/")
    if not incarnation.isdecimal() or len(rest) != 3 or not _KEY.fullmatch(manifest_key):
        raise InvalidParameterValue(f"{manifest_key[:100]!r} is no manifest's key")
    return VolumeKey(resource_id, int(incarnation))


def _told(snapshot: Snapshot) -> dict[str, Any]:
    """A row as JSON values."""
    told: dict[str, Any] = {}
    for name, value in dataclasses.asdict(snapshot).items():
        if isinstance(value, datetime.datetime):
            told[name] = value.isoformat()
        elif isinstance(value, tuple | frozenset | set):
            told[name] = sorted(value) if isinstance(value, frozenset | set) else list(value)
        else:
            told[name] = value
    return told


def _row(description: Mapping[str, Any], own: Mapping[str, Any]) -> Snapshot:
    """The row of an imported snapshot; raises InvalidParameterValue for a description that makes none."""
    settled: dict[str, Any] = {
        "identifier": "imported",
        "snapshot_id": "",
        "cluster_resource_id": "",
        "incarnation": 1,
        "status": SnapshotStatus.AVAILABLE,
        "percent_progress": 100,
        "snapshot_type": snapshots.MANUAL,
        "created_at": datetime.datetime.now(datetime.UTC),
        **own,
    }
    try:
        given = description["snapshot"]
        _volume(description["manifest"])
        str(description["arn"]), bool(description["encrypted"])
        values = {}
        for field in dataclasses.fields(Snapshot):
            if field.name in settled:
                values[field.name] = settled[field.name]
            elif field.name in given and field.name not in _OWN:
                values[field.name] = _value(str(field.type), given[field.name])
        return Snapshot(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidParameterValue(f"the export's description makes no snapshot: {error!r}") from error


def _value(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if "datetime" in kind:
        return datetime.datetime.fromisoformat(value)
    if "frozenset" in kind:
        return frozenset(value)
    return tuple(value) if "tuple" in kind else value
