"""The steps of a snapshot in its archive: draft, verify, publish. What each costs does not grow with the data."""

from __future__ import annotations

import asyncio
import dataclasses

from stilldb.domain.volumes import SnapshotIntent, VolumeError
from stilldb.postgres import lsn
from stilldb.volume.archive import Archive
from stilldb.volume.manifest import Base, Manifest, choose_base
from stilldb.volume.objects.store import ObjectMissing
from stilldb.volume.shipper import Shipper
from stilldb.volume.spool import PARTIAL


async def draft(archive: Archive, intent: SnapshotIntent) -> None:
    """Choose the base backups and write the manifest's draft, which pins them."""
    if await _published(archive, intent.snapshot_id):
        return
    base = choose_base(await archive.bases(), intent.point)
    if base is None:
        raise VolumeError(
            f"no base backup of {intent.volume.prefix} ended before {lsn.text(intent.point.lsn)} on timeline "
            f"{intent.point.timeline}"
        )
    secrets = await archive.secrets()
    keys = secrets.wrapped
    if keys and intent.kms_key_arn is not None:
        keys = await secrets.wrapped_by(intent.kms_key_arn)
    manifest = Manifest.of(intent, await archive.chain_of(base), keys)
    await archive.put_manifest(manifest, draft=True)


async def _published(archive: Archive, snapshot_id: str) -> bool:
    return await archive.store.size(archive.keys.manifest(snapshot_id)) is not None


async def verify(archive: Archive, intent: SnapshotIntent) -> None:
    """Check the manifest and that everything it names is there."""
    if await _published(archive, intent.snapshot_id):
        manifest = await archive.manifest(intent.snapshot_id)
    else:
        manifest = await archive.draft(intent.snapshot_id)
        if manifest.point.lsn != intent.point.lsn:
            raise VolumeError(f"the draft of snapshot {intent.snapshot_id} is of another restore point")
    await check_objects(archive, manifest)


async def check_objects(archive: Archive, manifest: Manifest) -> None:
    """The base backups are complete, the WAL from them to the restore point has no hole, its timeline has its history."""
    await asyncio.gather(*(_check_base(archive, base) for base in manifest.chain))
    timeline, last = manifest.point.timeline, manifest.segments[-1]
    for number in manifest.segments:
        if number == last and manifest.tail:
            continue
        if not await _segment_is_there(archive, timeline, number, partial=number == last):
            raise VolumeError(
                f"the archive {archive.keys.volume.prefix} lacks WAL segment {lsn.segment_name(timeline, number)}, "
                "or it is short"
            )
    if timeline != 1 and await archive.history(timeline) is None:
        raise VolumeError(
            f"the archive {archive.keys.volume.prefix} lacks the timeline history {lsn.history_name(timeline)}"
        )


async def _check_base(archive: Archive, base: Base) -> None:
    try:
        found = await archive.base(base.base_id)
    except ObjectMissing as error:
        raise VolumeError(
            f"the archive {archive.keys.volume.prefix} lacks a base backup: {base.base_id}"
        ) from error
    if found != base:
        raise VolumeError(f"the base backup {base.base_id} is not the one that the manifest names")


async def _segment_is_there(archive: Archive, timeline: int, number: int, *, partial: bool) -> bool:
    """Whether the spool or the store has a segment; a ``partial`` one may be as it was when its volume ended."""
    if (timeline, number) in await archive.sealed():
        return True
    if archive.spool is not None and archive.spool.has(timeline, number):
        return True
    # The shipper may have moved it between the two looks.
    key = archive.keys.segment(timeline, number)
    looked = [key, key + PARTIAL] if partial else [key]
    return any([await archive.store.size(one) is not None for one in looked])


async def publish(archive: Archive, intent: SnapshotIntent, shipper: Shipper | None, within: float) -> None:
    """Give the manifest its name: from here on the snapshot exists.

    With a ``shipper`` the spool is not enough: the store must have everything, within ``within`` seconds.
    """
    keys = archive.keys
    if await _published(archive, intent.snapshot_id):
        await archive.store.delete([keys.draft(intent.snapshot_id)])
        return
    manifest = await archive.draft(intent.snapshot_id)
    if shipper is not None:
        await shipper.until(manifest.point.timeline, manifest.segments[-1], within)
        await archive.seal(keys.tail(intent.snapshot_id), await tail(archive, manifest))
        manifest = dataclasses.replace(manifest, tail=True)
    await archive.put_manifest(manifest, draft=False)
    await archive.store.delete([keys.draft(intent.snapshot_id)])


async def tail(archive: Archive, manifest: Manifest) -> bytes:
    """The last segment up to the restore point, zeros from there."""
    content = await archive.last_segment(manifest)
    end = manifest.point.lsn - manifest.segments[-1] * lsn.SEGMENT_BYTES
    return content[:end] + bytes(lsn.SEGMENT_BYTES - end)
