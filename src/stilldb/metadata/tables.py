"""The tables of the control plane's state, one a kind of row of domain.resources; columns are the rows' fields.

Rows that belong to an account and a region have these two besides, first in the primary key; the rows' classes do not.
"""

from __future__ import annotations

import datetime
import enum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

from stilldb.domain.proofs import Proof
from stilldb.domain.resources import (
    Cluster,
    ClusterStatus,
    Event,
    Instance,
    InstanceStatus,
    Job,
    RetainedBackup,
    Setting,
    Snapshot,
    SnapshotStatus,
    Tag,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


class UTCTime(TypeDecorator[datetime.datetime]):
    """An aware UTC time as ISO 8601 text with microseconds, which sorts by time on every database."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> str | None:
        """To text; a naive time is a bug."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime")
        return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime.datetime | None:
        """Back to an aware UTC time."""
        return None if value is None else datetime.datetime.fromisoformat(value)


class Tuple(TypeDecorator[tuple[Any, ...]]):
    """A tuple of JSON values."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: tuple[Any, ...] | None, dialect: Dialect) -> list[Any] | None:
        """To a JSON array."""
        return None if value is None else list(value)

    def process_result_value(self, value: list[Any] | None, dialect: Dialect) -> tuple[Any, ...] | None:
        """Back to a tuple."""
        return None if value is None else tuple(value)


class Word(TypeDecorator[enum.StrEnum]):
    """A member of a StrEnum as its word."""

    impl = String(32)
    cache_ok = True

    def __init__(self, words: type[enum.StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: enum.StrEnum | None, dialect: Dialect) -> str | None:
        """To the word."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> enum.StrEnum | None:
        """Back to the member; an unknown word raises ValueError."""
        return None if value is None else self.words(value)


def _required(name: str, kind: Any, *, primary_key: bool = False) -> Column[Any]:
    return Column(name, kind, primary_key=primary_key, nullable=False)


def _scope() -> tuple[Column[Any], Column[Any]]:
    """The account and the region that a row belongs to."""
    return (
        _required("account", String(12), primary_key=True),
        _required("region", String(64), primary_key=True),
    )


