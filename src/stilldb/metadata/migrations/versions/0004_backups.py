"""Events, retained backups, copies, sharing, encryption, and stopped clusters.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATUSES = {
    "clusters": ("creating", "available", "starting", "deleting", "migration-failed", "failed"),
    "instances": ("creating", "available", "starting", "deleting", "failed"),
    "snapshots": ("creating", "available", "deleting", "failed"),
}
_WITH = {
    "clusters": (
        "creating",
        "available",
        "starting",
        "stopping",
        "stopped",
        "deleting",
        "migration-failed",
        "failed",
    ),
    "instances": ("creating", "available", "starting", "stopping", "stopped", "deleting", "failed"),
    "snapshots": ("creating", "copying", "available", "deleting", "failed"),
}


def _allow(statuses: dict[str, tuple[str, ...]]) -> None:
    for table, words in statuses.items():
        listed = ", ".join(f"'{word}'" for word in words)
        name = op.f(f"ck_{table}_status")
        with op.batch_alter_table(table, recreate="auto") as batch:
            batch.drop_constraint(name, type_="check")
            batch.create_check_constraint(name, sa.text(f"status IN ({listed})"))


def upgrade() -> None:
    """Add the tables, columns and statuses."""
    op.create_table(
        "retained_backups",
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("cluster_identifier", sa.String(length=63), nullable=False),
        sa.Column("cluster_created_at", sa.String(length=32), nullable=False),
        sa.Column("deleted_at", sa.String(length=32), nullable=False),
        sa.Column("retain_until", sa.String(length=32), nullable=False),
        sa.Column("earliest", sa.String(length=32), nullable=True),
        sa.Column("latest", sa.String(length=32), nullable=True),
        sa.Column("purging", sa.Boolean(), nullable=False),
        sa.Column("engine_version", sa.String(length=16), nullable=False),
        sa.Column("master_username", sa.String(length=63), nullable=False),
        sa.Column("storage_type", sa.String(length=16), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("kms_key_arn", sa.String(length=512), nullable=True),
        sa.PrimaryKeyConstraint("account", "region", "resource_id", name=op.f("pk_retained_backups")),
    )
    op.create_table(
        "events",
        sa.Column("account", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("source_type", sa.String(length=32), nullable=False),
        sa.Column("source_identifier", sa.String(length=255), nullable=False),
        sa.Column("source_arn", sa.String(length=512), nullable=False),
        sa.Column("categories", sa.JSON(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("date", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "event_id", name=op.f("pk_events")),
    )
    op.add_column("clusters", sa.Column("kms_key_arn", sa.String(length=512), nullable=True))
    for column in (
        sa.Column("kms_key_arn", sa.String(length=512), nullable=True),
        sa.Column("source_arn", sa.String(length=512), nullable=True),
        sa.Column("restorable_by", sa.JSON(), nullable=False, server_default="[]"),
    ):
        op.add_column("snapshots", column)
    with op.batch_alter_table("snapshots") as batch:
        batch.alter_column("restorable_by", server_default=None)
    _allow(_WITH)


def downgrade() -> None:
    """Remove them; a status that is then unknown is refused by the constraint."""
    _allow(_STATUSES)
    for column in ("restorable_by", "source_arn", "kms_key_arn"):
        op.drop_column("snapshots", column)
    op.drop_column("clusters", "kms_key_arn")
    op.drop_table("events")
    op.drop_table("retained_backups")
