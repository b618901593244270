"""Cluster volumes on this host's disk: ``control.ports.Volumes`` on PostgreSQL servers and their streamed archives.

Failpoints, each after the step it is named for: volume.copied, volume.started, volume.backed-up, backup.copied,
backup.flushed, restore.copied, restore.placed, restore.promoted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import time
from collections.abc import AsyncIterator, Callable

import asyncpg

from stilldb.domain.volumes import (
    PostgresAddress,
    RestorePoint,
    SnapshotIntent,
    VolumeError,
    VolumeKey,
    VolumeState,
)
from stilldb.postgres import UNREACHABLE, Programs, Server, config, controlfile, template
from stilldb.util import failpoints, files, processes
from stilldb.util.log import event
from stilldb.volume import backup, recover
from stilldb.volume.archive import Archive, sweep
from stilldb.volume.layout import Layout
from stilldb.volume.manifest import Base

log = logging.getLogger("stilldb.volume")

_MARK = """
SELECT pg_current_xact_id()::text AS xid,
       pg_create_restore_point($1) AS lsn,
       ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline,
       (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
       clock_timestamp() AS taken_at
"""
_ARCHIVED = "SELECT coalesce(max(flush_lsn) >= $1::pg_lsn, false) FROM pg_stat_replication WHERE application_name = $2"
_SLOT = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSettings:
    """When a new base backup is due, and how long a mark may wait for the archive."""

    base_after_bytes: int = 64 * 1024 * 1024  # WAL since the newest base backup, at the least
    base_after_share: float = (
        0.25  # of the data's size, whichever is more: a restore replays no more than that
    )
    mark_within: float = 10.0  # seconds


class _Volume:
    """What this process keeps about one volume; all of it can be lost."""

    def __init__(self, key: VolumeKey, layout: Layout, programs: Programs) -> None:
        self.key = key
        self.paths = layout.volume(key)
        self.archive = Archive(layout, layout.archive(key))
        self.sockets = layout.sockets(key.prefix)
        name = key.prefix.replace("/", "-")
        self.receiver_log = layout.log(f"{name}-receiver")
        self.server = Server(
            data=self.paths.data,
            sockets=self.sockets,
            log=layout.log(f"{name}-postgresql"),
            programs=programs,
        )
        self.lifecycle = asyncio.Lock()  # start, stop, make, remove
        self.archive_lock = asyncio.Lock()  # choosing what to pin against expiring it
        self.speaking = asyncio.Lock()  # one at a time on the control connection
        self.backing_up = asyncio.Lock()
        self.holders: set[str] = set()
        self.connection: asyncpg.Connection | None = None
        self.swept = False

    async def disconnect(self) -> None:
        """Close the control connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(*UNREACHABLE):
                await connection.close(timeout=1)


class LocalVolumes:
    """Every volume of a state directory."""

    def __init__(self, layout: Layout, programs: Programs, settings: VolumeSettings | None = None) -> None:
        self._layout = layout
        self._programs = programs
        self._settings = settings or VolumeSettings()
        self._volumes: dict[VolumeKey, _Volume] = {}
        self._template_lock = asyncio.Lock()

    def _of(self, key: VolumeKey) -> _Volume:
        if key not in self._volumes:
            self._volumes[key] = _Volume(key, self._layout, self._programs)
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

    async def create(self, key: VolumeKey) -> None:
        """Make the volume from the template, its archive, and its first base backup; PostgreSQL stopped afterwards."""
        volume = self._of(key)
        async with volume.lifecycle:
            if volume.paths.complete.exists():
                return
            await self._stop(volume)
            await self._copy_template(volume)
            await failpoints.reach("volume.copied")
            try:
                await self._start(volume)
                await failpoints.reach("volume.started")
                await self._back_up(volume, gently=False)
                await failpoints.reach("volume.backed-up")
                self._completed(volume)
            finally:
                await self._stop(volume)

    async def _copy_template(self, volume: _Volume) -> None:
        source = await self._template()
        paths = volume.paths
        for leftover in (paths.draft, paths.data, volume.archive.paths.root):
            await asyncio.to_thread(files.remove_tree, leftover)
        self._layout.make(paths.root)
        await asyncio.to_thread(files.copy_tree, source, paths.draft, owner=self._layout.owner)
        await controlfile.renew_system_identifier(paths.draft, self._programs)
        paths.draft.rename(paths.data)

    def _completed(self, volume: _Volume) -> None:
        content = {"format": 1, "volume": dataclasses.asdict(volume.key)}
        files.write_durably(volume.paths.complete, json.dumps(content).encode())

    async def restore(
        self, key: VolumeKey, *, source: VolumeKey, snapshot_id: str, progress: Callable[[int], None]
    ) -> None:
        """Make the volume from a published snapshot, with an archive of its own; PostgreSQL stopped afterwards.

        Its first base backup comes with the first ``maintain`` or ``mark``: reads need not wait for it.
        """
        volume, archive = self._of(key), self._of(source).archive
        async with volume.lifecycle:
            if volume.paths.complete.exists():
                return
            await self._stop(volume)
            await asyncio.to_thread(files.remove_tree, volume.archive.paths.root)
            manifest = archive.manifest(snapshot_id)
            try:
                await recover.recover(
                    self._layout, archive, manifest, volume.paths, volume.server, _stepwise(progress)
                )
                await failpoints.reach("restore.promoted")
                await self._start(volume)
                self._completed(volume)
            finally:
                await self._stop(volume)
        progress(100)

    async def destroy(self, key: VolumeKey) -> None:
        """Stop everything and remove the data; of the archive, what a snapshot pins stays."""
        volume = self._of(key)
        async with volume.lifecycle:
            volume.holders.clear()
            await self._stop(volume)
            volume.paths.complete.unlink(missing_ok=True)
            await asyncio.to_thread(files.remove_tree, volume.paths.root)
            with contextlib.suppress(OSError):  # other incarnations stand beside it
                volume.paths.root.parent.rmdir()
            await self._expire(volume)
        files.remove_tree(volume.sockets)
        self._volumes.pop(key, None)

    # -- up and down

    async def hold(self, key: VolumeKey, holder: str) -> PostgresAddress:
        """Start or adopt PostgreSQL and its receiver, and keep them up for ``holder``."""
        volume = self._of(key)
        async with volume.lifecycle:
            if not volume.paths.complete.exists():
                raise VolumeError(f"the volume {key.prefix} is not there")
            volume.holders.add(holder)
            if volume.server.status() != "ready" or not self._receiving(volume):
                await self._start(volume)
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
                    await self._stop(volume)

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
                await self._stop(volume)

    async def observe(self, key: VolumeKey) -> VolumeState:
        """What is so on this host right now."""
        volume = self._of(key)
        status = volume.server.status()
        if status is not None:
            return VolumeState.RUNNING if status == "ready" else VolumeState.STARTING
        return VolumeState.STOPPED if volume.paths.complete.exists() else VolumeState.ABSENT

    async def _start(self, volume: _Volume) -> None:
        """PostgreSQL first, then the slot, then the receiver on it."""
        running = volume.server.process()
        if running is None:
            await volume.disconnect()
            volume.server.configure()
        await volume.server.start()
        volume.archive.prepare()
        if not volume.swept:  # what a crash left; no backup of this process runs yet
            volume.swept = True
            await asyncio.to_thread(sweep, volume.archive.leftovers())
        if running is None or not self._receiving(volume):
            # A receiver that lost its server sleeps for seconds before it tries again: a new one is at once there.
            await processes.terminate(processes.load(volume.paths.receiver), grace=2)
            await self._ensure_slot(volume)
            self._receive(volume)

    def _receiving(self, volume: _Volume) -> bool:
        return processes.alive(processes.load(volume.paths.receiver))

    async def _ensure_slot(self, volume: _Volume) -> None:
        async with self._connection(volume) as connection:
            status = await connection.fetchval(_SLOT, config.SLOT)
            if status == "lost":
                log.error(
                    event(
                        "archive gap: the slot was lost; a new base backup follows", volume=volume.key.prefix
                    )
                )
                volume.archive.note_gap()
                await connection.execute("SELECT pg_drop_replication_slot($1)", config.SLOT)
            if status is None or status == "lost":
                await connection.execute("SELECT pg_create_physical_replication_slot($1, true)", config.SLOT)

    def _receive(self, volume: _Volume) -> None:
        process = processes.spawn(
            [
                self._programs["pg_receivewal"],
                f"--host={volume.sockets}",
                f"--port={config.PORT}",
                f"--username={config.USER}",
                f"--directory={volume.archive.paths.wal}",
                f"--slot={config.SLOT}",
                "--synchronous",
                "--no-password",
                "--status-interval=1",
            ],
            log=volume.receiver_log,
            run_as=self._programs.run_as,
            environment={**os.environ, "PGAPPNAME": config.RECEIVER},
        )
        processes.save(volume.paths.receiver, process)

    async def _stop(self, volume: _Volume) -> None:
        """A clean stop sends the receiver every byte before PostgreSQL ends; then the receiver ends."""
        await volume.disconnect()
        await volume.server.stop()
        await processes.terminate(processes.load(volume.paths.receiver), grace=5)
        volume.paths.receiver.unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def _connection(self, volume: _Volume) -> AsyncIterator[asyncpg.Connection]:
        """The volume's control connection for one user at a time, opened when there is none; a failure on it closes it."""
        async with volume.speaking:
            try:
                if volume.connection is None or volume.connection.is_closed():
                    volume.connection = await volume.server.connect()
                    # This session's commits wait for the archive; everybody else's for the local disk.
                    await volume.connection.execute("SET synchronous_commit = on")
                yield volume.connection
            except UNREACHABLE as error:
                await volume.disconnect()
                raise VolumeError(
                    f"PostgreSQL of {volume.key.prefix}: {error or type(error).__name__}"
                ) from error
            except BaseException:
                await volume.disconnect()  # a query that was broken off leaves a session that nobody can use
                raise

    # -- snapshots

    async def mark(self, key: VolumeKey, name: str) -> RestorePoint:
        """Write a restore point; returns when the archive durably holds it.

        The commit of the transaction that writes it waits for the archive's receiver by synchronous replication.
        """
        volume = self._of(key)
        if volume.archive.lacks_base():
            await self._back_up(volume, gently=False, only_if_lacking=True)
        async with self._connection(volume) as connection:
            row = await self._marked(volume, connection, name)
        return RestorePoint(
            name=name,
            lsn=row["lsn"],
            timeline=row["timeline"],
            system_identifier=row["system_identifier"],
            taken_at=row["taken_at"],
        )

    async def _marked(self, volume: _Volume, connection: asyncpg.Connection, name: str) -> asyncpg.Record:
        deadline = time.monotonic() + self._settings.mark_within
        silent = f"the archive of {volume.key.prefix} does not receive WAL"
        try:
            async with asyncio.timeout(self._settings.mark_within):
                row = await connection.fetchrow(_MARK, name)
        except (
            TimeoutError,
            asyncpg.InternalClientError,
        ):  # the latter when the cancelled wait commits all the same
            # The restore point is in the WAL all the same; the next attempt writes another, with a name of its own.
            raise VolumeError(f"{silent}: {_last_error(volume.receiver_log)}") from None
        # A cancelled wait for replication commits all the same, with a warning: so look.
        while not await connection.fetchval(_ARCHIVED, row["lsn"], config.RECEIVER):
            if time.monotonic() > deadline:
                raise VolumeError(f"{silent}: {_last_error(volume.receiver_log)}")
            await asyncio.sleep(0.005)
        return row

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

    async def maintain(self, key: VolumeKey) -> None:
        """Take a new base backup when one is due, and expire what nothing needs."""
        volume = self._of(key)
        if volume.backing_up.locked() or volume.server.status() != "ready" or not volume.holders:
            return
        if await self._base_is_due(volume):
            base = await self._back_up(volume, gently=True)
            assert base is not None
            log.info(event("base backup", volume=key.prefix, base=base.base_id, bytes=base.size))
            await self._expire(volume)

    async def _base_is_due(self, volume: _Volume) -> bool:
        newest = max(volume.archive.bases(), key=lambda base: base.start_lsn, default=None)
        if newest is None or volume.archive.lacks_base():
            return True
        async with self._connection(volume) as connection:
            now: int = await connection.fetchval("SELECT pg_current_wal_lsn()")
        threshold = self._settings.base_after_bytes
        if now - newest.start_lsn <= threshold:
            return False
        size = await asyncio.to_thread(backup.data_size, volume.paths.data)
        return now - newest.start_lsn > max(threshold, int(size * self._settings.base_after_share))

    async def _back_up(self, volume: _Volume, *, gently: bool, only_if_lacking: bool = False) -> Base | None:
        async with volume.backing_up:
            if only_if_lacking and not volume.archive.lacks_base():
                return None  # another one was under way when this was asked
            base = await backup.take(
                self._layout, volume.archive, self._programs, volume.sockets, gently=gently
            )
            volume.archive.bridge_gap()
            return base

    async def _expire(self, volume: _Volume) -> int:
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
            await asyncio.to_thread(volume.archive.remove_if_empty)
        return freed


def _told(step: Callable[[SnapshotIntent], None], intent: SnapshotIntent) -> None:
    """Run a step on files; what the disk refuses is a VolumeError that says so."""
    try:
        step(intent)
    except OSError as error:
        raise VolumeError(f"snapshot {intent.snapshot_id}: {error}") from error


def _last_error(log_file: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        lines = log_file.read_text(errors="replace")[-4000:].strip().splitlines()
        return next((line for line in reversed(lines) if " error: " in line), "its receiver tells no reason")
    return "its receiver left no log"


def _stepwise(progress: Callable[[int], None]) -> Callable[[int], None]:
    """Only what is new, and never backwards."""
    reached = -1

    def tell(percent: int) -> None:
        nonlocal reached
        if percent > reached:
            reached = percent
            progress(percent)

    return tell
