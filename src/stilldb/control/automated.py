"""Automated backups: a snapshot a day in the backup window, their expiry, and that of what deleted clusters retain.

Each look decides from the rows alone, by pure functions of the time; nothing is remembered between looks.
"""

from __future__ import annotations

import datetime

from stilldb.control import events, retained, snapshots
from stilldb.control.context import Control
from stilldb.control.ports import Transaction
from stilldb.domain import transitions, windows
from stilldb.domain.resources import Cluster, ClusterStatus, Snapshot, SnapshotStatus

RETRY_AFTER = datetime.timedelta(minutes=30)  # a failed one shows that long, then another is tried


async def tend(control: Control) -> None:
    """One look at every cluster and every retained backup of this account and region."""
    if await control.store.run(lambda tx: _look(tx, control)):
        control.wake()


def _look(tx: Transaction, control: Control) -> int:
    """Begin what is due; returns how many jobs that made."""
    begun = retained.expire(tx, control)
    for cluster in tx.find(Cluster):
        begun += _expire(tx, control, cluster)
        begun += _take(tx, control, cluster)
    events.expire(tx, control.now())
    return begun


def _take(tx: Transaction, control: Control, cluster: Cluster) -> int:
    if cluster.status is not ClusterStatus.AVAILABLE:
        return 0
    own, now = retained.automated(tx, cluster.resource_id), control.now()
    last = max((row.created_at for row in own), default=cluster.created_at)
    if any(row.status in {SnapshotStatus.CREATING, SnapshotStatus.FAILED} for row in own):
        return 0
    if not windows.backup_due(cluster.preferred_backup_window, now, last):
        return 0
    identifier = f"rds:{cluster.identifier}-{now:%Y-%m-%d-%H-%M}"
    if tx.get(Snapshot, identifier) is not None:
        return 0  # of a cluster of this name that was deleted within the minute
    snapshots.begin(tx, control, identifier, cluster, {}, snapshots.AUTOMATED)
    return 1


def _expire(tx: Transaction, control: Control, cluster: Cluster) -> int:
    """Delete what the retention no longer covers, but never the newest that is good: a clock may have jumped."""
    now, days = control.now(), datetime.timedelta(days=cluster.backup_retention_period)
    own = retained.automated(tx, cluster.resource_id)
    good = [row.created_at for row in own if row.status is SnapshotStatus.AVAILABLE]
    doomed = [
        row
        for row in own
        if transitions.allows(row.status, "delete")
        and (
            row.created_at <= now - RETRY_AFTER
            if row.status is SnapshotStatus.FAILED
            else row.created_at <= now - days and row.created_at < max(good)
        )
    ]
    for row in doomed:
        snapshots.begin_delete(tx, control, row)
    return len(doomed)
