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
