"""Manifests and base backups as values, positions given in WAL segments."""

from __future__ import annotations

import datetime

from stilldb.domain.volumes import RestorePoint, VolumeKey
from stilldb.postgres import lsn
from stilldb.volume.manifest import Base, Manifest

MOMENT = datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.UTC)


def base(
    name: str,
    segment: int,
    *,
    timeline: int = 1,
    system: int = 7,
    parent: str | None = None,
    stored: int = 1,
    finished_at: datetime.datetime = MOMENT,
) -> Base:
    """A base backup that starts and ends inside a segment."""
    start = segment * lsn.SEGMENT_BYTES + 40
    return Base(
        base_id=name,
        form="tar",
        parent=parent,
        timeline=timeline,
        system_identifier=system,
        start_lsn=start,
        end_lsn=start + 1000,
        size=1,
        stored=stored,
        parts=2,
        started_at=MOMENT.isoformat(),
        finished_at=finished_at.isoformat(),
        data_key_id=None,
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


def manifest(*chain: Base, at: int, name: str = "s") -> Manifest:
    """A snapshot on a chain of base backups with its restore point in a segment."""
    return Manifest(
        snapshot_id=name,
        volume=VolumeKey("cluster-A", 1),
        point=point(at),
        chain=chain,
        tail=False,
        keys=(),
        attributes={"port": 27017},
    )
