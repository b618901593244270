"""The resources of the management plane as frozen values: cluster, instance, cluster snapshot, event, tag, job.

A change makes a new value with ``dataclasses.replace``; where it is kept is the store's business.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from typing import Any

from stilldb.domain.proofs import Proof
from stilldb.domain.volumes import VolumeKey


class ClusterStatus(enum.StrEnum):
    """Statuses a cluster can show. All but ``failed`` are Amazon DocumentDB's words (Developer Guide, cluster status)."""

    CREATING = "creating"
    AVAILABLE = "available"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"
    MIGRATION_FAILED = "migration-failed"  # a restore that gave up
    FAILED = "failed"  # a create that gave up


class InstanceStatus(enum.StrEnum):
    """Statuses an instance can show (Developer Guide, instance status)."""

    CREATING = "creating"
    AVAILABLE = "available"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"
    FAILED = "failed"


class SnapshotStatus(enum.StrEnum):
    """Statuses a cluster snapshot can show."""

    CREATING = "creating"
    COPYING = "copying"
    AVAILABLE = "available"
    DELETING = "deleting"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A DB cluster: its settings and what it is meant to be. The data is its volume."""

    identifier: str
    resource_id: str
    incarnation: int
    status: ClusterStatus
    status_reason: str = ""
    engine_version: str
    port: int
    master_username: str
    master_version: int
    master_verifiers: tuple[Mapping[str, Any], ...]  # SCRAM verifiers; empty: the users come with the data
    availability_zones: tuple[str, ...]
    backup_retention_period: int
    preferred_backup_window: str
    preferred_maintenance_window: str
    parameter_group: str
    subnet_group: str
    security_groups: tuple[str, ...]
    deletion_protection: bool
    storage_type: str | None
    copy_tags_to_snapshot: bool
    address: str  # of the cluster endpoint
    reader_address: str
    created_at: datetime.datetime
    percent_progress: int | None = None  # while a restore runs
    source_snapshot_id: str | None = None
    source_volume: str | None = None  # prefix of the volume it is restored or cloned from
    kms_key_arn: str | None = None  # of an encrypted cluster

    @property
    def volume(self) -> VolumeKey:
        """The key of the cluster's volume."""
        return VolumeKey(self.resource_id, self.incarnation)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A DB instance: one PostgreSQL server and the gateway in front of it."""

    identifier: str
    resource_id: str
    cluster_resource_id: str
    status: InstanceStatus
    status_reason: str = ""
    instance_class: str
    address: str
    availability_zone: str
    preferred_maintenance_window: str
    promotion_tier: int
    auto_minor_version_upgrade: bool
    copy_tags_to_snapshot: bool
    ca_certificate: str
    writer: bool
    created_at: datetime.datetime | None = None  # when it first answered


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A cluster snapshot. ``snapshot_id`` names it in the volume's archive, whatever its identifier."""

    identifier: str
    snapshot_id: str
    cluster_identifier: str
    cluster_resource_id: str
    incarnation: int
    status: SnapshotStatus
    status_reason: str = ""
    snapshot_type: str
    percent_progress: int
    created_at: datetime.datetime  # the moment it shows, SnapshotCreateTime
    cluster_created_at: datetime.datetime
    engine_version: str
    master_username: str
    availability_zones: tuple[str, ...]
    storage_type: str | None
    settings: Mapping[str, Any]  # what a restore takes from the snapshot
    kms_key_arn: str | None = None  # of an encrypted snapshot
    source_arn: str | None = None  # of a copy: the snapshot it was made of
    restorable_by: tuple[str, ...] = ()  # the attribute ``restore``: account ids, or "all"

    @property
    def volume(self) -> VolumeKey:
        """The key of the volume it was taken of."""
        return VolumeKey(self.cluster_resource_id, self.incarnation)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RetainedBackup:
    """What a deleted cluster's archive can still be restored to, until its retention ends."""

    resource_id: str
    incarnation: int
    cluster_identifier: str
    cluster_created_at: datetime.datetime
    deleted_at: datetime.datetime
    retain_until: datetime.datetime
    earliest: (
        datetime.datetime | None
    )  # of the restorable window; None: only its automated snapshots are left
    latest: datetime.datetime | None
    purging: bool = False
    engine_version: str
    master_username: str
    storage_type: str | None
    settings: Mapping[str, Any]  # what a restore takes from it, as of a snapshot
    kms_key_arn: str | None = None

    @property
    def volume(self) -> VolumeKey:
        """The key of the deleted volume."""
        return VolumeKey(self.resource_id, self.incarnation)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a resource."""

    event_id: str  # sorts by time
    source_type: str
    source_identifier: str
    source_arn: str
    categories: tuple[str, ...]
    message: str
    date: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A tag on the resource with this ARN."""

    arn: str
    key: str
    value: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Durable work on one resource: written with the intent in one transaction, resumed after a restart.

    Its row goes in the transaction that makes the outcome visible.
    """

    job_id: str
    kind: str
    resource: str  # resource id of what it works on
    payload: Mapping[str, Any]
    results: Mapping[str, Any]  # of the steps that are not to be done twice
    attempts: int
    error: str
    created_at: datetime.datetime
    updated_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A fact about the deployment that must not change under it, such as its region."""

    name: str
    value: str


class AlreadyExists(Exception):
    """A row with this key, or another value that must be unique, is there."""


class Vanished(Exception):
    """The row to save or remove is not there."""


Row = Cluster | Instance | Snapshot | RetainedBackup | Event | Tag | Job | Setting | Proof

KEYS: Mapping[type, tuple[str, ...]] = {
    Cluster: ("identifier",),
    Instance: ("identifier",),
    Snapshot: ("identifier",),
    RetainedBackup: ("resource_id",),
    Event: ("event_id",),
    Tag: ("arn", "key"),
    Job: ("job_id",),
    Setting: ("name",),
    Proof: ("snapshot_id",),
}
"""The fields that name a row, in their order; rows are listed in that order."""
