"""The first schema.

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
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
        sa.PrimaryKeyConstraint("identifier", name=op.f("pk_clusters")),
        sa.UniqueConstraint("address", name=op.f("uq_clusters_address")),
        sa.UniqueConstraint("reader_address", name=op.f("uq_clusters_reader_address")),
        sa.UniqueConstraint("resource_id", name=op.f("uq_clusters_resource_id")),
    )
    op.create_table(
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
        sa.PrimaryKeyConstraint("identifier", name=op.f("pk_instances")),
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
    op.create_table(
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
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_jobs")),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )
    op.create_table(
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
        sa.PrimaryKeyConstraint("identifier", name=op.f("pk_snapshots")),
        sa.UniqueConstraint("snapshot_id", name=op.f("uq_snapshots_snapshot_id")),
    )
    op.create_index(
        op.f("ix_snapshots_cluster_identifier"), "snapshots", ["cluster_identifier"], unique=False
    )
    op.create_table(
        "tags",
        sa.Column("arn", sa.String(length=512), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("arn", "key", name=op.f("pk_tags")),
    )


def downgrade() -> None:
    """Remove every table."""
    op.drop_table("tags")
    op.drop_index(op.f("ix_snapshots_cluster_identifier"), table_name="snapshots")
    op.drop_table("snapshots")
    op.drop_table("settings")
    op.drop_table("jobs")
    op.drop_index(
        "ix_instances_one_writer",
        table_name="instances",
        sqlite_where=sa.text("writer IS 1"),
        postgresql_where=sa.text("writer"),
    )
    op.drop_index(op.f("ix_instances_cluster_resource_id"), table_name="instances")
    op.drop_table("instances")
    op.drop_table("clusters")