def _one_of(column: str, words: type[enum.StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


clusters = Table(
    "clusters",
    metadata,
    *_scope(),
    _required("identifier", String(63), primary_key=True),
    _required("resource_id", String(64)),
    _required("incarnation", Integer),
    _required("status", Word(ClusterStatus)),
    _required("status_reason", String),
    _required("engine_version", String(16)),
    _required("port", Integer),
    _required("master_username", String(63)),
    _required("master_version", Integer),
    _required("master_verifiers", Tuple),
    _required("availability_zones", Tuple),
    _required("backup_retention_period", Integer),
    _required("preferred_backup_window", String(32)),
    _required("preferred_maintenance_window", String(32)),
    _required("parameter_group", String(255)),
    _required("subnet_group", String(255)),
    _required("security_groups", Tuple),
    _required("deletion_protection", Boolean),
    Column("storage_type", String(16)),
    _required("copy_tags_to_snapshot", Boolean),
    _required("address", String(64)),
    _required("reader_address", String(64)),
    _required("created_at", UTCTime),
    Column("percent_progress", Integer),
    Column("source_snapshot_id", String(64)),
    Column("source_volume", String(128)),
    Column("kms_key_arn", String(512)),
    UniqueConstraint("resource_id"),
    UniqueConstraint("address"),
    UniqueConstraint("reader_address"),
    _one_of("status", ClusterStatus),
)

instances = Table(
    "instances",
    metadata,
    *_scope(),
    _required("identifier", String(63), primary_key=True),
    _required("resource_id", String(64)),
    _required("cluster_resource_id", String(64)),
    _required("status", Word(InstanceStatus)),
    _required("status_reason", String),
    _required("instance_class", String(32)),
    _required("address", String(64)),
    _required("availability_zone", String(32)),
    _required("preferred_maintenance_window", String(32)),
    _required("promotion_tier", Integer),
    _required("auto_minor_version_upgrade", Boolean),
    _required("copy_tags_to_snapshot", Boolean),
    _required("ca_certificate", String(64)),
    _required("writer", Boolean),
    Column("created_at", UTCTime),
    UniqueConstraint("resource_id"),
    UniqueConstraint("address"),
    _one_of("status", InstanceStatus),
)
# One writer a cluster, whatever the code above believes.
Index(
    "ix_instances_one_writer",
    instances.c.cluster_resource_id,
    unique=True,
    sqlite_where=instances.c.writer.is_(True),
    postgresql_where=instances.c.writer.is_(True),
)
Index(None, instances.c.cluster_resource_id)

snapshots = Table(
    "snapshots",
    metadata,
    *_scope(),
    _required("identifier", String(255), primary_key=True),
    _required("snapshot_id", String(64)),
    _required("cluster_identifier", String(63)),
    _required("cluster_resource_id", String(64)),
    _required("incarnation", Integer),
    _required("status", Word(SnapshotStatus)),
    _required("status_reason", String),
    _required("snapshot_type", String(16)),
    _required("percent_progress", Integer),
    _required("created_at", UTCTime),
    _required("cluster_created_at", UTCTime),
    _required("engine_version", String(16)),
    _required("master_username", String(63)),
    _required("availability_zones", Tuple),
    Column("storage_type", String(16)),
    _required("settings", JSON),
    Column("kms_key_arn", String(512)),
    Column("source_arn", String(512)),
    _required("restorable_by", Tuple),
    UniqueConstraint("snapshot_id"),
    _one_of("status", SnapshotStatus),
    CheckConstraint("status != 'available' OR percent_progress = 100", name="available_is_complete"),
)
Index(None, snapshots.c.cluster_identifier)

retained_backups = Table(
    "retained_backups",
    metadata,
    *_scope(),
    _required("resource_id", String(64), primary_key=True),
    _required("incarnation", Integer),
    _required("cluster_identifier", String(63)),
    _required("cluster_created_at", UTCTime),
    _required("deleted_at", UTCTime),
    _required("retain_until", UTCTime),
    Column("earliest", UTCTime),
    Column("latest", UTCTime),
    _required("purging", Boolean),
    _required("engine_version", String(16)),
    _required("master_username", String(63)),
    Column("storage_type", String(16)),
    _required("settings", JSON),
    Column("kms_key_arn", String(512)),
)

events = Table(
    "events",
    metadata,
    *_scope(),
    _required("event_id", String(64), primary_key=True),
    _required("source_type", String(32)),
    _required("source_identifier", String(255)),
    _required("source_arn", String(512)),
    _required("categories", Tuple),
    _required("message", String),
    _required("date", UTCTime),
)

tags = Table(
    "tags",
    metadata,
    _required("arn", String(512), primary_key=True),
    _required("key", String(128), primary_key=True),
    _required("value", String(256)),
)

jobs = Table(
    "jobs",
    metadata,
    *_scope(),
    _required("job_id", String(64), primary_key=True),
    _required("kind", String(32)),
    _required("resource", String(64)),
    _required("payload", JSON),
    _required("results", JSON),
    _required("attempts", Integer),
    _required("error", String),
    _required("created_at", UTCTime),
    _required("updated_at", UTCTime),
)

settings = Table(
    "settings",
    metadata,
    _required("name", String(64), primary_key=True),
    _required("value", String),
)

proofs = Table(
    "proofs",
    metadata,
    *_scope(),
    _required("snapshot_id", String(64), primary_key=True),
    _required("proven_at", UTCTime),
    _required("seconds", Float),
    _required("size", BigInteger),
    _required("documents", JSON),
    _required("ok", Boolean),
    _required("reason", String),
)

TABLES: dict[type, Table] = {
    Cluster: clusters,
    Instance: instances,
    Snapshot: snapshots,
    RetainedBackup: retained_backups,
    Event: events,
    Tag: tags,
    Job: jobs,
    Setting: settings,
    Proof: proofs,
}

SCOPED = frozenset(
    kind for kind, table in TABLES.items() if {"account", "region"} <= set(table.primary_key.columns.keys())
)
"""The kinds whose rows belong to an account and a region; of the others there is one set for the whole deployment."""
