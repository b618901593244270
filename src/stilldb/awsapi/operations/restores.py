"""RestoreDBClusterFromSnapshot and RestoreDBClusterToPointInTime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi.operations import shapes
from stilldb.awsapi.operations.clusters import LOGS, NEW, SERVERLESS, new_cluster
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.control import recoveries, restores
from stilldb.control.context import Control
from stilldb.control.recoveries import FULL_COPY, Moment
from stilldb.domain import engine, names

_REFUSED = {"EnableCloudwatchLogsExports": LOGS, "ServerlessV2ScalingConfiguration": SERVERLESS}
_OF_SNAPSHOT_ONLY = {"AvailabilityZones", "DBClusterParameterGroupName", "Engine", "EngineVersion"}
_OF_BOTH = " ".join(name for name in NEW.split() if name not in _OF_SNAPSHOT_ONLY)


@operation("RestoreDBClusterFromSnapshot", takes=f"{NEW} SnapshotIdentifier KmsKeyId", refuses=_REFUSED)
async def restore_db_cluster_from_snapshot(control: Control, params: Params) -> Mapping[str, Any]:
    """A new cluster with a snapshot's data, without instances."""
    engine.engine(params["Engine"])
    source = names.reference_place(
        params["SnapshotIdentifier"], "SnapshotIdentifier", "cluster-snapshot", control.deployment
    )
    view = await restores.from_snapshot(control, new_cluster(control, params), source)
    return {"DBCluster": shapes.cluster(control, view)}


@operation(
    "RestoreDBClusterToPointInTime",
    takes=f"{_OF_BOTH} SourceDBClusterIdentifier RestoreType RestoreToTime UseLatestRestorableTime KmsKeyId",
    refuses=_REFUSED,
)
async def restore_db_cluster_to_point_in_time(control: Control, params: Params) -> Mapping[str, Any]:
    """A new cluster with another one's data at a moment, or a clone of it, without instances."""
    source = names.reference(
        params["SourceDBClusterIdentifier"], "SourceDBClusterIdentifier", "cluster", control.deployment
    )
    moment = Moment(
        restore_type=params.get("RestoreType", FULL_COPY),
        time=params.get("RestoreToTime"),
        latest=params.get("UseLatestRestorableTime", False),
    )
    view = await recoveries.to_point_in_time(control, new_cluster(control, params), source, moment)
    return {"DBCluster": shapes.cluster(control, view)}
