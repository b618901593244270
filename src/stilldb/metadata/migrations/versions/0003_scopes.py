"""Accounts and regions: they become the first part of the primary key of whatever belongs to one of each.

What is there is of the one account there was, and of the region that the settings name.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ACCOUNT = "123456789012"


def upgrade() -> None:
    """Make the tables anew around their rows: SQLite can't change a primary key."""
    _rebuild(
        "clusters",
        sa.Column("identifier", sa.String(length=63), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("engine_version", sa.String(length=16), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("master_username", sa.String(length=63), nullable=False),
        sa.Column("master_version", sa.Integer(), nullable=False),
        sa.Column("master_verifiers", sa.JSON(), nullable=False),
        sa.Column("availability_zones", sa.JSON(), nullable=False),
        sa.Column("backup_retention_period", sa.Integer(), nullable=False),
        sa.Column("preferred_backup_window", sa.String(length=32), nullable=False),
        sa.Column("preferred_maintenance_window", sa.String(length=32), nullable=False),
        sa.Column("parameter_group", sa.String(length=255), nullable=False),
        sa.Column("subnet_group", sa.String(length=255), nullable=False),
        sa.Column("security_groups", sa.JSON(), nullable=False),
        sa.Column("deletion_protection", sa.Boolean(), nullable=False),
        sa.Column("storage_type", sa.String(length=16), nullable=True),
        sa.Column("copy_tags_to_snapshot", sa.Boolean(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("reader_address", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("percent_progress", sa.Integer(), nullable=True),
        sa.Column("source_snapshot_id", sa.String(length=64), nullable=True),
        sa.Column("source_volume", sa.String(length=128), nullable=True),
        sa.CheckConstraint(
            "status IN ('creating', 'available', 'starting', 'deleting', 'migration-failed', 'failed')",
            name=op.f("ck_clusters_status"),
        ),
        sa.PrimaryKeyConstraint("account", "region", "identifier", name=op.f("pk_clusters")),
        sa.UniqueConstraint("address", name=op.f("uq_clusters_address")),
        sa.UniqueConstraint("reader_address", name=op.f("uq_clusters_reader_address")),
        sa.UniqueConstraint("resource_id", name=op.f("uq_clusters_resource_id")),
    )
    _rebuild(
        "instances",
        sa.Column("identifier", sa.String(length=63), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("cluster_resource_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("instance_class", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("availability_zone", sa.String(length=32), nullable=False),
        sa.Column("preferred_maintenance_window", sa.String(length=32), nullable=False),
        sa.Column("promotion_tier", sa.Integer(), nullable=False),
        sa.Column("auto_minor_version_upgrade", sa.Boolean(), nullable=False),
        sa.Column("copy_tags_to_snapshot", sa.Boolean(), nullable=False),
        sa.Column("ca_certificate", sa.String(length=64), nullable=False),
        sa.Column("writer", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=True),
        sa.CheckConstraint(
            "status IN ('creating', 'available', 'starting', 'deleting', 'failed')",
            name=op.f("ck_instances_status"),
        ),
        sa.PrimaryKeyConstraint("account", "region", "identifier", name=op.f("pk_instances")),
        sa.UniqueConstraint("address", name=op.f("uq_instances_address")),
        sa.UniqueConstraint("resource_id", name=op.f("uq_instances_resource_id")),
    )
    op.create_index(
        op.f("ix_instances_cluster_resource_id"), "instances", ["cluster_resource_id"], unique=False
    )
    op.create_index(
        "ix_instances_one_writer",
        "instances",
        ["cluster_resource_id"],
        unique=True,
        sqlite_where=sa.text("writer IS 1"),
        postgresql_where=sa.text("writer"),
    )
    _rebuild(
        "snapshots",
        sa.Column("identifier", sa.String(length=255), nullable=False),
        sa.Column("snapshot_id", sa.String(length=64), nullable=False),
        sa.Column("cluster_identifier", sa.String(length=63), nullable=False),
        sa.Column("cluster_resource_id", sa.String(length=64), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("snapshot_type", sa.String(length=16), nullable=False),
        sa.Column("percent_progress", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("cluster_created_at", sa.String(length=32), nullable=False),
        sa.Column("engine_version", sa.String(length=16), nullable=False),
        sa.Column("master_username", sa.String(length=63), nullable=False),
        sa.Column("availability_zones", sa.JSON(), nullable=False),
        sa.Column("storage_type", sa.String(length=16), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "status != 'available' OR percent_progress = 100", name=op.f("ck_snapshots_available_is_complete")
        ),
        sa.CheckConstraint(
            "status IN ('creating', 'available', 'deleting', 'failed')", name=op.f("ck_snapshots_status")
        ),
        sa.PrimaryKeyConstraint("account", "region", "identifier", name=op.f("pk_snapshots")),
        sa.UniqueConstraint("snapshot_id", name=op.f("uq_snapshots_snapshot_id")),
    )
    op.create_index(
        op.f("ix_snapshots_cluster_identifier"), "snapshots", ["cluster_identifier"], unique=False
    )
    _rebuild(
        "jobs",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("results", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("updated_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "job_id", name=op.f("pk_jobs")),
    )
    _rebuild(
        "proofs",
        sa.Column("snapshot_id", sa.String(length=64), nullable=False),
        sa.Column("proven_at", sa.String(length=32), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("documents", sa.JSON(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "snapshot_id", name=op.f("pk_proofs")),
    )


def _rebuild(name: str, *described: sa.Column[object] | sa.Constraint) -> None:
    """The table with its rows, after an account and a region; its indexes are to be made again."""
    connection = op.get_bind()
    columns = [each for each in described if isinstance(each, sa.Column)]
    old = sa.table(name, *(sa.column(column.name, column.type) for column in columns))
    rows = [dict(row) for row in connection.execute(sa.select(old)).mappings()]
    scope = {"account": ACCOUNT, "region": _region(connection)} if rows else {}
    op.drop_table(name)
    new = op.create_table(
        name,
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        *described,
    )
    op.bulk_insert(new, [{**scope, **row} for row in rows])


def _region(connection: sa.Connection) -> str:
    """The region of the state directory, which its first start wrote down before any row."""
    query = sa.text("SELECT value FROM settings WHERE name = 'region'")
    found = connection.execute(query).scalar_one_or_none()
    if found is None:
        raise ValueError("the control plane's database has rows, but its settings name no region")
    return str(found)
