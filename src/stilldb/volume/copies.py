"""Copies of published snapshots: one more manifest in the same store, or the objects moved to another.

A copy from store to store is taken up where it broke off: objects that are there and verify are not moved again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Sequence

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import lsn
from stilldb.volume import container, snapshots
from stilldb.volume.archive import Archive
from stilldb.volume.keyring import Kms
from stilldb.volume.manifest import Manifest, WrappedKey
from stilldb.volume.objects.store import retried

_AT_ONCE = 4
_WITHIN = 120.0  # seconds that a copy bears a store that is unavailable


async def rewrapped(
    archive: Archive, manifest: Manifest, kms_key_arn: str | None, kms: Kms | None
) -> tuple[WrappedKey, ...]:
    """The manifest's data keys wrapped by another KMS key, of the service ``kms``; no key leaves them."""
    if kms_key_arn is None:
        return manifest.keys
    if not manifest.keys:
        raise VolumeError(
            f"the snapshot {manifest.snapshot_id} is not encrypted, and its copy can't be: restore it with a KMS key instead"
        )
    return await (await archive.under(manifest.keys).secrets()).wrapped_by(kms_key_arn, kms)


async def within(archive: Archive, manifest: Manifest, as_id: str, keys: Sequence[WrappedKey]) -> None:
    """One more snapshot of the same objects; the source must not go before this returns."""
    copied = dataclasses.replace(manifest, snapshot_id=as_id, keys=tuple(keys), tail=False)
    await archive.put_manifest(copied, draft=True)
    if manifest.tail:
        raw = await archive.under(manifest.keys).last_segment(manifest)
        await archive.under(keys).seal(archive.keys.tail(as_id), raw)
        copied = dataclasses.replace(copied, tail=True)
    await snapshots.check_objects(archive, copied)
    await archive.put_manifest(copied, draft=False)
    await archive.store.delete([archive.keys.draft(as_id)])


class Move:
    """The copy of one snapshot from a store to another."""

    def __init__(
        self,
        origin: Archive,
        target: Archive,
        manifest: Manifest,
        as_id: str,
        keys: Sequence[WrappedKey],
        progress: Callable[[int], None],
    ) -> None:
        self._origin = origin.under(manifest.keys)
        self._target = target.under(keys)
        self._manifest = manifest
        self._copied = dataclasses.replace(manifest, snapshot_id=as_id, keys=tuple(keys), tail=True)
        self._progress = progress
        # Segments that are not sealed yet count as their raw bytes: the progress is of what is to be moved.
        self._total = sum(base.stored for base in manifest.chain) + len(manifest.segments) * lsn.SEGMENT_BYTES
        self._done = 0

    async def run(self) -> None:
        """Move everything; the draft pins it meanwhile, the manifest comes last."""
        if any(base.form == "directory" for base in self._manifest.chain):
            raise VolumeError(
                f"the snapshot {self._manifest.snapshot_id} stands on a base backup of format 1, which can't be moved "
                "to another store: take a new snapshot"
            )
        await self._target.put_manifest(self._copied, draft=True)
        moves = self._moves()
        workers = [asyncio.create_task(self._work(moves)) for _ in range(_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        for base in self._manifest.chain:
            await retried(lambda base=base: self._target.add_base(base), within=_WITHIN)  # type: ignore[misc]
        raw = await snapshots.tail(self._origin, self._manifest)
        await self._patiently(self._target.keys.tail(self._copied.snapshot_id), raw)
        await snapshots.check_objects(self._target, self._copied)
        await self._target.put_manifest(self._copied, draft=False)
        await self._target.store.delete([self._target.keys.draft(self._copied.snapshot_id)])

    async def _work(self, moves: Iterator[Callable[[], Awaitable[int]]]) -> None:
        for move in moves:
            self._done += await move()
            self._progress(min(99, 100 * self._done // max(self._total, 1)))

    def _moves(self) -> Iterator[Callable[[], Awaitable[int]]]:
        keys = self._origin.keys
        for base in self._manifest.chain:
            yield lambda base=base: self._object(keys.backup_manifest(base.base_id))  # type: ignore[misc]
            for number in range(base.parts):
                yield lambda base=base, number=number: self._object(keys.part(base.base_id, number))  # type: ignore[misc]
        for number in self._manifest.segments[:-1]:
            yield lambda number=number: self._segment(number)  # type: ignore[misc]
        if self._manifest.point.timeline != 1:
            yield self._history

    async def _object(self, key: str) -> int:
        size = await self._origin.store.size(key)
        if size is None or not await self._there(key, size):
            content = await self._origin.get(key)
            await self._put(key, content)
            return len(content)
        return size

    async def _there(self, key: str, size: int) -> bool:
        """Whether an earlier attempt moved the object: its bytes are looked at, its size alone is not believed."""
        if await self._target.store.size(key) != size:
            return False
        content = await self._target.get(key)
        try:
            await asyncio.to_thread(container.inspect, key, content)
        except container.DamagedObject:
            return False
        return True

    async def _put(self, key: str, content: bytes) -> None:
        """Checked before it is put, and as the target stored it."""
        await asyncio.to_thread(container.inspect, key, content)
        await retried(lambda: self._target.store.put(key, content), within=_WITHIN)
        if await self._target.get(key) != content:
            raise VolumeError(f"the target store does not give back what was put as {key}")

    async def _segment(self, number: int) -> int:
        timeline = self._manifest.point.timeline
        key = self._origin.keys.segment(timeline, number)
        if (timeline, number) in await self._origin.sealed():
            await self._object(key)
        else:
            raw = await self._origin.segment(timeline, number)
            if raw is None:
                raise VolumeError(f"the archive {self._origin.keys.volume.prefix} lacks WAL segment {key}")
            await self._patiently(key, raw)
        self._target.note_sealed(timeline, number, await self._target.store.size(key) or 0)
        return lsn.SEGMENT_BYTES

    async def _history(self) -> int:
        timeline = self._manifest.point.timeline
        raw = await self._origin.history(timeline)
        if raw is None:
            raise VolumeError(f"the archive lacks the timeline history {lsn.history_name(timeline)}")
        await self._patiently(self._origin.keys.history(timeline), raw)
        return 0

    async def _patiently(self, key: str, raw: bytes) -> None:
        await retried(lambda: self._target.seal(key, raw), within=_WITHIN)
