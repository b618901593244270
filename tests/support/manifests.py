"""Manifests and base backups as values, positions given in WAL segments."""

from __future__ import annotations

import datetime

from stilldb.domain.volumes import RestorePoint, VolumeKey
from stilldb.postgres import lsn
from stilldb.volume.manifest import Base, Manifest

MOMENT = datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.UTC)


def base(name: str, segment: int, *, timeline: int = 1, system: int = 7) -> Base:
    """A base backup that starts and ends inside a segment."""
    start = segment * lsn.SEGMENT_BYTES + 40
    return Base(
        base_id=name,
        timeline=timeline,
        system_identifier=system,
        start_lsn=start,
        end_lsn=start + 1000,
        size=1,
        finished_at=MOMENT.isoformat(),
    )


def point(segment: int, *, offset: int = 5000, timeline: int = 1, system: int = 7) -> RestorePoint:
    """A restore point inside a segment."""
    return RestorePoint(
        name="p",
        lsn=segment * lsn.SEGMENT_BYTES + offset,
        timeline=timeline,
        system_identifier=system,
        taken_at=MOMENT,
    )


def manifest(of: Base, *, at: int) -> Manifest:
    """A snapshot on a base backup with its restore point in a segment."""
    return Manifest(
        snapshot_id="s",
        volume=VolumeKey("cluster-A", 1),
        point=point(at),
        base=of,
        attributes={"port": 27017},
    )
