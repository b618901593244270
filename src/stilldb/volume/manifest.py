"""What an archive tells of itself: snapshots' manifests, base backups' descriptions, its record. Pure.

Versioned, checksummed JSON. Version 2; version 1, of plain copies that nothing encrypts, is read.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from stilldb.domain.volumes import RestorePoint, SnapshotIntent, VolumeError, VolumeKey
from stilldb.postgres import lsn

VERSION = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base backup: from ``start_lsn`` WAL must be replayed; it serves points at ``end_lsn`` and later.

    ``tar``: parts of a tar stream in the store. ``directory``: format 1's copy of the data directory on the local disk.
    """

    base_id: str
    form: Literal["tar", "directory"]
    parent: str | None  # the backup that an incremental one stands on; None: it is full
    timeline: int
    system_identifier: int
    start_lsn: int
    end_lsn: int
    size: int  # raw bytes
    stored: int  # bytes of its objects
    parts: int
    started_at: str  # ISO 8601, UTC
    finished_at: str
    data_key_id: str | None  # of the key that it is encrypted with


@dataclasses.dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as a KMS key wraps it."""

    kms_key_arn: str
    data_key_id: str
    wrapped: str  # base64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A snapshot: the restore point, and what a restore to it needs. All of it is pinned for as long as it exists."""

    snapshot_id: str
    volume: VolumeKey
    point: RestorePoint
    chain: tuple[Base, ...]  # the full base backup and the incrementals on it, in order
    tail: bool  # the last segment is an object of the snapshot's own
    keys: tuple[WrappedKey, ...]  # whatever opens its objects; none where they are not encrypted
    attributes: Mapping[str, Any]

    @property
    def base(self) -> Base:
        """The newest backup of the chain, from which WAL is replayed."""
        return self.chain[-1]

    @property
    def segments(self) -> range:
        """The numbers of the WAL segments from the base backup's start to the restore point."""
        return range(
            lsn.segment_number(self.base.start_lsn), lsn.segment_number(max(self.point.lsn - 1, 0)) + 1
        )

    @classmethod
    def of(
        cls,
        intent: SnapshotIntent,
        chain: Sequence[Base],
        keys: Sequence[WrappedKey] = (),
        *,
        tail: bool = False,
    ) -> Manifest:
        """The manifest of an intended snapshot on a chosen chain."""
        return cls(
            snapshot_id=intent.snapshot_id,
            volume=intent.volume,
            point=intent.point,
            chain=tuple(chain),
            tail=tail,
            keys=tuple(keys),
            attributes=dict(intent.attributes),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """Moments that the archive can't bring back, for WAL is missing: after ``since``, before ``until`` (None: it lasts)."""

    since: datetime.datetime  # UTC
    until: datetime.datetime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRecord:
    """What is known of an archive as a whole."""

    keys: tuple[WrappedKey, ...] = ()
    gaps: tuple[Gap, ...] = ()
    closed_at: datetime.datetime | None = None  # the last moment of a volume that was destroyed
    retain_until: datetime.datetime | None = None  # till when its backups are kept
    format: int = VERSION


def _checksum(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _seal(kind: str, body: Mapping[str, Any]) -> bytes:
    sealed = {"kind": kind, "version": VERSION, "sha256": _checksum(body), "body": body}
    return (json.dumps(sealed, indent=1) + "\n").encode()


def _open(kind: str, content: bytes) -> tuple[int, Mapping[str, Any]]:
    """Version and body."""

    def broken(reason: str) -> NoReturn:
        raise VolumeError(f"a {kind} is damaged: {reason}")

    try:
        sealed = json.loads(content)
    except ValueError as error:  # UnicodeDecodeError is one
        broken(str(error))
    if not isinstance(sealed, dict) or set(sealed) != {"kind", "version", "sha256", "body"}:
        broken("it has other members than kind, version, sha256 and body")
    if sealed["kind"] != kind or not isinstance(sealed["body"], dict):
        broken(f"it says it is a {sealed['kind']!r}")
    if sealed["version"] not in range(1, VERSION + 1):
        broken(f"version {sealed['version']!r} is not known; it was written by a newer StillDB")
    if _checksum(sealed["body"]) != sealed["sha256"]:
        broken("its checksum does not match its content")
    body: Mapping[str, Any] = sealed["body"]
    return sealed["version"], body


def dump_manifest(manifest: Manifest) -> bytes:
    """The manifest as an object's content."""
    body = dataclasses.asdict(manifest)
    body["point"]["taken_at"] = manifest.point.taken_at.isoformat()
    return _seal("snapshot manifest", body)


def load_manifest(content: bytes) -> Manifest:
    """Read what ``dump_manifest`` wrote, or version 1; raises VolumeError for anything that is not exactly that."""
    version, body = _open("snapshot manifest", content)
    try:
        if version == 1:
            body = {**_without(body, "base"), "chain": [body["base"]], "tail": False, "keys": []}
        chain = tuple(_base(version, base) for base in body["chain"])
        point = {**body["point"], "taken_at": _time(body["point"]["taken_at"])}
        if not chain:
            raise ValueError("its chain is empty")
        return Manifest(
            **{
                **body,
                "volume": VolumeKey(**body["volume"]),
                "point": RestorePoint(**point),
                "chain": chain,
                "keys": tuple(WrappedKey(**key) for key in body["keys"]),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VolumeError(f"a snapshot manifest lacks what it must have: {error}") from error


def dump_base(base: Base) -> bytes:
    """The base backup's description as an object's content."""
    return _seal("base backup", dataclasses.asdict(base))


def load_base(content: bytes) -> Base:
    """Read what ``dump_base`` wrote, or version 1; raises VolumeError."""
    try:
        return _base(*_open("base backup", content))
    except (KeyError, TypeError) as error:
        raise VolumeError(f"a base backup's description lacks what it must have: {error}") from error


def dump_record(record: ArchiveRecord) -> bytes:
    """The archive's record as an object's content."""
    body = dataclasses.asdict(record)
    body["gaps"] = [[gap.since.isoformat(), _text(gap.until)] for gap in record.gaps]
    body["closed_at"], body["retain_until"] = _text(record.closed_at), _text(record.retain_until)
    return _seal("archive record", body)


def load_record(content: bytes) -> ArchiveRecord:
    """Read what ``dump_record`` wrote; raises VolumeError."""
    _, body = _open("archive record", content)
    try:
        return ArchiveRecord(
            **{
                **body,
                "keys": tuple(WrappedKey(**key) for key in body["keys"]),
                "gaps": tuple(Gap(_time(since), until and _time(until)) for since, until in body["gaps"]),
                "closed_at": body["closed_at"] and _time(body["closed_at"]),
                "retain_until": body["retain_until"] and _time(body["retain_until"]),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VolumeError(f"an archive record lacks what it must have: {error}") from error


def _base(version: int, body: Mapping[str, Any]) -> Base:
    if version == 1:
        added = {"form": "directory", "parent": None, "parts": 0, "data_key_id": None}
        body = {**body, **added, "stored": body["size"], "started_at": body["finished_at"]}
    return Base(**body)


def _without(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _text(time: datetime.datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def choose_base(bases: Sequence[Base], point: RestorePoint) -> Base | None:
    """The base backup that leaves the least WAL to replay to the point: the newest that ended before it."""
    fitting = [
        base
        for base in bases
        if base.end_lsn <= point.lsn
        and base.timeline == point.timeline
        and base.system_identifier == point.system_identifier
    ]
    return max(fitting, key=lambda base: base.start_lsn, default=None)
