"""What of an archive is still needed: one pure function that gives each of its objects' verdict with a reason."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Iterable, Sequence

from stilldb.postgres import lsn
from stilldb.volume.keys import ArchiveKeys, Kind, Parsed
from stilldb.volume.manifest import Base, Manifest
from stilldb.volume.objects.store import ObjectEntry


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one base backup, WAL segment or other object: ``keys`` are its objects, ``size`` their bytes."""

    kind: str  # base, wal, history, snapshot, record, orphan, unknown
    name: str
    keep: bool
    reason: str
    keys: tuple[str, ...]
    size: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Who needs an archive. ``live``: its volume exists. ``retention``: how far back (None: everything).

    ``retain_until``: till when the backups of a destroyed volume stay.
    """

    live: bool
    now: datetime.datetime  # UTC
    retention: datetime.timedelta | None = None
    retain_until: datetime.datetime | None = None
    in_progress: Collection[
        str
    ] = ()  # ids of base backups that are being taken, of snapshots that are being copied
    grace: datetime.timedelta = datetime.timedelta(0)  # age at which what belongs to nothing goes


def verdicts(
    keys: ArchiveKeys,
    *,
    entries: Iterable[ObjectEntry],
    bases: Sequence[Base],
    manifests: Sequence[Manifest],
    needs: Needs,
) -> list[Verdict]:
    """The verdict on everything in an archive.

    A snapshot, published or draft, needs its base backups and the WAL from the last of them to its restore point. A live
    volume needs the newest base backup that ended before its retention began, all that are newer, whatever these stand
    on, and all WAL from there on. A destroyed one needs everything until its retention ends.
    """
    judge = _Judge(keys, bases, manifests, needs)
    groups: dict[tuple[str, str], list[tuple[ObjectEntry, Parsed]]] = {}
    for entry in entries:
        parsed = keys.parse(entry.key)
        groups.setdefault(_group(parsed, entry.key), []).append((entry, parsed))
    return [judge.verdict(kind, name, members) for (kind, name), members in groups.items()]


def _group(parsed: Parsed, key: str) -> tuple[str, str]:
    match parsed.kind:
        case Kind.BASE | Kind.PART | Kind.BACKUP_MANIFEST | Kind.PLAIN:
            return "base", parsed.owner
        case Kind.MANIFEST | Kind.DRAFT | Kind.TAIL | Kind.PROOF:
            return "snapshot", parsed.owner
        case Kind.SEGMENT:
            return "wal", parsed.owner
        case Kind.HISTORY:
            return "history", parsed.owner
        case Kind.RECORD | Kind.GAP:
            return "record", key
    return "unknown", key


class _Judge:
    def __init__(
        self, keys: ArchiveKeys, bases: Sequence[Base], manifests: Sequence[Manifest], needs: Needs
    ) -> None:
        self._needs = needs
        self._known = {base.base_id: base for base in bases}
        self._snapshots = {manifest.snapshot_id for manifest in manifests}
        self._ranges = [(item.segments, item.point.timeline, item.snapshot_id) for item in manifests]
        self._retained = needs.retain_until is not None and needs.now < needs.retain_until
        self._first = self._oldest_needed(bases)
        self._reasons = self._base_reasons(bases, manifests)

    def _oldest_needed(self, bases: Sequence[Base]) -> Base | None:
        """The base backup from which a live volume needs everything."""
        if not self._needs.live or self._needs.retention is None:
            return None
        since = self._needs.now - self._needs.retention
        before = [base for base in bases if datetime.datetime.fromisoformat(base.finished_at) <= since]
        return max(before, key=lambda base: base.start_lsn, default=None)

    def _base_reasons(self, bases: Sequence[Base], manifests: Sequence[Manifest]) -> dict[str, str]:
        reasons: dict[str, str] = {}
        for manifest in manifests:
            for base in manifest.chain:
                reasons.setdefault(base.base_id, f"snapshot {manifest.snapshot_id} restores from it")
        for base in bases:
            reason = self._window_reason(base)
            parent: str | None = base.base_id
            while reason and parent is not None and parent in self._known:
                reasons.setdefault(parent, reason)
                reason = f"base backup {base.base_id} stands on it"
                parent = self._known[parent].parent
        return reasons

    def _window_reason(self, base: Base) -> str:
        if self._retained:
            return f"backups are retained until {self._needs.retain_until:%Y-%m-%d %H:%M:%S}"
        if self._needs.live and (self._first is None or base.start_lsn >= self._first.start_lsn):
            return "moments inside the retention, and the next snapshot, restore from it"
        return ""

    def verdict(self, kind: str, name: str, members: Sequence[tuple[ObjectEntry, Parsed]]) -> Verdict:
        def say(keep: bool, reason: str, as_kind: str = kind) -> Verdict:
            objects = [entry for entry, _ in members]
            return Verdict(
                as_kind,
                name,
                keep,
                reason,
                tuple(entry.key for entry in objects),
                sum(entry.size for entry in objects),
            )

        young = self._needs.now - max(entry.modified for entry, _ in members) < self._needs.grace
        if kind == "base":
            if name in self._needs.in_progress:
                return say(True, "it is being taken")
            if name not in self._known and name not in self._reasons:
                return say(young, "it lacks its description: it was broken off, or half removed", "orphan")
            if name in self._reasons:
                return say(True, self._reasons[name])
            return say(False, "no snapshot and no moment inside the retention restores from it")
        if kind == "wal":
            return say(*self._wal(members[0][1]))
        if kind == "snapshot":
            if name in self._snapshots or name in self._needs.in_progress:
                return say(True, "it is a snapshot")
            return say(young, "it belongs to no snapshot", "orphan")
        if kind == "unknown":
            return say(True, "no format has this name: it is left alone")
        if self._wanted():
            return say(True, "the archive is in use")
        return say(False, "nothing is left that it is about")

    def _wanted(self) -> bool:
        return bool(self._needs.live or self._retained or self._snapshots or self._needs.in_progress)

    def _wal(self, segment: Parsed) -> tuple[bool, str]:
        for needed, timeline, snapshot_id in self._ranges:
            if segment.timeline == timeline and segment.number in needed:
                return True, f"snapshot {snapshot_id} replays it"
        if self._retained:
            return True, f"backups are retained until {self._needs.retain_until:%Y-%m-%d %H:%M:%S}"
        first = self._first
        if self._needs.live and (first is None or segment.number >= lsn.segment_number(first.start_lsn)):
            return True, "moments inside the retention, and the next snapshot, replay it"
        return False, "older than every base backup that is needed"
