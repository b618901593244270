"""THE names of an archive's objects in its store, archive format 2. Documented in docs/design/state-directory.md. Pure.

A name is changed only together with FORMAT in layout.py, and an older format stays readable.
"""

from __future__ import annotations

import dataclasses
import enum
import re

from stilldb.domain.volumes import VolumeKey
from stilldb.postgres import lsn

_PART = re.compile(r"\d{6,}", re.ASCII)


class Kind(enum.Enum):
    """What an object of an archive is."""

    RECORD = "record"
    SEGMENT = "segment"
    HISTORY = "history"
    PART = "part"
    BACKUP_MANIFEST = "backup manifest"
    BASE = "base"
    GAP = "gap"  # format 1's sign that WAL is missing after its newest base backup
    PLAIN = "plain"  # a file of a base backup of format 1, or what one left
    MANIFEST = "manifest"
    DRAFT = "draft"
    TAIL = "tail"
    PROOF = "proof"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """A key taken apart; of ``owner`` (base id, snapshot id, or file name of WAL) it is a part."""

    kind: Kind
    owner: str = ""
    number: int = 0  # of a part or segment
    timeline: int = 0  # of a segment or history


@dataclasses.dataclass(frozen=True, slots=True)
class ArchiveKeys:
    """The object keys of one volume's archive; folders end with a slash."""

    volume: VolumeKey

    @property
    def root(self) -> str:
        """The folder of everything."""
        return f"{self.volume.prefix}/"

    @property
    def record(self) -> str:
        """What is known of the archive as a whole: sealed JSON."""
        return f"{self.root}archive.json"

    @property
    def gap(self) -> str:
        """Format 1's sign that WAL is missing after its newest base backup."""
        return f"{self.root}gap"

    @property
    def wal(self) -> str:
        """The folder of sealed WAL segments and timeline histories."""
        return f"{self.root}wal/"

    def segment(self, timeline: int, number: int) -> str:
        """A WAL segment: a container, or 16 MiB as they are (format 1)."""
        return self.wal + lsn.segment_name(timeline, number)

    def history(self, timeline: int) -> str:
        """A timeline's history."""
        return self.wal + lsn.history_name(timeline)

    @property
    def bases(self) -> str:
        """The folder of base backups."""
        return f"{self.root}base/"

    def base_folder(self, base_id: str) -> str:
        """The folder of one base backup."""
        return f"{self.bases}{base_id}/"

    def base(self, base_id: str) -> str:
        """What the backup holds, sealed JSON; written last, so a backup without it does not count."""
        return f"{self.base_folder(base_id)}base.json"

    def part(self, base_id: str, number: int) -> str:
        """A part of the backup's tar stream, counted from 0: a container."""
        return f"{self.base_folder(base_id)}{number:06d}"

    def backup_manifest(self, base_id: str) -> str:
        """PostgreSQL's backup_manifest of the backup once more, for the next incremental: a container."""
        return f"{self.base_folder(base_id)}backup_manifest"

    def plain_backup_manifest(self, base_id: str) -> str:
        """The same of a base backup of format 1, as it is."""
        return f"{self.base_folder(base_id)}data/backup_manifest"

    @property
    def snapshots(self) -> str:
        """The folder of snapshots."""
        return f"{self.root}snapshots/"

    def snapshot_folder(self, snapshot_id: str) -> str:
        """The folder of one snapshot."""
        return f"{self.snapshots}{snapshot_id}/"

    def manifest(self, snapshot_id: str) -> str:
        """A published snapshot's manifest, sealed JSON."""
        return f"{self.snapshot_folder(snapshot_id)}manifest.json"

    def draft(self, snapshot_id: str) -> str:
        """The manifest of a snapshot that is not published; it pins as a published one does."""
        return f"{self.snapshot_folder(snapshot_id)}manifest.draft"

    def tail(self, snapshot_id: str) -> str:
        """The last WAL segment up to the restore point, zeros from there: a container of 16 MiB raw."""
        return f"{self.snapshot_folder(snapshot_id)}tail"

    def proof(self, snapshot_id: str) -> str:
        """The last trial restore's result, sealed JSON."""
        return f"{self.snapshot_folder(snapshot_id)}proof.json"

    def parse(self, key: str) -> Parsed:
        """What a key of this archive names; UNKNOWN for what no format has."""
        match key.removeprefix(self.root).split("/"):
            case ["archive.json"]:
                return Parsed(Kind.RECORD)
            case ["gap"]:
                return Parsed(Kind.GAP)
            case ["wal", name]:
                return _wal(name)
            case ["base", base_id, name]:
                return _of_base(base_id, name)
            case ["base", base_id, *_]:
                return Parsed(Kind.PLAIN, base_id)
            case ["snapshots", snapshot_id, name] if name in _OF_SNAPSHOT:
                return Parsed(_OF_SNAPSHOT[name], snapshot_id)
        return Parsed(Kind.UNKNOWN)


_OF_SNAPSHOT = {
    "manifest.json": Kind.MANIFEST,
    "manifest.draft": Kind.DRAFT,
    "tail": Kind.TAIL,
    "proof.json": Kind.PROOF,
}


def _wal(name: str) -> Parsed:
    parsed = lsn.parse_segment(name)
    if parsed is not None:
        return Parsed(Kind.SEGMENT, name, parsed[1], parsed[0])
    timeline = lsn.parse_history(name)
    return Parsed(Kind.UNKNOWN) if timeline is None else Parsed(Kind.HISTORY, name, 0, timeline)


def _of_base(base_id: str, name: str) -> Parsed:
    if name == "base.json":
        return Parsed(Kind.BASE, base_id)
    if name == "backup_manifest":
        return Parsed(Kind.BACKUP_MANIFEST, base_id)
    return Parsed(Kind.PART, base_id, int(name)) if _PART.fullmatch(name) else Parsed(Kind.UNKNOWN, base_id)
