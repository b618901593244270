"""Cluster volumes on this host's disk: ``control.ports.Volumes`` on PostgreSQL servers and their streamed archives.

Failpoints, each after the step it is named for: volume.copied, volume.started, volume.backed-up, backup.copied,
backup.flushed, restore.copied, restore.placed, restore.promoted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import json
import logging
import pathlib
from collections.abc import AsyncIterator, Callable

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
from stilldb.volume import backup, recover
from stilldb.volume.layout import FORMAT, Layout
from stilldb.volume.manifest import Base
from stilldb.volume.plain import sweep
from stilldb.volume.running import Volume

log = logging.getLogger("stilldb.volume")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSettings:
    """When a new base backup is due, and how long a mark may wait for the archive."""

    base_after_bytes: int = 64 * 1024 * 1024  # WAL since the newest base backup, at the least
    base_after_share: float = (
        0.25  # of the data's size, whichever is more: a restore replays no more than that
    )
    mark_within: float = 10.0  # seconds


class LocalVolumes:
    """Every volume of a state directory."""

    def __init__(
        self,
        layout: Layout,
        programs: Programs,
        settings: VolumeSettings | None = None,
        *,
        notify: Callable[[Notice], None] = lambda _: None,
    ) -> None:
        self._layout = layout
        self._notify = notify
        self._programs = programs
        self._settings = settings or VolumeSettings()
        self._volumes: dict[VolumeKey, Volume] = {}
        self._template_lock = asyncio.Lock()

    def _of(self, key: VolumeKey) -> Volume:
        if key not in self._volumes:
            self._volumes[key] = Volume(key, self._layout, self._programs)
        return self._volumes[key]

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
        _refuse_encryption(kms_key_arn)
        volume = self._of(key)
        async with volume.lifecycle:
            if volume.paths.complete.exists():
                return
            async with self._whole_or_not_at_all(volume):
                await self._copy_template(volume)
                await failpoints.reach("volume.copied")
                await volume.start()
                await failpoints.reach("volume.started")
                await self._back_up(volume, gently=False)
                await failpoints.reach("volume.backed-up")
                self._completed(volume)

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
            for leftover in (volume.paths.root, volume.archive.paths.root):
                await asyncio.to_thread(_remove_with_empty_parent, leftover)
            raise

    async def _copy_template(self, volume: Volume) -> None:
        source = await self._template()
        paths = volume.paths
        for leftover in (paths.draft, paths.data, volume.archive.paths.root):
            await asyncio.to_thread(files.remove_tree, leftover)
        self._layout.make(paths.root)
        await asyncio.to_thread(files.copy_tree, source, paths.draft, owner=self._layout.owner)
        await controlfile.renew_system_identifier(paths.draft, self._programs)
        paths.draft.rename(paths.data)

    def _completed(self, volume: Volume) -> None:
        content = {"format": FORMAT, "volume": dataclasses.asdict(volume.key)}
        files.write_durably(volume.paths.complete, json.dumps(content).encode())

    async def restore(
        self,
        key: VolumeKey,
        *,
        source: VolumeKey,
        target: RestoreTarget,
        kms_key_arn: str | None,
        progress: Callable[[int], None],
    ) -> None:
        """Make the volume from a published snapshot, with an archive of its own; PostgreSQL stopped afterwards.

        Its first base backup comes with the first ``maintain`` or ``mark``: reads need not wait for it.
        """
        _refuse_encryption(kms_key_arn)
        if not isinstance(target, SnapshotTarget):
            raise VolumeError("this archive can't be restored to a moment, only to a snapshot")
        snapshot_id = target.snapshot_id
        volume, archive = self._of(key), self._of(source).archive
        async with volume.lifecycle:
            if volume.paths.complete.exists():
                return
            async with self._whole_or_not_at_all(volume):
                await asyncio.to_thread(files.remove_tree, volume.archive.paths.root)
                manifest = archive.manifest(snapshot_id)
                await recover.recover(
                    self._layout, archive, manifest, volume.paths, volume.server, _stepwise(progress)
                )
                await failpoints.reach("restore.promoted")
                await volume.start()
                self._completed(volume)
        progress(100)

    async def clone(
        self, key: VolumeKey, *, source: VolumeKey, kms_key_arn: str | None, progress: Callable[[int], None]
    ) -> None:
        """Refused: blocks are not shared here."""
        raise VolumeError(f"{source.prefix} can't be cloned by copy-on-write: this StillDB shares no blocks")

    async def destroy(self, key: VolumeKey, *, retain_until: datetime.datetime | None) -> None:
        """Stop everything and remove the data; of the archive, what a snapshot pins stays, and nothing else is retained."""
        volume = self._of(key)
        async with volume.lifecycle:
            volume.holders.clear()
            await volume.stop()
            volume.paths.complete.unlink(missing_ok=True)
            await asyncio.to_thread(_remove_with_empty_parent, volume.paths.root)
            await self._expire(volume)
        files.remove_tree(volume.sockets)
        self._volumes.pop(key, None)

    async def purge(self, key: VolumeKey) -> int:
        """Nothing is retained but what snapshots pin; returns the bytes freed."""
        return await self._expire(self._of(key))

    async def window(self, key: VolumeKey) -> RestorableWindow | None:
        """None: this archive can be restored to snapshots only."""
        return None

    async def archive_state(self, key: VolumeKey) -> ArchiveState:
        """Refused: the receiver writes into the archive itself, so there is no lag to measure."""
        raise VolumeError(f"the archive of {key.prefix} has no store of its own whose state could be told")

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
        """Refused: manifests of this format are not copied."""
        raise VolumeError(
            f"the snapshot {snapshot_id} can't be copied: archives of this format keep one manifest"
        )

    async def snapshot_size(self, source: VolumeKey, snapshot_id: str) -> int:
        """Bytes of the base backup and the WAL segments that the snapshot pins."""
        manifest = await asyncio.to_thread(self._of(source).archive.manifest, snapshot_id)
        return manifest.base.size + len(manifest.segments) * lsn.SEGMENT_BYTES

    # -- up and down

    async def hold(self, key: VolumeKey, holder: str) -> PostgresAddress:
        """Start or adopt PostgreSQL and its receiver, and keep them up for ``holder``."""
        volume = self._of(key)
        async with volume.lifecycle:
            if not volume.paths.complete.exists():
                raise VolumeError(f"the volume {key.prefix} is not there")
            _require_known_format(volume)
            volume.holders.add(holder)
            if volume.server.status() != "ready" or not volume.receiving():
                await volume.start()
        return PostgresAddress(
            host=str(volume.sockets), port=config.PORT, user=config.USER, database=config.DATABASE
        )

    def claim(self, key: VolumeKey, holder: str) -> None:
        """Count ``holder`` among those that need PostgreSQL, without starting it."""
        self._of(key).holders.add(holder)

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
        volume = self._of(key)
        if volume.archive.lacks_base():
            await self._back_up(volume, gently=False, only_if_lacking=True)
        return await volume.mark(name, self._settings.mark_within)

    async def draft(self, intent: SnapshotIntent) -> None:
        """Choose the base backup, pin it and the WAL range, write the manifest under its draft name."""
        volume = self._of(intent.volume)
        async with volume.archive_lock:
            await asyncio.to_thread(_told, volume.archive.draft, intent)

    async def verify(self, intent: SnapshotIntent) -> None:
        """Check the draft and every object that it names."""
        await asyncio.to_thread(_told, self._of(intent.volume).archive.verify, intent)

    async def publish(self, intent: SnapshotIntent) -> None:
        """Give the manifest its name."""
        await asyncio.to_thread(_told, self._of(intent.volume).archive.publish, intent)

    async def forget(self, source: VolumeKey, snapshot_id: str) -> int:
        """Remove a snapshot and what only it needed; returns the bytes freed."""
        volume = self._of(source)
        if volume.archive.exists():
            await asyncio.to_thread(volume.archive.forget, snapshot_id)
        return await self._expire(volume)

    # -- base backups and expiry

    async def maintain(self, key: VolumeKey, *, retention: datetime.timedelta) -> None:
        """Take a new base backup when one is due, and expire what nothing needs."""
        volume = self._of(key)
        if volume.backing_up.locked() or volume.server.status() != "ready" or not volume.holders:
            return
        if await self._base_is_due(volume):
            base = await self._back_up(volume, gently=True)
            assert base is not None
            log.info(event("base backup", volume=key.prefix, base=base.base_id, bytes=base.size))
            self._notify(Notice(key, "base backup", f"A base backup of {base.size} bytes was taken."))
            await self._expire(volume)

    async def _base_is_due(self, volume: Volume) -> bool:
        newest = max(volume.archive.bases(), key=lambda base: base.start_lsn, default=None)
        if newest is None or volume.archive.lacks_base():
            return True
        async with volume.connection() as connection:
            now: int = await connection.fetchval("SELECT pg_current_wal_lsn()")
        threshold = self._settings.base_after_bytes
        if now - newest.start_lsn <= threshold:
            return False
        size = await asyncio.to_thread(backup.data_size, volume.paths.data)
        return now - newest.start_lsn > max(threshold, int(size * self._settings.base_after_share))

    async def _back_up(self, volume: Volume, *, gently: bool, only_if_lacking: bool = False) -> Base | None:
        async with volume.backing_up:
            if only_if_lacking and not volume.archive.lacks_base():
                return None  # another one was under way when this was asked
            base = await backup.take(
                self._layout, volume.archive, self._programs, volume.sockets, gently=gently
            )
            volume.archive.bridge_gap()
            return base

    async def _expire(self, volume: Volume) -> int:
        if not volume.archive.exists():
            return 0
        live = volume.paths.complete.exists()
        try:
            async with volume.archive_lock:
                doomed = await asyncio.to_thread(volume.archive.expire, live=live)
        except VolumeError as error:
            # What a damaged manifest pins can't be known: everything is kept until that snapshot is deleted.
            log.error(event("nothing is expired", volume=volume.key.prefix, reason=error))
            return 0
        freed = await asyncio.to_thread(sweep, doomed)
        if not live:
            async with volume.archive_lock:
                await asyncio.to_thread(volume.archive.remove_if_empty)
        return freed


def _refuse_encryption(kms_key_arn: str | None) -> None:
    if kms_key_arn is not None:
        raise VolumeError("archives of this format are not encrypted")


def _remove_with_empty_parent(directory: pathlib.Path) -> None:
    files.remove_tree(directory)
    with contextlib.suppress(OSError):  # other incarnations stand beside it
        directory.parent.rmdir()


def _require_known_format(volume: Volume) -> None:
    try:
        found = json.loads(volume.paths.complete.read_bytes())["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise VolumeError(f"{volume.paths.complete} is damaged: {error}") from error
    if found != FORMAT:
        raise VolumeError(
            f"the volume {volume.key.prefix} has format {found!r}; this StillDB reads format {FORMAT}. Use a newer one."
        )


def _told(step: Callable[[SnapshotIntent], None], intent: SnapshotIntent) -> None:
    """Run a step on files; what the disk refuses is a VolumeError that says so."""
    try:
        step(intent)
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
