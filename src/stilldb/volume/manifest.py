"""The manifest of a snapshot and the description of a base backup: versioned, checksummed JSON. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from stilldb.domain.volumes import RestorePoint, SnapshotIntent, VolumeError, VolumeKey
from stilldb.postgres import lsn

VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base backup: from ``start_lsn`` WAL must be replayed; it serves points at ``end_lsn`` and later."""

    base_id: str
    timeline: int
    system_identifier: int
    start_lsn: int
    end_lsn: int
    size: int  # bytes
    finished_at: str  # ISO 8601, UTC


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A snapshot: the restore point, and what a restore to it needs. Both are pinned for as long as it exists."""

    snapshot_id: str
    volume: VolumeKey
    point: RestorePoint
    base: Base
    attributes: Mapping[str, Any]

    @property
    def segments(self) -> range:
        """The numbers of the WAL segments from the base backup's start to the restore point."""
        return range(
            lsn.segment_number(self.base.start_lsn), lsn.segment_number(max(self.point.lsn - 1, 0)) + 1
        )

    @classmethod
    def of(cls, intent: SnapshotIntent, base: Base) -> Manifest:
        """The manifest of an intended snapshot on a chosen base backup."""
        return cls(
            snapshot_id=intent.snapshot_id,
            volume=intent.volume,
            point=intent.point,
            base=base,
            attributes=dict(intent.attributes),
        )


def _checksum(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _seal(kind: str, body: Mapping[str, Any]) -> bytes:
    sealed = {"kind": kind, "version": VERSION, "sha256": _checksum(body), "body": body}
    return (json.dumps(sealed, indent=1) + "\n").encode()


def _open(kind: str, content: bytes) -> Mapping[str, Any]:
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
    if sealed["version"] != VERSION:
        broken(f"version {sealed['version']!r} is not known; it was written by a newer StillDB")
    if _checksum(sealed["body"]) != sealed["sha256"]:
        broken("its checksum does not match its content")
    body: Mapping[str, Any] = sealed["body"]
    return body


def dump_manifest(manifest: Manifest) -> bytes:
    """The manifest as a file's content."""
    body = dataclasses.asdict(manifest)
    body["point"]["taken_at"] = manifest.point.taken_at.isoformat()
    return _seal("snapshot manifest", body)


def load_manifest(content: bytes) -> Manifest:
    """Read what ``dump_manifest`` wrote; raises VolumeError for anything that is not exactly that."""
    body = dict(_open("snapshot manifest", content))
    try:
        point = dict(body["point"])
        point["taken_at"] = datetime.datetime.fromisoformat(point["taken_at"])
        return Manifest(
            snapshot_id=body["snapshot_id"],
            volume=VolumeKey(**body["volume"]),
            point=RestorePoint(**point),
            base=Base(**body["base"]),
            attributes=body["attributes"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VolumeError(f"a snapshot manifest lacks what it must have: {error}") from error


def dump_base(base: Base) -> bytes:
    """The base backup's description as a file's content."""
    return _seal("base backup", dataclasses.asdict(base))


def load_base(content: bytes) -> Base:
    """Read what ``dump_base`` wrote; raises VolumeError."""
    try:
        return Base(**_open("base backup", content))
    except TypeError as error:
        raise VolumeError(f"a base backup's description lacks what it must have: {error}") from error


def choose_base(bases: list[Base], point: RestorePoint) -> Base | None:
    """The base backup that leaves the least WAL to replay to the point: the newest that ended before it."""
    fitting = [
        base
        for base in bases
        if base.end_lsn <= point.lsn
        and base.timeline == point.timeline
        and base.system_identifier == point.system_identifier
    ]
    return max(fitting, key=lambda base: base.start_lsn, default=None)
