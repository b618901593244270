"""CreateDBCluster, DescribeDBClusters, ModifyDBCluster, DeleteDBCluster, StopDBCluster, StartDBCluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi import paging
from stilldb.awsapi.operations import filters, shapes
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.control import clusters, deletions, stopping
from stilldb.control.clusters import NewCluster
from stilldb.control.context import Control
from stilldb.control.views import Page
from stilldb.domain import engine, names, windows
from stilldb.domain.faults import (
    DBSubnetGroupNotFoundFault,
    GlobalClusterNotFoundFault,
    InvalidParameterCombination,
    InvalidVPCNetworkStateFault,
    NetworkTypeNotSupported,
)
from stilldb.domain.tags import validated

LOGS = "Log exports are not available yet: leave it out; the instance's logs lie in the state directory."
SERVERLESS = "Serverless scaling is not available yet: leave it out and choose an instance class."
_SECRET = "Managed master passwords are not available yet: give MasterUserPassword."
_REGIONS = "Copies from another region are not available yet: leave it out."

NEW = (
    "AvailabilityZones DBClusterIdentifier DBClusterParameterGroupName VpcSecurityGroupIds DBSubnetGroupName Engine "
    "EngineVersion Port Tags DeletionProtection StorageType NetworkType CopyTagsToSnapshot"
)


@operation(
    "CreateDBCluster",
    takes=f"{NEW} BackupRetentionPeriod PreferredBackupWindow PreferredMaintenanceWindow GlobalClusterIdentifier "
    "MasterUsername MasterUserPassword StorageEncrypted KmsKeyId",
    refuses={
        "PreSignedUrl": _REGIONS,
        "SourceRegion": _REGIONS,
        "EnableCloudwatchLogsExports": LOGS,
        "ServerlessV2ScalingConfiguration": SERVERLESS,
        "ManageMasterUserPassword": _SECRET,
        "MasterUserSecretKmsKeyId": _SECRET,
    },
)
async def create_db_cluster(control: Control, params: Params) -> Mapping[str, Any]:
    """A new, empty cluster."""
    engine.engine(params["Engine"])
    if "GlobalClusterIdentifier" in params:
        raise GlobalClusterNotFoundFault(f"Global cluster '{params['GlobalClusterIdentifier']}' not found")
    view = await clusters.create(
        control,
        new_cluster(control, params),
        username=params.get("MasterUsername"),
        password=params.get("MasterUserPassword"),
    )
    return {"DBCluster": shapes.cluster(control, view)}


def new_cluster(control: Control, params: Params) -> NewCluster:
    """What every operation that makes a cluster takes alike."""
    version = engine.engine_version(params["EngineVersion"]) if "EngineVersion" in params else None
    _refuse_unknown_places(control, params)
    return NewCluster(
        identifier=names.identifier(params["DBClusterIdentifier"], "DBClusterIdentifier"),
        engine_version=version,
        port=params.get("Port"),
        parameter_group=params.get("DBClusterParameterGroupName"),
        availability_zones=tuple(params.get("AvailabilityZones", ())),
        backup_retention_period=engine.backup_retention(params.get("BackupRetentionPeriod", 1)),
        preferred_backup_window=_backup_window(params),
        preferred_maintenance_window=params.get("PreferredMaintenanceWindow"),
        deletion_protection=params.get("DeletionProtection", False),
        storage_type=params.get("StorageType"),
        copy_tags_to_snapshot=params.get("CopyTagsToSnapshot", False),
        storage_encrypted=params.get("StorageEncrypted", False),
        kms_key_id=params.get("KmsKeyId"),
        tags=validated(params.get("Tags", ())),
    )


def _backup_window(params: Params) -> str | None:
    given = params.get("PreferredBackupWindow")
    return None if given is None else windows.backup_window(given)


def _refuse_unknown_places(control: Control, params: Params) -> None:
    """The deployment has one subnet group, one security group, and IPv4."""
    group = params.get("DBSubnetGroupName", "default")
    if group.lower() != "default":
        raise DBSubnetGroupNotFoundFault(f"DB subnet group '{group}' does not exist.")
    unknown = set(params.get("VpcSecurityGroupIds", ())) - {control.deployment.security_group}
    if unknown:
        raise InvalidVPCNetworkStateFault(
            f"The security group {min(unknown)} does not exist. This deployment has {control.deployment.security_group}."
        )
    network = params.get("NetworkType", "IPV4")
    if network != "IPV4":
        raise NetworkTypeNotSupported(f"The network type {network} is not supported. Use IPV4.")


_FILTERS = {"db-cluster-id": "identifier", "db-cluster-resource-id": "resource_id", "engine": None}


@operation("DescribeDBClusters", takes="DBClusterIdentifier Filters MaxRecords Marker")
async def describe_db_clusters(control: Control, params: Params) -> Mapping[str, Any]:
    """One cluster by name or ARN, or a page of all."""
    limit, name = paging.limit(params), _named(control, params)
    equals = filters.equals(control, params.get("Filters", ()), _FILTERS)
    page = Page(limit, paging.after("DescribeDBClusters", params, name), equals)
    views = await clusters.describe(control, name, page)
    listed, marker = paging.cut("DescribeDBClusters", params, views, lambda view: view.cluster.identifier)
    return {"DBClusters": [shapes.cluster(control, view) for view in listed], **marker}


def _named(control: Control, params: Params) -> str | None:
    if "DBClusterIdentifier" not in params:
        return None
    return names.reference(
        params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment
    )


_MODIFIABLE = "DeletionProtection BackupRetentionPeriod PreferredBackupWindow"


@operation("ModifyDBCluster", takes=f"DBClusterIdentifier ApplyImmediately {_MODIFIABLE}")
async def modify_db_cluster(control: Control, params: Params) -> Mapping[str, Any]:
    """Deletion protection and the backups' retention and window, which hold at once."""
    if not set(_MODIFIABLE.split()) & set(params):
        raise InvalidParameterCombination("No modifications were requested")
    name = names.reference(
        params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment
    )
    days = params.get("BackupRetentionPeriod")
    view = await clusters.modify(
        control,
        name,
        deletion_protection=params.get("DeletionProtection"),
        backup_retention_period=None if days is None else engine.backup_retention(days),
        preferred_backup_window=_backup_window(params),
    )
    return {"DBCluster": shapes.cluster(control, view)}


