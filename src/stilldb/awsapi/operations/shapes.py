"""Resources in the service model's shapes: the dictionaries that the serializer walks. Absent values are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi import model
from stilldb.control import clusters, instances
from stilldb.control.context import Control
from stilldb.control.sharing import RESTORE, SnapshotView
from stilldb.control.views import ClusterView, InstanceView
from stilldb.domain import engine
from stilldb.domain.resources import Cluster, Instance, InstanceStatus, Snapshot

Shape = dict[str, Any]


def present(shape: Mapping[str, Any]) -> Shape:
    """The members that have a value; empty lists stay, as AWS sends them."""
    return {name: value for name, value in shape.items() if value is not None}


def cluster(control: Control, view: ClusterView) -> Shape:
    """DBCluster."""
    row = view.cluster
    percent = control.progress.get(row.resource_id, row.percent_progress)
    window = control.windows.get(row.resource_id)
    return present(
        {
            "AvailabilityZones": list(row.availability_zones),
            "BackupRetentionPeriod": row.backup_retention_period,
            "DBClusterIdentifier": row.identifier,
            "DBClusterParameterGroup": row.parameter_group,
            "DBSubnetGroup": row.subnet_group,
            "Status": str(row.status),
            "PercentProgress": None if percent is None else str(percent),
            "EarliestRestorableTime": None if window is None else window.shown().earliest,
            "LatestRestorableTime": None if window is None else window.shown().latest,
            "Endpoint": row.address,
            "ReaderEndpoint": row.reader_address,
            "MultiAZ": len({member.availability_zone for member in view.members}) > 1,
            "Engine": engine.ENGINE,
            "EngineVersion": row.engine_version,
            "Port": row.port,
            "MasterUsername": row.master_username,
            "PreferredBackupWindow": row.preferred_backup_window,
            "PreferredMaintenanceWindow": row.preferred_maintenance_window,
            "DBClusterMembers": [_member(member) for member in view.members],
            "VpcSecurityGroups": _security_groups(row),
            "HostedZoneId": control.deployment.hosted_zone,
            "StorageEncrypted": row.kms_key_arn is not None,
            "KmsKeyId": row.kms_key_arn,
            "DbClusterResourceId": row.resource_id,
            "DBClusterArn": clusters.arn(control, row),
            "AssociatedRoles": [],
            "ClusterCreateTime": row.created_at,
            "DeletionProtection": row.deletion_protection,
            "StorageType": row.storage_type if row.storage_type == "iopt1" else None,
            "NetworkType": "IPV4",
            **_if_modelled("DBCluster", CopyTagsToSnapshot=row.copy_tags_to_snapshot),
        }
    )


def _if_modelled(shape: str, **values: Any) -> Shape:
    """Members that only newer service models have."""
    members = model.service().shape_for(shape).members
    return {name: value for name, value in values.items() if name in members}


def _member(row: Instance) -> Shape:
    return {
        "DBInstanceIdentifier": row.identifier,
        "IsClusterWriter": row.writer,
        "DBClusterParameterGroupStatus": "in-sync",
        "PromotionTier": row.promotion_tier,
    }


def _security_groups(row: Cluster) -> list[Shape]:
    return [{"VpcSecurityGroupId": group, "Status": "active"} for group in row.security_groups]


def instance(control: Control, view: InstanceView) -> Shape:
    """DBInstance; without endpoint, creation time and CA details until it has answered once."""
    row, of = view.instance, view.cluster
    answered = row.created_at is not None
    window = control.windows.get(of.resource_id)
    return present(
        {
            "DBInstanceIdentifier": row.identifier,
            "DBInstanceClass": row.instance_class,
            "Engine": engine.ENGINE,
            "DBInstanceStatus": str(row.status),
            "Endpoint": _endpoint(control, row, of) if answered else None,
            "InstanceCreateTime": row.created_at,
            "PreferredBackupWindow": of.preferred_backup_window,
            "BackupRetentionPeriod": of.backup_retention_period,
            "VpcSecurityGroups": _security_groups(of),
            "AvailabilityZone": row.availability_zone,
            "DBSubnetGroup": _subnet_group(control),
            "PreferredMaintenanceWindow": row.preferred_maintenance_window,
            "PendingModifiedValues": {},
            "LatestRestorableTime": window.shown().latest if window is not None and answered else None,
            "EngineVersion": of.engine_version,
            "AutoMinorVersionUpgrade": row.auto_minor_version_upgrade,
            "PubliclyAccessible": False,
            "StatusInfos": _status_infos(row),
            "DBClusterIdentifier": of.identifier,
            "StorageEncrypted": of.kms_key_arn is not None,
            "KmsKeyId": of.kms_key_arn,
            "DbiResourceId": row.resource_id,
            "CACertificateIdentifier": row.ca_certificate,
            "CertificateDetails": _certificate(control, row) if answered else None,
            "CopyTagsToSnapshot": row.copy_tags_to_snapshot,
            "PromotionTier": row.promotion_tier,
            "DBInstanceArn": instances.arn(control, row),
            "PerformanceInsightsEnabled": False,
        }
    )


def _endpoint(control: Control, row: Instance, of: Cluster) -> Shape:
    return {"Address": row.address, "Port": of.port, "HostedZoneId": control.deployment.hosted_zone}


def _certificate(control: Control, row: Instance) -> Shape | None:
    ends = control.host.certificate_valid_till(row.resource_id)
    return None if ends is None else {"CAIdentifier": row.ca_certificate, "ValidTill": ends}


def _status_infos(row: Instance) -> list[Shape]:
    """Why an instance does not answer, where there is a reason."""
    if not row.status_reason:
        return []
    normal = row.status is not InstanceStatus.FAILED
    return [
        {
            "StatusType": "availability",
            "Normal": normal,
            "Status": str(row.status),
            "Message": row.status_reason,
        }
    ]


def _subnet_group(control: Control) -> Shape:
    place = control.deployment
    return {
        "DBSubnetGroupName": "default",
        "DBSubnetGroupDescription": "default",
        "VpcId": place.vpc_id,
        "SubnetGroupStatus": "Complete",
        "Subnets": [
            {
                "SubnetIdentifier": place.subnet(zone),
                "SubnetAvailabilityZone": {"Name": zone},
                "SubnetStatus": "Active",
            }
            for zone in place.availability_zones
        ],
    }


def snapshot(control: Control, view: SnapshotView) -> Shape:
    """DBClusterSnapshot. Port is 0 in every recorded answer, whatever the cluster's port."""
    row = view.snapshot
    return present(
        {
            "AvailabilityZones": list(row.availability_zones),
            "DBClusterSnapshotIdentifier": view.identifier,
            "DBClusterIdentifier": row.cluster_identifier,
            "SnapshotCreateTime": row.created_at,
            "Engine": engine.ENGINE,
            "Status": str(row.status),
            "Port": 0,
            "VpcId": view.owner.vpc_id,
            "ClusterCreateTime": row.cluster_created_at,
            "MasterUsername": row.master_username,
            "EngineVersion": row.engine_version,
            "SnapshotType": view.kind,
            "PercentProgress": control.progress.get(row.snapshot_id, row.percent_progress),
            "StorageEncrypted": row.kms_key_arn is not None,
            "KmsKeyId": row.kms_key_arn,
            "DBClusterSnapshotArn": view.arn,
            "SourceDBClusterSnapshotArn": row.source_arn,
            "StorageType": row.storage_type or "standard",
        }
    )


def snapshot_attributes(row: Snapshot) -> Shape:
    """DBClusterSnapshotAttributesResult: there is the one attribute ``restore``."""
    restore = {"AttributeName": RESTORE, "AttributeValues": list(row.restorable_by)}
    return {
        "DBClusterSnapshotIdentifier": row.identifier,
        "DBClusterSnapshotAttributes": [restore],
    }


def tag_list(tags: Mapping[str, str]) -> list[Shape]:
    """TagList."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
