"""The care of one volume: heartbeats, base backups when due, a spool that must not fill the disk, gaps mended, expiry.

Failpoint: expire.named (base backups that go have lost their descriptions, nothing else is removed yet).
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence

from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.volumes import VolumeError
from stilldb.postgres import Programs
from stilldb.util import failpoints
from stilldb.util.log import event
from stilldb.volume import backup, schedule
from stilldb.volume.expire import Needs, Verdict, verdicts
from stilldb.volume.keys import Kind
from stilldb.volume.layout import Layout
from stilldb.volume.manifest import Base, Gap
from stilldb.volume.running import Volume
from stilldb.volume.settings import VolumeSettings

log = logging.getLogger("stilldb.volume")

LOOK_EVERY = 1.0  # seconds
EXPIRE_EVERY = 600.0
_SPOOL_LIMIT, _SPOOL_SHARE = 10 << 30, 4  # bytes, and the part of the free disk: a quarter


class Care:
    """What is done for a volume of its own accord; ``run`` for as long as its PostgreSQL does."""

    def __init__(self, volume: Volume, layout: Layout, programs: Programs, settings: VolumeSettings) -> None:
        self._volume = volume
        self._layout = layout
        self._programs = programs
        self._settings = settings
        self._backing_up: asyncio.Task[None] | None = None
        self._mending = asyncio.Lock()
        self._expired = float("-inf")  # the first maintenance sweeps what an earlier process left

    async def run(self) -> None:
        """Look after the volume until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                await self._quietly(self._look)
        finally:
            if self._backing_up is not None:
                self._backing_up.cancel()
                await asyncio.gather(self._backing_up, return_exceptions=True)

    async def _quietly(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except (VolumeError, KMSKeyNotAccessibleFault, OSError) as error:
            log.warning(event("volume care failed", volume=self._volume.key.prefix, reason=error))
        except Exception:  # the next look comes all the same
            log.exception(event("volume care failed", volume=self._volume.key.prefix))

    async def _look(self) -> None:
        volume = self._volume
        if volume.moments.gap is not None:
            if not volume.shipper.error:
                await self.mend()
            return
        reason = await asyncio.to_thread(self._too_much_in_the_spool)
        if reason:
            await self._protect(reason)
            return
        if self._backing_up is None or self._backing_up.done():
            position = await asyncio.to_thread(volume.spool.reached)
            # The very first one comes by `maintain` or with a mark: reads of a restored volume need not wait for it.
            bases = await volume.archive.bases()
            if bases and not volume.backing_up.locked() and self._due(bases, position):
                self._backing_up = asyncio.create_task(
                    self._quietly(lambda: self.back_up(position, gently=True))
                )
        if volume.silence() >= self._settings.heartbeat_every and volume.receiving():
            await volume.beat()

    # -- the spool, and gaps

    def _too_much_in_the_spool(self) -> str:
        waiting, size, _ = self._volume.shipper.lag()
        if not waiting:
            return ""
        free = shutil.disk_usage(self._volume.paths.root).free
        limit = self._settings.spool_limit_bytes
        if limit is None:
            limit = min(_SPOOL_LIMIT, (free + size) // _SPOOL_SHARE)
        if size > limit:
            return (
                f"{size} bytes of WAL wait for the archive's store, more than the {limit} that they may take"
            )
        if free < self._settings.free_floor_bytes:
            return f"{free} bytes are free on the disk while WAL waits for the archive's store"
        return ""

    async def _protect(self, reason: str) -> None:
        """Receive no more: writes go on, snapshots and moments wait for the store and a new base backup."""
        volume = self._volume
        async with volume.lifecycle:
            volume.open_gap(f"{reason}. {volume.shipper.error}".strip())
            await volume.end_receiver()
            await volume.drop_slot()

    async def mend(self) -> None:
        """Begin the archive anew and close the gap with a full base backup; raises VolumeError while that can't be."""
        volume = self._volume
        async with self._mending:
            gap = volume.moments.gap
            if gap is None:
                return
            try:
                await volume.reconnect_archive()
            except (VolumeError, OSError) as error:
                raise VolumeError(
                    f"the archive of {volume.key.prefix} lacks WAL since {gap.since:%Y-%m-%d %H:%M:%S} UTC ({gap.reason}); "
                    f"snapshots are possible when its store takes WAL again: {error}"
                ) from error
            async with volume.backing_up:
                base = await self._take(schedule.Due(None, "WAL is missing since the last one"), gently=False)
            until = datetime.datetime.fromisoformat(base.finished_at)
            record = await volume.archive.record()
            await volume.archive.save_record(
                dataclasses.replace(record, gaps=(*record.gaps, Gap(min(gap.since, until), until)))
            )
            volume.moments.close_gap()
            volume.tell("gap", f"The gap in the archive ends at {until:%Y-%m-%d %H:%M:%S} UTC.")

    # -- base backups

    def _due(self, bases: Sequence[Base], position: int) -> schedule.Due | None:
        after, gap = self._settings.base_after_bytes, self._volume.moments.gap is not None
        return schedule.due(bases, position=position, after_bytes=after, gap=gap)

    async def ensure_base(self) -> None:
        """See that a snapshot has a base backup to stand on; raises VolumeError when none can be taken."""
        if self._volume.moments.gap is not None:
            await self.mend()
        if not await self._volume.archive.bases():
            await self.back_up(0, gently=False)

    async def back_up(self, position: int, *, gently: bool) -> Base | None:
        """Take the base backup that is due with the WAL at LSN ``position``, if one is."""
        async with self._volume.backing_up:
            plan = self._due(await self._volume.archive.bases(), position)
            return None if plan is None else await self._take(plan, gently=gently)

    async def _take(self, plan: schedule.Due, *, gently: bool) -> Base:
        try:
            base = await self._run(plan.parent, gently=gently)
        except backup.Refused as error:
            self._volume.tell("backup failed", str(error))
            if plan.parent is None:
                raise
            base = await self._run(None, gently=gently)  # summaries of the WAL may be missing
        kind = "full" if base.parent is None else "incremental"
        self._volume.tell(
            "base backup",
            f"A base backup, {kind}, of {base.size} bytes was taken, stored in {base.stored}: {plan.reason}.",
        )
        return base

    async def _run(self, parent: Base | None, *, gently: bool) -> Base:
        volume = self._volume
        request = backup.Request(
            base_id=backup.new_id(),
            sockets=volume.sockets,
            scratch=self._layout.make(volume.paths.root),
            parent=parent,
            gently=gently,
        )
        volume.in_progress.add(request.base_id)
        try:
            return await backup.take(volume.archive, self._programs, request)
        finally:
            volume.in_progress.discard(request.base_id)

    async def maintain(self, retention: datetime.timedelta) -> None:
        """Take a base backup when one is due, and expire what neither a snapshot nor the retention needs."""
        volume = self._volume
        changed = volume.moments.retention != retention
        volume.moments.retain(retention)
        if volume.backing_up.locked() or volume.server.status() != "ready" or not volume.holders:
            return
        if volume.moments.gap is not None:
            await self.mend()
        async with volume.connection() as connection:
            position: int = await connection.fetchval("SELECT pg_current_wal_lsn()")
        taken = await self.back_up(position, gently=bool(await volume.archive.bases()))
        if taken or changed or time.monotonic() - self._expired > EXPIRE_EVERY:
            await self.expire()

    # -- expiry

    async def verdicts(self, *, grace: float = 0.0) -> list[Verdict]:
        """What becomes of each object, and why; ``grace`` in seconds, for processes that don't know what is under way."""
        volume, archive = self._volume, self._volume.archive
        live = volume.paths.complete.exists()
        record = None if live else await archive.record()
        return verdicts(
            archive.keys,
            entries=[entry async for entry in archive.store.list(archive.keys.root)],
            bases=await archive.bases(),
            manifests=await archive.manifests(),
            needs=Needs(
                live=live,
                now=datetime.datetime.now(datetime.UTC),
                retention=volume.moments.retention,
                retain_until=None if record is None else record.retain_until,
                in_progress=frozenset(volume.in_progress),
                grace=datetime.timedelta(seconds=grace),
            ),
        )

    async def expire(self) -> int:
        """Remove what nothing needs; returns the bytes freed."""
        volume, archive = self._volume, self._volume.archive
        self._expired = time.monotonic()
        try:
            async with volume.archive_lock:
                doomed = [verdict for verdict in await self.verdicts() if not verdict.keep]
                for verdict in doomed:
                    await self._require_gone(verdict)
                await archive.remove_bases(verdict.name for verdict in doomed if verdict.kind == "base")
        except VolumeError as error:
            # What a damaged manifest pins can't be known: everything is kept until that snapshot is deleted.
            log.error(event("nothing is expired", volume=volume.key.prefix, reason=error))
            return 0
        await failpoints.reach("expire.named")
        for verdict in doomed:
            await archive.remove(verdict.keys)
            if any(archive.keys.parse(key).kind is Kind.PLAIN for key in verdict.keys):
                await asyncio.to_thread(archive.remove_plain, verdict.name)
        return sum(verdict.size for verdict in doomed)

    async def _require_gone(self, verdict: Verdict) -> None:
        """Raises VolumeError when the store has what its listing lacked: such a listing is not believed in anything."""
        keys = self._volume.archive.keys
        if verdict.kind != "orphan":
            return
        of_base = any(key.startswith(keys.bases) for key in verdict.keys)
        looked = (
            [keys.base(verdict.name)] if of_base else [keys.manifest(verdict.name), keys.draft(verdict.name)]
        )
        for key in looked:
            if await self._volume.archive.store.size(key) is not None:
                raise VolumeError(f"the store's listing lacks {key}, which is there")