@operation("DeleteDBCluster", takes="DBClusterIdentifier SkipFinalSnapshot FinalDBSnapshotIdentifier")
async def delete_db_cluster(control: Control, params: Params) -> Mapping[str, Any]:
    """The cluster goes; its manual snapshots, the final one among them, stay."""
    final = params.get("FinalDBSnapshotIdentifier")
    view = await deletions.delete(
        control,
        names.reference(params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment),
        skip_final_snapshot=params.get("SkipFinalSnapshot", False),
        final_snapshot=None
        if final is None
        else names.snapshot_identifier(final, "FinalDBSnapshotIdentifier"),
    )
    return {"DBCluster": shapes.cluster(control, view)}


@operation("StopDBCluster", takes="DBClusterIdentifier")
async def stop_db_cluster(control: Control, params: Params) -> Mapping[str, Any]:
    """The servers stop, the data stays; the answer shows the cluster as it was."""
    name = names.reference(
        params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment
    )
    return {"DBCluster": shapes.cluster(control, await stopping.stop(control, name))}


@operation("StartDBCluster", takes="DBClusterIdentifier")
async def start_db_cluster(control: Control, params: Params) -> Mapping[str, Any]:
    """A stopped cluster's servers come up again; the answer shows the cluster as it was."""
    name = names.reference(
        params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment
    )
    return {"DBCluster": shapes.cluster(control, await stopping.start(control, name))}
