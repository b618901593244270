"""Cluster volumes on this host's disk: ``control.ports.Volumes`` on PostgreSQL servers and their streamed archives.

Failpoints, each after the step it is named for: volume.copied, volume.started, volume.backed-up, restore.promoted.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import datetime
import json
import logging
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable

from stilldb.domain.volumes import (
    ArchiveState,
    Notice,
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
from stilldb.postgres import Programs, config, controlfile, lsn, template
from stilldb.util import failpoints, files
from stilldb.util.log import event
from stilldb.volume import check, clone, copies, datakeys, recover, snapshots, windows
from stilldb.volume.archive import Archive
from stilldb.volume.care import Care
from stilldb.volume.check import Report
from stilldb.volume.expire import Verdict
from stilldb.volume.keyring import Kms
from stilldb.volume.layout import FORMAT, Layout
from stilldb.volume.manifest import ArchiveRecord
from stilldb.volume.objects.local import LocalStore
from stilldb.volume.objects.store import ObjectStore, Unavailable
from stilldb.volume.running import Volume
from stilldb.volume.settings import VolumeSettings

log = logging.getLogger("stilldb.volume")


class LocalVolumes:
    """Every volume of a state directory."""

    def __init__(
        self,
        layout: Layout,
        programs: Programs,
        settings: VolumeSettings | None = None,
        *,
        store: ObjectStore | None = None,
        remote: bool = False,
        kms: Kms | None = None,
        notify: Callable[[Notice], None] = lambda _: None,
    ) -> None:
        """``store``: the archives', None for a local one in the state directory.

        ``remote``: it is elsewhere, so that a snapshot is published when the store has all of it, and not just the spool.
        """
        self.kms = kms
        self._layout = layout
        self._programs = programs
        self._settings = settings or VolumeSettings()
        self._store = store or LocalStore(layout.archive_root)
        self._remote = remote
        self._notify = notify
        self._volumes: dict[VolumeKey, Volume] = {}
        self._snapshots: dict[VolumeKey, set[str]] = collections.defaultdict(set)  # those that there are
        self._cares: dict[VolumeKey, Care] = {}
        self._template_lock = asyncio.Lock()

    def _of(self, key: VolumeKey) -> Volume:
        if key not in self._volumes:
            self._volumes[key] = volume = Volume(
                key,
                self._layout,
                self._programs,
                store=self._store,
                kms=self.kms,
                notify=self._notify,
                remote=self._remote,
                snapshots=self._snapshots[key],
            )
            self._cares[key] = Care(volume, self._layout, self._programs, self._settings)
        return self._volumes[key]

    def _care(self, key: VolumeKey) -> Care:
        self._of(key)
        return self._cares[key]

    def archive(self, key: VolumeKey) -> Archive:
        """The archive of a volume, whether that exists or not."""
        return self._of(key).archive

    # -- making and ending

    async def prepare(self) -> None:
        """Make the template ahead of the first volume: it takes a second or two."""
        await self._template()

    async def _template(self) -> pathlib.Path:
        async with self._template_lock:
            return await template.ensure(
                self._layout.templates, self._layout.sockets("template"), self._programs
            )

    async def create(self, key: VolumeKey, *, kms_key_arn: str | None) -> None:
        """Make the volume from the template, its archive, and its first base backup; PostgreSQL stopped afterwards."""
        volume = self._of(key)
        async with volume.lifecycle:
            if volume.paths.complete.exists():
                return
            async with self._whole_or_not_at_all(volume):
                await self._begin_archive(volume, kms_key_arn)
                await self._copy_template(volume)
                await failpoints.reach("volume.copied")
                await volume.start()
                volume.tend()
                await failpoints.reach("volume.started")
                await self._care(key).back_up(0, gently=False)
                await failpoints.reach("volume.backed-up")
                await self._completed(volume)

    @contextlib.asynccontextmanager
    async def _whole_or_not_at_all(self, volume: Volume) -> AsyncIterator[None]:
        """Make a volume between clean starts and stops; what failed keeps no space until somebody deletes it."""
        await volume.stop()
        try:
            try:
                yield
            finally:
                await volume.stop()
        except Exception:
            await asyncio.to_thread(_remove_with_empty_parent, volume.paths.root)
            with contextlib.suppress(VolumeError):  # the next attempt, or the cluster's deletion, removes it
                await volume.archive.remove_all()
            raise

    async def _begin_archive(self, volume: Volume, kms_key_arn: str | None) -> None:
        """An empty archive, with a data key where it is to be encrypted."""
        await volume.archive.remove_all()
        keys = [] if kms_key_arn is None else [await datakeys.generate(self.kms, volume.key, kms_key_arn)]
        volume.archive.use_keys(keys)
        await volume.archive.save_record(ArchiveRecord(keys=tuple(keys)))

    async def _copy_template(self, volume: Volume) -> None:
        source = await self._template()
        paths = volume.paths
        for leftover in (paths.draft, paths.data, paths.spool):
            await asyncio.to_thread(files.remove_tree, leftover)
        self._layout.make(paths.root)
        await asyncio.to_thread(files.copy_tree, source, paths.draft, owner=self._layout.owner)
        await controlfile.renew_system_identifier(paths.draft, self._programs)
        paths.draft.rename(paths.data)

    async def _completed(self, volume: Volume) -> None:
        keys = [dataclasses.asdict(key) for key in (await volume.archive.secrets()).wrapped]
        content = {"format": FORMAT, "volume": dataclasses.asdict(volume.key), "keys": keys}
        # It tells how to open the archive, for PostgreSQL runs even while the store is away.
        files.write_durably(volume.paths.complete, json.dumps(content).encode(), 0o600)

    async def restore(
        self,
        key: VolumeKey,
        *,
        source: VolumeKey,
        target: RestoreTarget,
        kms_key_arn: str | None,
        progress: Callable[[int], None],
    ) -> None:
        """Make the volume from a published snapshot or a moment, with an archive of its own; PostgreSQL stopped afterwards.

        Its first base backup comes with the first ``maintain`` or ``mark``: reads need not wait for it.
        """
        volume, archive = self._of(key), self._of(source).archive
        async with volume.lifecycle:
            if volume.paths.complete.exists():
                return
            async with self._whole_or_not_at_all(volume):
                await self._begin_archive(volume, kms_key_arn)
                told = _stepwise(progress)
                if isinstance(target, SnapshotTarget):
                    manifest = await archive.manifest(target.snapshot_id)
                    await recover.recover(self._layout, archive, manifest, volume.paths, volume.server, told)
                else:
                    await recover.recover_to(self._layout, archive, target, volume.paths, volume.server, told)
                await failpoints.reach("restore.promoted")
                await self._completed(volume)
        progress(100)

    async def clone(
        self, key: VolumeKey, *, source: VolumeKey, kms_key_arn: str | None, progress: Callable[[int], None]
    ) -> None:
        """Make the volume from the present state of another one, with an archive of its own; PostgreSQL stopped afterwards."""
        volume, origin = self._of(key), self._of(source)
        async with volume.lifecycle:
            if volume.paths.complete.exists():
                return
            async with self._whole_or_not_at_all(volume):
                await clone.require_shared_blocks(self._layout, origin.paths, volume.paths)
                await self._begin_archive(volume, kms_key_arn)
                await clone.make(
                    self._layout, origin, volume, self._settings.mark_within, _stepwise(progress)
                )
                await volume.start()
                await self._completed(volume)
        progress(100)

    async def destroy(self, key: VolumeKey, *, retain_until: datetime.datetime | None) -> None:
        """Stop everything and remove the data; of the archive stays what a snapshot pins and, until then, the rest."""
        volume = self._of(key)
        async with volume.lifecycle:
            volume.holders.clear()
            await volume.stop()
            if volume.paths.complete.exists():
                await self._close_archive(volume, retain_until)
            volume.paths.complete.unlink(missing_ok=True)
            await asyncio.to_thread(_remove_with_empty_parent, volume.paths.root)
            await self._care(key).expire()
        files.remove_tree(volume.sockets)
        self._volumes.pop(key, None)
        self._cares.pop(key, None)

    async def _close_archive(self, volume: Volume, retain_until: datetime.datetime | None) -> None:
        """The spool into the store, where somebody needs it; the record says till when, and what the last moment is."""
        _require_known_format(volume)
        if retain_until is not None or await volume.archive.snapshot_ids():
            await volume.shipper.drain(again=True)
        record = await volume.archive.record()
        closed = dataclasses.replace(
            record,
            keys=(await volume.archive.secrets()).wrapped,
            gaps=volume.moments.gaps(record.gaps),
            closed_at=volume.moments.latest,
            retain_until=retain_until,
        )
        await volume.archive.save_record(closed)

    async def purge(self, key: VolumeKey) -> int:
        """Drop what is retained of a destroyed volume and no snapshot pins; returns the bytes freed."""
        volume = self._of(key)
        if volume.paths.complete.exists():
            raise VolumeError(f"the volume {key.prefix} exists: nothing of it is retained")
        record = await volume.archive.record()
        if record.retain_until is not None:
            await volume.archive.save_record(dataclasses.replace(record, retain_until=None))
        return await self._care(key).expire()

    async def window(self, key: VolumeKey) -> RestorableWindow | None:
        """The moments that the volume, or what is retained of it, can be restored to; None: none."""
        volume = self._of(key)
        now = datetime.datetime.now(datetime.UTC)
        record = await volume.archive.record()
        if volume.paths.complete.exists():
            latest, retention = volume.moments.latest, volume.moments.retention
        elif record.retain_until is not None and now < record.retain_until:
            latest, retention = record.closed_at, None
        else:
            return None
        return windows.window(
            await volume.archive.bases(),
            volume.moments.gaps(record.gaps),
            latest=latest,
            now=now,
            retention=retention,
        )

    async def archive_state(self, key: VolumeKey) -> ArchiveState:
        """How far the store is behind the volume, and what it lacks."""
        volume = self._of(key)
        segments, size, seconds = volume.shipper.lag()
        window = None if volume.shipper.error else await self.window(key)
        return ArchiveState(
            lag_segments=segments,
            lag_bytes=size,
            lag_seconds=seconds,
            gaps=(0 if window is None else len(window.gaps)) + (volume.moments.gap is not None),
            store_error=volume.shipper.error,
        )

    async def copy(
        self,
        *,
        origin: object,
        source: VolumeKey,
        snapshot_id: str,
        as_id: str,
        kms_key_arn: str | None,
        progress: Callable[[int], None],
    ) -> None:
        """Make a published snapshot of ``origin`` one more, ``as_id``, of these volumes, under the same volume key."""
        if not isinstance(origin, LocalVolumes):
            raise VolumeError("snapshots are copied from other volumes of this deployment only")
        volume, theirs = self._of(source), origin.archive(source)
        if await volume.archive.store.size(volume.archive.keys.manifest(as_id)) is not None:
            return
        manifest = await theirs.manifest(snapshot_id)
        keys = await copies.rewrapped(theirs, manifest, kms_key_arn, self.kms)
        volume.in_progress.add(as_id)
        try:
            if theirs.store is volume.archive.store:
                async with volume.archive_lock:
                    await copies.within(volume.archive, manifest, as_id, keys)
            else:
                told = _stepwise(progress)
                await copies.Move(theirs, volume.archive, manifest, as_id, keys, told).run()
        finally:
            volume.in_progress.discard(as_id)
        progress(100)

    async def snapshot_size(self, source: VolumeKey, snapshot_id: str) -> int:
        """Bytes that the store keeps for a published snapshot, shared ones included."""
        archive = self._of(source).archive
        manifest = await archive.manifest(snapshot_id)
        sealed, timeline = await archive.sealed(), manifest.point.timeline
        wal = sum(sealed.get((timeline, number), lsn.SEGMENT_BYTES) for number in manifest.segments)
        return sum(base.stored for base in manifest.chain) + wal

    # -- up and down

    async def hold(self, key: VolumeKey, holder: str) -> PostgresAddress:
        """Start or adopt PostgreSQL and its receiver, and keep them up for ``holder``."""
        volume = self._of(key)
        async with volume.lifecycle:
            if not volume.paths.complete.exists():
                raise VolumeError(f"the volume {key.prefix} is not there")
            await self._upgrade(volume)
            volume.holders.add(holder)
            lacks_receiver = volume.moments.gap is None and not volume.receiving()
            if volume.server.status() != "ready" or lacks_receiver:
                await volume.start()
            volume.tend(self._care(key).run)
        return PostgresAddress(
            host=str(volume.sockets), port=config.PORT, user=config.USER, database=config.DATABASE
        )

    async def _upgrade(self, volume: Volume) -> None:
        """A volume of format 1 goes on in this one: what its archive has stays readable, new WAL goes to the spool."""
        if _require_known_format(volume) == FORMAT:
            return
        await volume.end_receiver()  # it writes into the archive itself
        if volume.server.status() == "ready":
            await volume.reconfigure()
        if await volume.archive.store.size(volume.archive.keys.gap) is not None:
            volume.open_gap("it did so before the upgrade")
            await volume.archive.store.delete([volume.archive.keys.gap])
        volume.archive.use_keys([])
        await self._completed(volume)
        log.info(event("volume upgraded", volume=volume.key.prefix, format=FORMAT))

    def claim(self, key: VolumeKey, holder: str) -> None:
        """Count ``holder`` among those that need PostgreSQL, without starting it."""
        self._of(key).holders.add(holder)

    def expect(self, source: VolumeKey, snapshot_id: str) -> None:
        """A snapshot that there is: what it needs is kept, also when the store's listing should not show it."""
        self._snapshots[source].add(snapshot_id)

    async def tidy(self) -> None:
        """Stop every PostgreSQL that runs and that nobody claimed: what an interrupted job left."""
        for key in self._layout.volumes():
            volume = self._of(key)
            async with volume.lifecycle:
                if not volume.holders:
                    await volume.stop()

    async def close(self) -> None:
        """Stop every PostgreSQL that still runs on this host."""
        for key in self._layout.volumes():
            self._of(key).holders.clear()
        await self.tidy()

    async def release(self, key: VolumeKey, holder: str) -> None:
        """Stop PostgreSQL, the archive complete, when ``holder`` was the last."""
        volume = self._of(key)
        async with volume.lifecycle:
            volume.holders.discard(holder)
            if not volume.holders:
                await volume.stop()

    async def observe(self, key: VolumeKey) -> VolumeState:
        """What is so on this host right now."""
        volume = self._of(key)
        status = volume.server.status()
        if status is not None:
            return VolumeState.RUNNING if status == "ready" else VolumeState.STARTING
        return VolumeState.STOPPED if volume.paths.complete.exists() else VolumeState.ABSENT

    # -- snapshots

    async def mark(self, key: VolumeKey, name: str) -> RestorePoint:
        """Write a restore point; returns when the archive durably holds it."""
        await self._care(key).ensure_base()
        return await self._of(key).mark(name, self._settings.mark_within)

    async def draft(self, intent: SnapshotIntent) -> None:
        """Choose the base backups, pin them and the WAL range, write the manifest under its draft name."""
        volume = self._of(intent.volume)
        async with volume.archive_lock:
            await _told(intent, snapshots.draft(volume.archive, intent))

    async def verify(self, intent: SnapshotIntent) -> None:
        """Check the draft and every object that it names."""
        await _told(intent, snapshots.verify(self._of(intent.volume).archive, intent))

    async def publish(self, intent: SnapshotIntent) -> None:
        """Give the manifest its name."""
        volume = self._of(intent.volume)
        shipper = volume.shipper if self._remote else None
        await _told(intent, snapshots.publish(volume.archive, intent, shipper, self._settings.mark_within))

    async def forget(self, source: VolumeKey, snapshot_id: str) -> int:
        """Remove a snapshot and what only it needed; returns the bytes freed."""
        await self._of(source).archive.remove_snapshot(snapshot_id)
        return await self._care(source).expire()

    # -- base backups and expiry

    async def maintain(self, key: VolumeKey, *, retention: datetime.timedelta) -> None:
        """Take a new base backup when one is due, and expire what nothing needs."""
        await self._care(key).maintain(retention)

    async def expire(self, key: VolumeKey, *, dry_run: bool = False) -> list[Verdict]:
        """Remove what nothing needs; the verdict on everything, with reasons. A dry run removes nothing."""
        verdicts = await self._care(key).verdicts(grace=self._settings.orphan_grace if dry_run else 0.0)
        if not dry_run:
            await self._care(key).expire()
        return verdicts

    async def check(self, key: VolumeKey, *, every_byte: bool = False) -> Report:
        """Look for orphans, missing objects, broken chains and, with ``every_byte``, damage; changes nothing."""
        try:
            verdicts = await self._care(key).verdicts(grace=self._settings.orphan_grace)
        except Unavailable:
            raise
        except VolumeError:  # something is damaged: the check tells what
            verdicts = []
        return await check.check(self._of(key).archive, verdicts, every_byte=every_byte)

    async def archives(self) -> list[VolumeKey]:
        """Every volume of which the store holds something."""
        found = set()
        async for entry in self._store.list(""):
            parts = entry.key.split("/")
            if len(parts) > 2 and parts[1].isdigit():
                found.add(VolumeKey(parts[0], int(parts[1])))
        return sorted(found)


def _remove_with_empty_parent(directory: pathlib.Path) -> None:
    files.remove_tree(directory)
    with contextlib.suppress(OSError):  # other incarnations stand beside it
        directory.parent.rmdir()


def _require_known_format(volume: Volume) -> int:
    try:
        found = json.loads(volume.paths.complete.read_bytes())["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise VolumeError(f"{volume.paths.complete} is damaged: {error}") from error
    if found not in range(1, FORMAT + 1):
        raise VolumeError(
            f"the volume {volume.key.prefix} has format {found!r}; this StillDB reads format {FORMAT}. Use a newer one."
        )
    return int(found)


async def _told(intent: SnapshotIntent, step: Awaitable[None]) -> None:
    """Take a step; what the disk refuses is a VolumeError that says so."""
    try:
        await step
    except OSError as error:
        raise VolumeError(f"snapshot {intent.snapshot_id}: {error}") from error


def _stepwise(progress: Callable[[int], None]) -> Callable[[int], None]:
    """Only what is new, and never backwards."""
    reached = -1

    def tell(percent: int) -> None:
        nonlocal reached
        if percent > reached:
            reached = percent
            progress(percent)

    return tell
