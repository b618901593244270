"""What of an archive is still needed: one pure function that gives each object's verdict with a reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from stilldb.postgres import lsn
from stilldb.volume.manifest import Base, Manifest


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one object of an archive."""

    kind: str  # "base" or "wal"
    name: str
    keep: bool
    reason: str


def verdicts(
    *, bases: Sequence[Base], segments: Iterable[str], manifests: Sequence[Manifest], live: bool
) -> list[Verdict]:
    """The verdict on every base backup and WAL segment.

    Every snapshot, published or draft, needs its base backup and the WAL from there to its restore point. A live volume
    also needs its newest base backup and all WAL from there on, for the snapshots to come; without any base backup it
    needs all WAL.
    """
    pinned = {manifest.base.base_id: manifest.snapshot_id for manifest in manifests}
    newest = max(bases, key=lambda base: base.start_lsn, default=None) if live else None
    ranges = [(manifest.segments, manifest.point.timeline, manifest.snapshot_id) for manifest in manifests]
    return [
        *(_base_verdict(base, pinned, newest) for base in bases),
        *(_wal_verdict(name, ranges, newest, live) for name in segments),
    ]


def _base_verdict(base: Base, pinned: dict[str, str], newest: Base | None) -> Verdict:
    if base.base_id in pinned:
        return Verdict("base", base.base_id, True, f"snapshot {pinned[base.base_id]} restores from it")
    if newest is not None and base.base_id == newest.base_id:
        return Verdict("base", base.base_id, True, "the newest: the next snapshot restores from it")
    return Verdict(
        "base", base.base_id, False, "no snapshot restores from it, and there is a newer one or no volume"
    )


def _wal_verdict(
    name: str, ranges: Sequence[tuple[range, int, str]], newest: Base | None, live: bool
) -> Verdict:
    parsed = lsn.parse_segment(name)
    if parsed is None:
        return Verdict("wal", name, True, "not a WAL segment")
    timeline, number = parsed
    for needed, of_timeline, snapshot_id in ranges:
        if timeline == of_timeline and number in needed:
            return Verdict("wal", name, True, f"snapshot {snapshot_id} replays it")
    if live and (newest is None or number >= lsn.segment_number(newest.start_lsn)):
        return Verdict("wal", name, True, "the next snapshot replays it")
    return Verdict("wal", name, False, "older than every base backup that is needed")
