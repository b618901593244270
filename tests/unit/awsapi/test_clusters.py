"""Clusters through the whole chain on twins: defaults, constraints, faults."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

from support.api import ARN, GOOD, TwinApi, filtered


async def test_a_new_cluster_shows_its_defaults(api: TwinApi) -> None:
    made = await api(
        "CreateDBCluster",
        DBClusterIdentifier="Alpha",
        Engine="docdb",
        MasterUsername="keeper",
        MasterUserPassword="long-enough!",
    )
    cluster = made["DBCluster"]
    assert {
        "Status": "creating",
        "DBClusterIdentifier": "alpha",
        "DBClusterArn": f"{ARN}cluster:alpha",
        "Port": 27017,
        "EngineVersion": "5.0.0",
        "BackupRetentionPeriod": 1,
        "MultiAZ": False,
        "DBClusterMembers": [],
        "AssociatedRoles": [],
        "DBSubnetGroup": "default",
        "DBClusterParameterGroup": "default.docdb5.0",
        "DeletionProtection": False,
        "StorageEncrypted": False,
        "NetworkType": "IPV4",
        "MasterUsername": "keeper",
    }.items() <= cluster.items()
    assert {"Endpoint", "ReaderEndpoint", "HostedZoneId", "DbClusterResourceId", "ClusterCreateTime"} <= set(
        cluster
    )
    assert not {"StorageType", "KmsKeyId", "EarliestRestorableTime", "LatestRestorableTime"} & set(cluster)
    assert cluster["VpcSecurityGroups"][0]["Status"] == "active"
    assert len(cluster["AvailabilityZones"]) == 3
    assert (
        cluster["ClusterCreateTime"].tzinfo == datetime.UTC
        or cluster["ClusterCreateTime"].utcoffset() is not None
    )
    assert (await api.fault("CreateDBCluster", DBClusterIdentifier="ALPHA", Engine="docdb"))[
        1
    ] == "InvalidParameterValue"
    assert await api.fault("CreateDBCluster", DBClusterIdentifier="ALPHA", **GOOD) == (
        400,
        "DBClusterAlreadyExistsFault",
        "DB Cluster already exists",
    )


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"Engine": "aurora"}, "InvalidParameterValue", "Invalid DB engine"),
        ({"EngineVersion": "9.9"}, "InvalidParameterValue", "Cannot find version 9.9 for docdb"),
        ({"Port": 80}, "InvalidParameterValue", "from 1150 to 65535"),
        (
            {"MasterUsername": "admin"},
            "InvalidParameterValue",
            "MasterUsername admin cannot be used as it is a reserved",
        ),
        (
            {"MasterUserPassword": "short"},
            "InvalidParameterValue",
            "because it is shorter than 8 characters.",
        ),
        (
            {"DBSubnetGroupName": "mine"},
            "DBSubnetGroupNotFoundFault",
            "DB subnet group 'mine' does not exist.",
        ),
        ({"DBClusterParameterGroupName": "mine"}, "DBClusterParameterGroupNotFound", "not found: mine"),
        (
            {"DBClusterParameterGroupName": "default.docdb4.0"},
            "InvalidParameterCombination",
            "The Parameter Group default.docdb4.0 with DBParameterGroupFamily docdb4.0 cannot be used for this instance. "
            "Please use a Parameter Group with DBParameterGroupFamily docdb5.0",
        ),
        ({"VpcSecurityGroupIds": ["sg-none"]}, "InvalidVPCNetworkStateFault", "sg-none"),
        ({"NetworkType": "DUAL"}, "NetworkTypeNotSupported", "Use IPV4"),
        ({"AvailabilityZones": ["us-east-1z"]}, "InvalidParameterValue", "us-east-1z"),
        ({"StorageType": "gp3"}, "InvalidParameterValue", "standard and iopt1"),
        (
            {"GlobalClusterIdentifier": "world"},
            "GlobalClusterNotFoundFault",
            "Global cluster 'world' not found",
        ),
        ({"BackupRetentionPeriod": 36}, "InvalidParameterValue", "between 1 and 35"),
        ({"BackupRetentionPeriod": 0}, "InvalidParameterValue", "between 1 and 35"),
        (
            {"PreferredBackupWindow": "03:00-03:20"},
            "InvalidParameterValue",
            "at least 30 minutes",
        ),
        ({"PreferredBackupWindow": "3-4"}, "InvalidParameterValue", "Invalid hour:minute value"),
        ({"StorageEncrypted": True, "KmsKeyId": "k"}, "KMSKeyNotAccessibleFault", "Specified KMS key [k]"),
        ({"KmsKeyId": "own"}, "InvalidParameterCombination", "KmsKeyId needs StorageEncrypted"),
        (
            {"ManageMasterUserPassword": True},
            "InvalidParameterCombination",
            "ManageMasterUserPassword is not available",
        ),
        ({"EnableCloudwatchLogsExports": ["audit"]}, "InvalidParameterCombination", "is not available"),
        (
            {"PreferredMaintenanceWindow": "sun:01:00-sun:01:10"},
            "InvalidParameterValue",
            "at least 30 minutes",
        ),
    ],
)
async def test_what_a_new_cluster_can_not_be(
    api: TwinApi, params: dict[str, Any], code: str, message: str
) -> None:
    _, got, told = await api.fault("CreateDBCluster", DBClusterIdentifier="alpha", **{**GOOD, **params})
    assert got == code
    assert message in told
    assert (await api("DescribeDBClusters"))["DBClusters"] == []


async def test_parameters_that_ask_for_nothing_are_taken(api: TwinApi) -> None:
    await api.cluster(
        StorageEncrypted=False,
        EnableCloudwatchLogsExports=[],
        BackupRetentionPeriod=1,
        DBSubnetGroupName="default",
        DBClusterParameterGroupName="Default.DocDB5.0",
        NetworkType="IPV4",
        StorageType="iopt1",
        DeletionProtection=True,
        PreferredMaintenanceWindow="Sun:01:00-Sun:02:00",
        AvailabilityZones=["us-east-1b"],
    )
    cluster = (await api("DescribeDBClusters", DBClusterIdentifier=f"{ARN}cluster:alpha"))["DBClusters"][0]
    assert cluster["StorageType"] == "iopt1"
    assert cluster["PreferredMaintenanceWindow"] == "sun:01:00-sun:02:00"
    assert cluster["AvailabilityZones"] == ["us-east-1a", "us-east-1b", "us-east-1c"]


async def test_quota_of_clusters(api: TwinApi) -> None:
    for name in "abc":
        await api.cluster(name)
    status, code, _ = await api.fault("CreateDBCluster", DBClusterIdentifier="d", **GOOD)
    assert (status, code) == (403, "DBClusterQuotaExceededFault")


async def test_describe_clusters(api: TwinApi) -> None:
    await api.cluster("alpha")
    made = await api.cluster("beta")

    async def found(**params: Any) -> list[str]:
        return [
            row["DBClusterIdentifier"] for row in (await api("DescribeDBClusters", **params))["DBClusters"]
        ]

    assert await found() == ["alpha", "beta"]
    assert await found(**filtered("db-cluster-id", "BETA", "none")) == ["beta"]
    assert await found(**filtered("db-cluster-resource-id", made["DbClusterResourceId"])) == ["beta"]
    assert await found(**filtered("engine", "docdb")) == ["alpha", "beta"]
    assert await found(DBClusterIdentifier="beta", **filtered("db-cluster-id", "beta")) == ["beta"]
    for params in (
        {"DBClusterIdentifier": "Gamma"},
        {"DBClusterIdentifier": "gamma", **filtered("engine", "docdb")},
    ):
        assert await api.fault("DescribeDBClusters", **params) == (
            404,
            "DBClusterNotFoundFault",
            "DBCluster gamma not found.",
        )
    excluded = await api.fault(
        "DescribeDBClusters", DBClusterIdentifier="beta", **filtered("db-cluster-id", "alpha")
    )
    assert excluded[2] == "DBCluster beta not found."
    abroad = "arn:aws:rds:eu-west-1:123456789012:cluster:beta"
    assert (await api.fault("DescribeDBClusters", DBClusterIdentifier=abroad))[1:] == (
        "InvalidParameterValue",
        f"Invalid database cluster identifier:  {abroad}",
    )


async def test_delete_cluster_faults_and_messages(api: TwinApi) -> None:
    await api.cluster(DeletionProtection=True)
    await api.instance()
    assert (await api.fault("DeleteDBCluster", DBClusterIdentifier="alpha"))[1:] == (
        "InvalidParameterCombination",
        "Cannot delete protected Cluster, please disable deletion protection and try again.",
    )
    await api("ModifyDBCluster", DBClusterIdentifier="alpha", DeletionProtection=False)
    assert (await api.fault("DeleteDBCluster", DBClusterIdentifier="alpha"))[1:] == (
        "InvalidDBClusterStateFault",
        "Cluster cannot be deleted, it still contains DB instances in non-deleting state.",
    )
    await api("DeleteDBInstance", DBInstanceIdentifier="alpha-1")
    await api.becomes("DBInstance", "alpha-1", "gone")
    assert (await api.fault("DeleteDBCluster", DBClusterIdentifier="alpha"))[1:] == (
        "InvalidParameterCombination",
        "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
    )
    await api.snapshot("last")
    final = {"DBClusterIdentifier": "alpha", "FinalDBSnapshotIdentifier": "Last"}
    assert (await api.fault("DeleteDBCluster", **final))[1] == "DBClusterSnapshotAlreadyExistsFault"
    assert (await api.fault("DeleteDBCluster", **final, SkipFinalSnapshot=True))[
        1
    ] == "InvalidParameterCombination"
    bad = {**final, "FinalDBSnapshotIdentifier": "a--b"}
    assert (
        "The parameter FinalDBSnapshotIdentifier is not a valid"
        in (await api.fault("DeleteDBCluster", **bad))[2]
    )
    final["FinalDBSnapshotIdentifier"] = "Final"
    answer = await api("DeleteDBCluster", **final)
    assert answer["DBCluster"]["Status"] == "deleting"
    await api.becomes("DBCluster", "alpha", "gone")
    assert await snapshot_names(api) == ["final", "last"]
    assert (await api.fault("DeleteDBCluster", DBClusterIdentifier="alpha", SkipFinalSnapshot=True))[0] == 404


async def test_a_cluster_that_is_not_available_has_no_final_snapshot(api: TwinApi) -> None:
    api.plane.volumes.gates["create"] = gate = asyncio.Event()
    await api("CreateDBCluster", DBClusterIdentifier="alpha", **GOOD)
    final = {"DBClusterIdentifier": "alpha", "FinalDBSnapshotIdentifier": "last"}
    assert (await api.fault("DeleteDBCluster", **final))[1:] == (
        "InvalidDBClusterStateFault",
        "Can't create a snapshot because the database cluster alpha isn't currently in the available state.",
    )
    skipped = await api.fault("DeleteDBCluster", DBClusterIdentifier="alpha", SkipFinalSnapshot=True)
    assert skipped[1] == "InvalidDBClusterStateFault"
    gate.set()


async def snapshot_names(api: TwinApi) -> list[str]:
    found = await api("DescribeDBClusterSnapshots", DBClusterIdentifier="alpha")
    return [row["DBClusterSnapshotIdentifier"] for row in found["DBClusterSnapshots"]]
