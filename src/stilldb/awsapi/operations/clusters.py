"""CreateDBCluster, DescribeDBClusters, ModifyDBCluster, DeleteDBCluster, RestoreDBClusterFromSnapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi import paging
from stilldb.awsapi.operations import filters, shapes
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.control import clusters, restores
from stilldb.control.clusters import NewCluster
from stilldb.control.context import Control
from stilldb.control.views import Page
from stilldb.domain import engine, names
from stilldb.domain.faults import (
    DBSubnetGroupNotFoundFault,
    GlobalClusterNotFoundFault,
    InvalidParameterCombination,
    InvalidParameterValue,
    InvalidVPCNetworkStateFault,
    NetworkTypeNotSupported,
)
from stilldb.domain.tags import validated

_ENCRYPTION = (
    "Encryption at rest is not available yet: leave it out, or keep the state directory on an encrypted disk."
)
_BACKUPS = (
    "Automated backups are not available yet, so a window for them would promise what does not happen: leave it out and "
    "take manual snapshots."
)
_LOGS = "Log exports are not available yet: leave it out; the instance's logs lie in the state directory."
_SERVERLESS = "Serverless scaling is not available yet: leave it out and choose an instance class."
_SECRET = "Managed master passwords are not available yet: give MasterUserPassword."
_REGIONS = "Copies from another region are not available yet: leave it out."

_NEW = (
    "AvailabilityZones DBClusterIdentifier DBClusterParameterGroupName VpcSecurityGroupIds DBSubnetGroupName Engine "
    "EngineVersion Port Tags DeletionProtection StorageType NetworkType CopyTagsToSnapshot"
)


@operation(
    "CreateDBCluster",
    takes=f"{_NEW} BackupRetentionPeriod GlobalClusterIdentifier MasterUsername MasterUserPassword PreferredMaintenanceWindow",
    refuses={
        "PreferredBackupWindow": _BACKUPS,
        "StorageEncrypted": _ENCRYPTION,
        "KmsKeyId": _ENCRYPTION,
        "PreSignedUrl": _REGIONS,
        "SourceRegion": _REGIONS,
        "EnableCloudwatchLogsExports": _LOGS,
        "ServerlessV2ScalingConfiguration": _SERVERLESS,
        "ManageMasterUserPassword": _SECRET,
        "MasterUserSecretKmsKeyId": _SECRET,
    },
)
async def create_db_cluster(control: Control, params: Params) -> Mapping[str, Any]:
    """A new, empty cluster."""
    engine.engine(params["Engine"])
    if "GlobalClusterIdentifier" in params:
        raise GlobalClusterNotFoundFault(f"Global cluster '{params['GlobalClusterIdentifier']}' not found")
    _refuse_retention(params.get("BackupRetentionPeriod", 1))
    view = await clusters.create(
        control,
        _new_cluster(control, params),
        username=params.get("MasterUsername"),
        password=params.get("MasterUserPassword"),
    )
    return {"DBCluster": shapes.cluster(control, view)}


def _refuse_retention(days: int) -> None:
    """1 to 35 by AWS's rule; more than the default would promise a point-in-time recovery that is not there yet."""
    if not 1 <= days <= 35:
        raise InvalidParameterValue(
            f"Invalid backup retention period: {days}. Must be between 1 and 35 days."
        )
    if days != 1:
        raise InvalidParameterCombination(
            "The parameter BackupRetentionPeriod is not available for CreateDBCluster beyond its default of 1. "
            + _BACKUPS
        )


def _new_cluster(control: Control, params: Params) -> NewCluster:
    version = engine.engine_version(params["EngineVersion"]) if "EngineVersion" in params else None
    _refuse_unknown_places(control, params)
    return NewCluster(
        identifier=names.identifier(params["DBClusterIdentifier"], "DBClusterIdentifier"),
        engine_version=version,
        port=params.get("Port"),
        parameter_group=params.get("DBClusterParameterGroupName"),
        availability_zones=tuple(params.get("AvailabilityZones", ())),
        preferred_maintenance_window=params.get("PreferredMaintenanceWindow"),
        deletion_protection=params.get("DeletionProtection", False),
        storage_type=params.get("StorageType"),
        copy_tags_to_snapshot=params.get("CopyTagsToSnapshot", False),
        tags=validated(params.get("Tags", ())),
    )


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


@operation(
    "RestoreDBClusterFromSnapshot",
    takes=f"{_NEW} SnapshotIdentifier",
    refuses={
        "KmsKeyId": _ENCRYPTION,
        "EnableCloudwatchLogsExports": _LOGS,
        "ServerlessV2ScalingConfiguration": _SERVERLESS,
    },
)
async def restore_db_cluster_from_snapshot(control: Control, params: Params) -> Mapping[str, Any]:
    """A new cluster with a snapshot's data, without instances."""
    engine.engine(params["Engine"])
    source = names.reference(
        params["SnapshotIdentifier"], "SnapshotIdentifier", "cluster-snapshot", control.deployment
    )
    view = await restores.from_snapshot(control, _new_cluster(control, params), source)
    return {"DBCluster": shapes.cluster(control, view)}


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


@operation("ModifyDBCluster", takes="DBClusterIdentifier DeletionProtection ApplyImmediately")
async def modify_db_cluster(control: Control, params: Params) -> Mapping[str, Any]:
    """So far only deletion protection: without it, a protected cluster would be protected for ever."""
    if "DeletionProtection" not in params:
        raise InvalidParameterCombination("No modifications were requested")
    name = names.reference(
        params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment
    )
    view = await clusters.modify_deletion_protection(control, name, params["DeletionProtection"])
    return {"DBCluster": shapes.cluster(control, view)}


@operation("DeleteDBCluster", takes="DBClusterIdentifier SkipFinalSnapshot FinalDBSnapshotIdentifier")
async def delete_db_cluster(control: Control, params: Params) -> Mapping[str, Any]:
    """The cluster goes; its manual snapshots, the final one among them, stay."""
    final = params.get("FinalDBSnapshotIdentifier")
    view = await clusters.delete(
        control,
        names.reference(params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment),
        skip_final_snapshot=params.get("SkipFinalSnapshot", False),
        final_snapshot=None
        if final is None
        else names.snapshot_identifier(final, "FinalDBSnapshotIdentifier"),
    )
    return {"DBCluster": shapes.cluster(control, view)}
