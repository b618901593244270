"""Looks for what is wrong with an archive, and changes nothing."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from stilldb.domain.volumes import VolumeError
from stilldb.volume import container, snapshots
from stilldb.volume.archive import Archive
from stilldb.volume.expire import Verdict
from stilldb.volume.keys import Kind
from stilldb.volume.manifest import Base, load_base, load_manifest, load_record
from stilldb.volume.objects.store import ObjectMissing, Unavailable

_JSON = {
    Kind.RECORD: load_record,
    Kind.BASE: load_base,
    Kind.MANIFEST: load_manifest,
    Kind.DRAFT: load_manifest,
}
_CONTAINERS = {Kind.PART, Kind.BACKUP_MANIFEST, Kind.TAIL}


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong: orphan, missing, damaged, broken chain, or unknown."""

    kind: str
    name: str  # an object's key, or what a snapshot or base backup is called
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a check found."""

    objects: int
    size: int  # bytes
    bases: int
    snapshots: int
    read: int  # objects of which every byte was verified
    problems: tuple[Problem, ...]


async def check(archive: Archive, verdicts: Sequence[Verdict], *, every_byte: bool) -> Report:
    """Compare what there is with what the descriptions and manifests say; with ``every_byte`` read and verify it all.

    ``verdicts``: expiry's, of the same moment.
    """
    archive = archive.fresh()
    sizes = {entry.key: entry.size async for entry in archive.store.list(archive.keys.root)}
    problems = [
        Problem(verdict.kind, verdict.name, verdict.reason)
        for verdict in verdicts
        if verdict.kind in {"orphan", "unknown"}
    ]
    bases: list[Base] = []
    manifests = 0
    for key in sizes:
        parsed = archive.keys.parse(key)
        try:
            if parsed.kind is Kind.BASE:
                bases.append(await archive.base(parsed.owner))
            elif parsed.kind in {Kind.MANIFEST, Kind.DRAFT}:
                manifests += 1
        except Unavailable:
            raise
        except VolumeError as error:
            problems.append(Problem("damaged", key, str(error)))
    for base in bases:
        problems += _base_problems(archive, base, bases, sizes)
    for key in sizes:
        if archive.keys.parse(key).kind in {Kind.MANIFEST, Kind.DRAFT}:
            problems += await _manifest_problems(archive, key)
    read = 0
    if every_byte:
        for key in sizes:
            read += 1
            problems += await _byte_problems(archive, key)
    return Report(len(sizes), sum(sizes.values()), len(bases), manifests, read, _distinct(problems))


def _base_problems(
    archive: Archive, base: Base, bases: Sequence[Base], sizes: dict[str, int]
) -> list[Problem]:
    keys = archive.keys
    found: list[Problem] = []
    if base.parent is not None and base.parent not in {other.base_id for other in bases}:
        found.append(Problem("broken chain", base.base_id, f"it stands on {base.parent}, which is not there"))
    if base.form == "directory":
        if keys.plain_backup_manifest(base.base_id) not in sizes:
            found.append(
                Problem("missing", keys.plain_backup_manifest(base.base_id), "the base backup needs it")
            )
        return found
    needed = [keys.backup_manifest(base.base_id), *(keys.part(base.base_id, n) for n in range(base.parts))]
    missing = [key for key in needed if key not in sizes]
    found += [Problem("missing", key, f"the base backup {base.base_id} needs it") for key in missing]
    stored = sum(sizes[key] for key in needed if key in sizes)
    if not missing and stored != base.stored:
        found.append(
            Problem("damaged", base.base_id, f"its objects have {stored} bytes, and it says {base.stored}")
        )
    return found


async def _manifest_problems(archive: Archive, key: str) -> list[Problem]:
    owner = archive.keys.parse(key).owner
    try:
        manifest = load_manifest(await archive.get(key))
    except ObjectMissing:
        return []  # published or deleted since it was listed
    except Unavailable:
        raise
    except VolumeError as error:
        return [Problem("damaged", key, str(error))]
    if manifest.snapshot_id != owner or manifest.volume != archive.keys.volume:
        return [Problem("damaged", key, f"it is the manifest of snapshot {manifest.snapshot_id}")]
    found: list[Problem] = []
    try:
        await snapshots.check_objects(archive, manifest)
        if manifest.tail and await archive.store.size(archive.keys.tail(owner)) is None:
            found.append(Problem("missing", archive.keys.tail(owner), f"snapshot {owner} needs it"))
    except Unavailable:
        raise
    except VolumeError as error:
        found.append(Problem("missing", owner, f"the snapshot can't be restored: {error}"))
    return found


async def _byte_problems(archive: Archive, key: str) -> list[Problem]:
    """What is wrong with an object's bytes; containers are verified without a key: none is asked of the key service."""
    kind = archive.keys.parse(key).kind
    try:
        content = await archive.get(key)
        if kind in _JSON:
            _JSON[kind](content)
        elif kind in _CONTAINERS or container.is_sealed(content):
            await asyncio.to_thread(container.inspect, key, content)
        elif kind in {Kind.SEGMENT, Kind.HISTORY} and (await archive.record()).keys:
            return [Problem("damaged", key, "it is not encrypted, as it must be in this archive")]
    except ObjectMissing:
        return []
    except Unavailable:
        raise
    except VolumeError as error:
        return [Problem("damaged", key, str(error))]
    return []


def _distinct(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(problems))
