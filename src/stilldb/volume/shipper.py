"""The shipper: seals the spool's complete WAL segments into the object store, and then only removes them.

Failpoints: ship.sealed (a segment's container is made), ship.put (the store has it, the spool too).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.volumes import VolumeError
from stilldb.postgres import lsn
from stilldb.util import failpoints
from stilldb.util.log import event
from stilldb.volume.archive import Archive
from stilldb.volume.objects.store import Unavailable
from stilldb.volume.spool import PARTIAL, Spool, SpooledSegment

log = logging.getLogger("stilldb.volume")

AT_ONCE = 2
LOOK_EVERY = 0.5  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0


class Shipper:
    """Ships one volume's spool, in order, a few segments at a time, for ever again when the store fails."""

    def __init__(self, archive: Archive, spool: Spool, tell: Callable[[str, str], None]) -> None:
        """``tell`` hears (category, message) when the store fails and when it is back."""
        self.error = ""  # the last one while the store does not take WAL
        self._archive = archive
        self._spool = spool
        self._tell = tell
        self._shipping = asyncio.Lock()
        self._put: set[tuple[int, int]] = set()  # by this process, and still in the spool
        self._waiting: list[SpooledSegment] = []  # as of the last look
        self._progress = asyncio.Condition()

    async def run(self) -> None:
        """Ship whatever becomes complete, until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self.ship()
            except Exception as error:  # noqa: BLE001 - shipping goes on, whatever it was
                self._failed(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                await asyncio.sleep(LOOK_EVERY)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, (VolumeError, KMSKeyNotAccessibleFault, OSError)):
            log.exception(event("WAL is not shipped", volume=self._archive.keys.volume.prefix))
        if not self.error:
            waiting = len(self._spool.complete())
            self._tell(
                "store unavailable",
                f"The archive's store takes no WAL; {waiting} segments wait in the spool. {error}",
            )
        self.error = str(error) or type(error).__name__

    def _succeeded(self) -> None:
        if self.error:
            self.error = ""
            self._tell("store available", "The archive's store takes WAL again.")

    async def ship(self) -> None:
        """Ship what is complete; raises what the store raises."""
        async with self._shipping:
            sealed = await self._archive.sealed()
            await self._ship_histories()
            complete = self._spool.complete()
            self._waiting = [segment for segment in complete if segment.key not in sealed]
            while self._waiting:
                await self._together(self._waiting[:AT_ONCE])
                self._waiting = self._waiting[AT_ONCE:]
                self._succeeded()
                await self._shipped()
            if self.error:  # nothing to ship that would show it
                await self._archive.store.size(self._archive.keys.record)
                self._succeeded()
            sealed = await self._archive.sealed()
            for segment in complete[:-1]:  # the receiver goes on from the newest
                if segment.key in sealed:
                    if segment.key not in self._put:
                        await self._confirm(segment)
                    self._put.discard(segment.key)
                    segment.path.unlink(missing_ok=True)

    async def _together(self, segments: Sequence[SpooledSegment]) -> None:
        outcomes = await asyncio.gather(*map(self._one, segments), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _one(self, segment: SpooledSegment) -> None:
        raw = await asyncio.to_thread(segment.path.read_bytes)
        key = self._archive.keys.segment(*segment.key)
        content = await self._archive.contained(key, raw)
        await failpoints.reach("ship.sealed")
        await self._archive.store.put(key, content)
        await failpoints.reach("ship.put")
        self._archive.note_sealed(*segment.key, len(content))
        self._put.add(segment.key)

    async def _confirm(self, segment: SpooledSegment) -> None:
        """Of what an earlier process put, a listing tells nothing but the name: the bytes are looked at, or put again."""
        raw = await asyncio.to_thread(segment.path.read_bytes)
        try:
            if await self._archive.stored_segment(*segment.key) == raw:
                return
        except Unavailable:
            raise
        except VolumeError as error:
            log.error(
                event("a WAL segment is put again", volume=self._archive.keys.volume.prefix, reason=error)
            )
        await self._one(segment)

    async def _ship_histories(self) -> None:
        for timeline, path in self._spool.histories():
            await self._archive.seal(self._archive.keys.history(timeline), path.read_bytes())
            path.unlink()

    async def _shipped(self) -> None:
        async with self._progress:
            self._progress.notify_all()

    async def until(self, timeline: int, number: int, within: float) -> None:
        """Return when the store has every segment before ``number``; raises VolumeError after ``within`` seconds."""
        sealed = await self._archive.sealed()
        deadline = time.monotonic() + within
        while any(
            segment.key not in sealed and segment.timeline == timeline and segment.number < number
            for segment in self._spool.segments()
        ):
            if time.monotonic() > deadline:
                reason = self.error or "it is behind"
                raise VolumeError(
                    f"the store of {self._archive.keys.volume.prefix} does not have the WAL yet: {reason}"
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2), self._progress:
                    await self._progress.wait()

    async def drain(self, *, again: bool) -> None:
        """Ship everything of a receiver that has ended, the partial segment too, under its own name.

        ``again``: a partial segment in the store is replaced; else what came first stays.
        """
        await self.ship()
        for segment in self._spool.segments():
            key = self._archive.keys.segment(*segment.key) + PARTIAL
            if segment.partial and (again or await self._archive.store.size(key) is None):
                await self._archive.seal(key, await asyncio.to_thread(segment.path.read_bytes))

    def lag(self) -> tuple[int, int, float]:
        """Complete segments that wait for the store: how many, their bytes, the age of the oldest in seconds."""
        oldest = min((segment.modified for segment in self._waiting), default=None)
        age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
        return len(self._waiting), len(self._waiting) * lsn.SEGMENT_BYTES, age
