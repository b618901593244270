"""The operations of the management API, one module per noun; importing this package fills ``declared.OPERATIONS``."""

from stilldb.awsapi.operations import (
    clusters,
    events,
    global_clusters,
    instances,
    restores,
    snapshot_attributes,
    snapshots,
    tags,
)
from stilldb.awsapi.operations.declared import OPERATIONS, Operation

__all__ = [
    "OPERATIONS",
    "Operation",
    "clusters",
    "events",
    "global_clusters",
    "instances",
    "restores",
    "snapshot_attributes",
    "snapshots",
    "tags",
]
