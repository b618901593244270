"""THE table of statuses: which event moves which kind of resource from where to where.

Nothing else changes a status. A move that is not listed is an UndeclaredTransition, a bug and never a silent write.
``python -m stilldb.domain.transitions`` prints docs/design/states.md, drawn from this table.
"""

from __future__ import annotations

from typing import Final, TypeVar

from stilldb.domain.resources import ClusterStatus, InstanceStatus, SnapshotStatus

GONE: Final = "gone"  # the row is removed

TABLE: Final[dict[tuple[str, str, str], str]] = {
    ("cluster", "creating", "created"): "available",
    ("cluster", "creating", "restored"): "available",
    ("cluster", "creating", "create-failed"): "failed",
    ("cluster", "creating", "restore-failed"): "migration-failed",
    ("cluster", "available", "lost"): "starting",
    ("cluster", "starting", "answered"): "available",
    ("cluster", "starting", "emptied"): "available",
    ("cluster", "available", "stop"): "stopping",
    ("cluster", "stopping", "stopped"): "stopped",
    ("cluster", "stopping", "stop-failed"): "starting",
    ("cluster", "stopped", "start"): "starting",
    ("cluster", "available", "delete"): "deleting",
    ("cluster", "failed", "delete"): "deleting",
    ("cluster", "migration-failed", "delete"): "deleting",
    ("cluster", "deleting", "final-snapshot-failed"): "available",
    ("cluster", "deleting", "deleted"): GONE,
    ("instance", "creating", "answered"): "available",
    ("instance", "creating", "create-failed"): "failed",
    ("instance", "available", "lost"): "starting",
    ("instance", "starting", "answered"): "available",
    ("instance", "available", "stop"): "stopping",
    ("instance", "stopping", "stopped"): "stopped",
    ("instance", "stopping", "stop-failed"): "starting",
    ("instance", "stopped", "start"): "starting",
    ("instance", "available", "delete"): "deleting",
    ("instance", "starting", "delete"): "deleting",
    ("instance", "failed", "delete"): "deleting",
    ("instance", "deleting", "deleted"): GONE,
    ("snapshot", "creating", "published"): "available",
    ("snapshot", "creating", "create-failed"): "failed",
    ("snapshot", "copying", "copied"): "available",
    ("snapshot", "copying", "copy-failed"): "failed",
    ("snapshot", "copying", "delete"): "deleting",
    ("snapshot", "available", "delete"): "deleting",
    ("snapshot", "failed", "delete"): "deleting",
    ("snapshot", "deleting", "deleted"): GONE,
}

FIRST: Final = {"cluster": ("creating",), "instance": ("creating",), "snapshot": ("creating", "copying")}

_KINDS: Final = {ClusterStatus: "cluster", InstanceStatus: "instance", SnapshotStatus: "snapshot"}

Status = TypeVar("Status", ClusterStatus, InstanceStatus, SnapshotStatus)


class UndeclaredTransition(Exception):
    """An event that the table does not list for this status."""

    def __init__(self, kind: str, status: str, event: str) -> None:
        super().__init__(f"a {kind} in status {status} has no transition for {event!r}")


def _kind(status: ClusterStatus | InstanceStatus | SnapshotStatus) -> str:
    return _KINDS[type(status)]


def allows(status: ClusterStatus | InstanceStatus | SnapshotStatus, event: str) -> bool:
    """Whether the table lists ``event`` for ``status``."""
    return (_kind(status), status.value, event) in TABLE


def after(status: Status, event: str) -> Status:
    """The status after ``event``; raises UndeclaredTransition, also for moves to GONE (see ``require_gone``)."""
    target = TABLE.get((_kind(status), status.value, event), GONE)
    if target == GONE:
        raise UndeclaredTransition(_kind(status), status, event)
    return type(status)(target)


def require_gone(status: ClusterStatus | InstanceStatus | SnapshotStatus, event: str) -> None:
    """Check that ``event`` ends the resource, whose row may then go; raises UndeclaredTransition."""
    if TABLE.get((_kind(status), status.value, event)) != GONE:
        raise UndeclaredTransition(_kind(status), status, event)


_INTRODUCTION = """# Statuses

Every move of a status, drawn from the table in `src/stilldb/domain/transitions.py`; nothing else changes one. This page is
written by `python -m stilldb.domain.transitions > docs/design/states.md`, and a test holds it against the table.
"""


def diagram() -> str:
    """The page with Mermaid state diagrams of the table, one a kind of resource."""
    blocks = [_INTRODUCTION.strip()]
    for kind in _KINDS.values():
        lines = ["```mermaid", "stateDiagram-v2", *(f"  [*] --> {first}" for first in FIRST[kind])]
        for (of, status, event), target in TABLE.items():
            if of == kind:
                end = "[*]" if target == GONE else target.replace("-", "_")
                lines.append(f"  {status.replace('-', '_')} --> {end}: {event}")
        blocks.append("\n".join([f"## {kind}", "", *lines, "```"]))
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    print(diagram(), end="")
