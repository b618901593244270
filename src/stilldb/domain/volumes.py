"""What the control plane and the cluster volume say to each other: keys, restore points, snapshot intents."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from typing import Any


class VolumeError(Exception):
    """A step on a volume that failed; the message says what and what to look at."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class VolumeKey:
    """One incarnation of one cluster's volume: two writers never share one."""

    resource_id: str  # the cluster's DbClusterResourceId
    incarnation: int

    @property
    def prefix(self) -> str:
        """The first part of every archive key of this incarnation."""
        return f"{self.resource_id}/{self.incarnation}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RestorePoint:
    """A named LSN in a volume's WAL that the archive durably holds."""

    name: str
    lsn: int  # byte position in the WAL
    timeline: int
    system_identifier: int
    taken_at: datetime.datetime  # UTC, by the database's clock


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotIntent:
    """What a snapshot is to hold: written into its manifest."""

    snapshot_id: str  # names the snapshot in the store for ever, whatever its identifier
    volume: VolumeKey
    point: RestorePoint
    attributes: Mapping[str, Any]  # the cluster's settings at that moment, JSON values
    kms_key_arn: str | None = None  # of an encrypted volume: wraps the manifest's own copy of the data key


@dataclasses.dataclass(frozen=True, slots=True)
class SnapshotTarget:
    """Restore to a published snapshot's restore point."""

    snapshot_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class TimeTarget:
    """Restore to the last commit at or before a moment (UTC, by the database's clock)."""

    time: datetime.datetime


RestoreTarget = SnapshotTarget | TimeTarget


def _floor(moment: datetime.datetime) -> datetime.datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _ceiling(moment: datetime.datetime) -> datetime.datetime:
    return _floor(moment + datetime.timedelta(microseconds=999))


@dataclasses.dataclass(frozen=True, slots=True)
class RestorableWindow:
    """The moments (UTC) that a volume can be restored to: from earliest to latest, both included, without the gaps.

    Gaps are (since, until), ordered; their ends can be restored to.
    """

    earliest: datetime.datetime
    latest: datetime.datetime
    gaps: tuple[tuple[datetime.datetime, datetime.datetime], ...]

    def shown(self) -> RestorableWindow:
        """The same in whole milliseconds, which is what clients see, and each of them inside."""
        gaps = tuple((_floor(since), _ceiling(until)) for since, until in self.gaps)
        return RestorableWindow(_ceiling(self.earliest), _floor(self.latest), gaps)

    def spans(self) -> tuple[tuple[datetime.datetime, datetime.datetime], ...]:
        """The moments without the gaps: (first, last) of each stretch, in order."""
        spans, first = [], self.earliest
        for since, until in self.gaps:
            if since >= first:
                spans.append((first, min(since, self.latest)))
            first = max(first, until)
        if first <= self.latest:
            spans.append((first, self.latest))
        return tuple(spans)

    def holds(self, moment: datetime.datetime) -> bool:
        """Whether the volume can be restored to ``moment``."""
        return any(first <= moment <= last for first, last in self.spans())


@dataclasses.dataclass(frozen=True, slots=True)
class ArchiveState:
    """How far the store is behind the volume, and what it lacks."""

    lag_segments: int  # complete WAL segments that wait for the store
    lag_bytes: int
    lag_seconds: float  # age of the oldest of them
    gaps: int  # holes in the archived WAL inside the restorable window
    store_error: str  # the last one while the store is unavailable, else empty


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """Something that a volume tells of its own accord."""

    volume: VolumeKey
    category: str  # gap, lag, store unavailable, store available, base backup, backup failed
    message: str


class VolumeState(enum.Enum):
    """What is observed of a volume on this host."""

    ABSENT = "absent"  # no data directory
    STOPPED = "stopped"  # a complete data directory, no PostgreSQL
    STARTING = "starting"
    RUNNING = "running"  # accepts connections as a primary, and its archive is streaming


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """How to reach a volume's PostgreSQL on this host."""

    host: str  # directory of the unix socket
    port: int
    user: str
    database: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GatewayState:
    """What is observed of an instance's gateway process."""

    running: bool
    ready: bool
    reason: str = ""
