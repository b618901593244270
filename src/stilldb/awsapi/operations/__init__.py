"""The operations of the management API, one module per noun; importing this package fills ``declared.OPERATIONS``."""

from stilldb.awsapi.operations import clusters, global_clusters, instances, snapshots, tags
from stilldb.awsapi.operations.declared import OPERATIONS, Operation

__all__ = ["OPERATIONS", "Operation", "clusters", "global_clusters", "instances", "snapshots", "tags"]
