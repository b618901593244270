"""THE table of statuses: which event moves which kind of resource from where to where.

Nothing else changes a status. A move that is not listed is an UndeclaredTransition, a bug and never a silent write.
``diagram()`` draws the picture in docs/architecture.md from this table.
"""

from __future__ import annotations

from typing import Final

from stilldb.domain.resources import ClusterStatus, InstanceStatus, SnapshotStatus

Status = ClusterStatus | InstanceStatus | SnapshotStatus

GONE: Final = "gone"  # the row is removed

CLUSTER: Final[dict[tuple[ClusterStatus, str], ClusterStatus | str]] = {
    (ClusterStatus.CREATING, "created"): ClusterStatus.AVAILABLE,
    (ClusterStatus.CREATING, "create-failed"): ClusterStatus.FAILED,
    (ClusterStatus.CREATING, "restored"): ClusterStatus.AVAILABLE,
    (ClusterStatus.CREATING, "restore-failed"): ClusterStatus.MIGRATION_FAILED,
    (ClusterStatus.AVAILABLE, "lost"): ClusterStatus.STARTING,
    (ClusterStatus.STARTING, "answered"): ClusterStatus.AVAILABLE,
    (ClusterStatus.AVAILABLE, "delete"): ClusterStatus.DELETING,
    (ClusterStatus.FAILED, "delete"): ClusterStatus.DELETING,
    (ClusterStatus.MIGRATION_FAILED, "delete"): ClusterStatus.DELETING,
    (ClusterStatus.DELETING, "final-snapshot-failed"): ClusterStatus.AVAILABLE,
    (ClusterStatus.DELETING, "deleted"): GONE,
}

INSTANCE: Final[dict[tuple[InstanceStatus, str], InstanceStatus | str]] = {
    (InstanceStatus.CREATING, "answered"): InstanceStatus.AVAILABLE,
    (InstanceStatus.CREATING, "create-failed"): InstanceStatus.FAILED,
    (InstanceStatus.AVAILABLE, "lost"): InstanceStatus.STARTING,
    (InstanceStatus.STARTING, "answered"): InstanceStatus.AVAILABLE,
    (InstanceStatus.AVAILABLE, "delete"): InstanceStatus.DELETING,
    (InstanceStatus.STARTING, "delete"): InstanceStatus.DELETING,
    (InstanceStatus.FAILED, "delete"): InstanceStatus.DELETING,
    (InstanceStatus.DELETING, "deleted"): GONE,
}

SNAPSHOT: Final[dict[tuple[SnapshotStatus, str], SnapshotStatus | str]] = {
    (SnapshotStatus.CREATING, "published"): SnapshotStatus.AVAILABLE,
    (SnapshotStatus.CREATING, "create-failed"): SnapshotStatus.FAILED,
    (SnapshotStatus.AVAILABLE, "delete"): SnapshotStatus.DELETING,
    (SnapshotStatus.FAILED, "delete"): SnapshotStatus.DELETING,
    (SnapshotStatus.DELETING, "deleted"): GONE,
}

TABLES: Final[dict[str, dict[tuple[Status, str], Status | str]]] = {
    "cluster": dict(CLUSTER),
    "instance": dict(INSTANCE),
    "snapshot": dict(SNAPSHOT),
}


class UndeclaredTransition(Exception):
    """An event that the table does not list for this status."""

    def __init__(self, kind: str, status: str, event: str) -> None:
        super().__init__(f"a {kind} in status {status} has no transition for {event!r}")


def _kind(status: Status) -> str:
    return {ClusterStatus: "cluster", InstanceStatus: "instance", SnapshotStatus: "snapshot"}[type(status)]


def allows(status: Status, event: str) -> bool:
    """Whether the table lists ``event`` for ``status``."""
    return (status, event) in TABLES[_kind(status)]


def cluster_after(status: ClusterStatus, event: str) -> ClusterStatus:
    """The cluster status after ``event``; raises UndeclaredTransition, also for moves to GONE (remove the row)."""
    target = CLUSTER.get((status, event))
    if not isinstance(target, ClusterStatus):
        raise UndeclaredTransition("cluster", status, event)
    return target


def instance_after(status: InstanceStatus, event: str) -> InstanceStatus:
    """The instance status after ``event``; raises UndeclaredTransition."""
    target = INSTANCE.get((status, event))
    if not isinstance(target, InstanceStatus):
        raise UndeclaredTransition("instance", status, event)
    return target


def snapshot_after(status: SnapshotStatus, event: str) -> SnapshotStatus:
    """The snapshot status after ``event``; raises UndeclaredTransition."""
    target = SNAPSHOT.get((status, event))
    if not isinstance(target, SnapshotStatus):
        raise UndeclaredTransition("snapshot", status, event)
    return target


def require_gone(status: Status, event: str) -> None:
    """Check that ``event`` ends the resource; raises UndeclaredTransition."""
    if TABLES[_kind(status)].get((status, event)) != GONE:
        raise UndeclaredTransition(_kind(status), status, event)


def diagram() -> str:
    """A Mermaid state diagram of the table, one block a kind of resource."""
    blocks = []
    for kind, table in TABLES.items():
        lines = ["```mermaid", "stateDiagram-v2", f"  %% {kind}", f"  [*] --> {_node('creating')}"]
        for (status, event), target in table.items():
            end = "[*]" if target == GONE else _node(str(target))
            lines.append(f"  {_node(str(status))} --> {end}: {event}")
        blocks.append("\n".join([f"### {kind}", "", *lines, "```"]))
    return "\n\n".join(blocks) + "\n"


def _node(status: str) -> str:
    return status.replace("-", "_")
