"""Every kind of durable job: how it runs, and what shows when it gives up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from stilldb.control import (
    clusters,
    copies,
    deletions,
    instances,
    restores,
    retained,
    snapshots,
    stopping,
)
from stilldb.control.jobs import JobKind

# A deletion that was answered must happen: it is tried for ever, ever more slowly.
KINDS: Final[Mapping[str, JobKind]] = {
    "create-cluster": JobKind(clusters.run_create, clusters.give_up_create),
    "restore-cluster": JobKind(restores.run_restore, restores.give_up_restore),
    "delete-cluster": JobKind(deletions.run_delete, deletions.give_up_delete, max_attempts=math.inf),
    "create-instance": JobKind(instances.run_create, instances.give_up_create),
    "delete-instance": JobKind(instances.run_delete, instances.give_up_delete, max_attempts=math.inf),
    "stop-cluster": JobKind(stopping.run_stop, stopping.give_up_stop),
    "purge-retained": JobKind(retained.run_purge, retained.give_up_purge, max_attempts=math.inf),
    "copy-snapshot": JobKind(copies.run_copy, copies.give_up_copy),
    "create-snapshot": JobKind(snapshots.run_create, snapshots.give_up_create),
    "delete-snapshot": JobKind(snapshots.run_delete, snapshots.give_up_delete, max_attempts=math.inf),
}
