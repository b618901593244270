"""Every kind of durable job: how it runs, and what shows when it gives up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from stilldb.control import clusters, instances, restores, snapshots
from stilldb.control.jobs import JobKind

# A deletion that was answered must happen: it is tried for ever, ever more slowly.
KINDS: Final[Mapping[str, JobKind]] = {
    "create-cluster": JobKind(clusters.run_create, clusters.give_up_create),
    "restore-cluster": JobKind(restores.run_restore, restores.give_up_restore),
    "delete-cluster": JobKind(clusters.run_delete, clusters.give_up_delete, max_attempts=math.inf),
    "create-instance": JobKind(instances.run_create, instances.give_up_create),
    "delete-instance": JobKind(instances.run_delete, instances.give_up_delete, max_attempts=math.inf),
    "create-snapshot": JobKind(snapshots.run_create, snapshots.give_up_create),
    "delete-snapshot": JobKind(snapshots.run_delete, snapshots.give_up_delete, max_attempts=math.inf),
}
