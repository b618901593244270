"""Snapshots listed, deleted and restored through the whole chain on twins."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.api import ARN, TwinApi, filtered


async def snapshots(api: TwinApi, **params: Any) -> list[str]:
    found = await api("DescribeDBClusterSnapshots", **params)
    return [row["DBClusterSnapshotIdentifier"] for row in found["DBClusterSnapshots"]]


async def test_pages_of_twenty_and_the_rest(api: TwinApi) -> None:
    await api.cluster()
    names = [f"s{n:02}" for n in range(25)]
    for name in names:
        await api("CreateDBClusterSnapshot", DBClusterSnapshotIdentifier=name, DBClusterIdentifier="alpha")
    first = await api("DescribeDBClusterSnapshots", MaxRecords=20)
    assert len(first["DBClusterSnapshots"]) == 20
    rest = await api("DescribeDBClusterSnapshots", MaxRecords=20, Marker=first["Marker"])
    assert "Marker" not in rest
    both = first["DBClusterSnapshots"] + rest["DBClusterSnapshots"]
    assert [row["DBClusterSnapshotIdentifier"] for row in both] == names
    everything = await api("DescribeDBClusterSnapshots", Marker="")
    assert len(everything["DBClusterSnapshots"]) == 25
    assert "Marker" not in everything
    _, code, message = await api.fault("DescribeDBClusters", Marker=first["Marker"])
    assert (code, message) == ("InvalidParameterValue", "The request token is invalid.")


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("DescribeDBClusters", "DBClusterIdentifier"),
        ("DescribeDBInstances", "DBInstanceIdentifier"),
        ("DescribeDBClusterSnapshots", "DBClusterSnapshotIdentifier"),
    ],
)
async def test_max_records_then_the_name_then_the_marker(api: TwinApi, operation: str, name: str) -> None:
    await api.cluster("x")
    await api.instance("x", "x")
    await api.snapshot("x", "x")
    for number in (19, 101, -1):
        assert await api.fault(operation, MaxRecords=number, **{name: "none"}, Marker="no") == (
            400,
            "InvalidParameterValue",
            f"Invalid value {number} for MaxRecords. Must be between 20 and 100",
        )
    status, code, _ = await api.fault(operation, **{name: "none"}, Marker="no")
    assert (status, "NotFound" in code) == (404, True)
    for more in ({name: "x"}, {}):
        assert (await api.fault(operation, **more, Marker="no"))[2] == "The request token is invalid."


async def test_what_a_describe_finds(api: TwinApi) -> None:
    await api.cluster("alpha")
    await api.cluster("beta")
    await api.snapshot("a1", "alpha")
    await api.snapshot("b1", "beta")
    assert await snapshots(api) == ["a1", "b1"]
    assert await snapshots(api, DBClusterIdentifier="BETA") == ["b1"]
    assert await snapshots(api, DBClusterIdentifier=f"{ARN}cluster:beta") == ["b1"]
    assert await snapshots(api, DBClusterIdentifier="none") == []
    assert await snapshots(api, DBClusterSnapshotIdentifier="A1") == ["a1"]
    assert await snapshots(api, DBClusterSnapshotIdentifier=f"{ARN}cluster-snapshot:a1") == ["a1"]
    assert await snapshots(api, DBClusterSnapshotIdentifier="a1", DBClusterIdentifier="beta") == []
    assert await snapshots(api, SnapshotType="manual", IncludeShared=True, IncludePublic=True) == ["a1", "b1"]
    assert await snapshots(api, IncludeShared=True) == ["a1", "b1"]
    for kind in ("automated", "shared", "public"):
        assert await snapshots(api, SnapshotType=kind) == []
    assert (await api.fault("DescribeDBClusterSnapshots", SnapshotType="Manual"))[
        1
    ] == "InvalidParameterValue"
    assert await api.fault("DescribeDBClusterSnapshots", DBClusterSnapshotIdentifier="None") == (
        404,
        "DBClusterSnapshotNotFoundFault",
        "DBClusterSnapshot not found: none",
    )


async def test_filters_of_snapshots(api: TwinApi) -> None:
    await api.cluster("alpha")
    await api.snapshot("a1", "alpha")
    await api.snapshot("a2", "alpha")
    assert await snapshots(api, **filtered("db-cluster-id", "ALPHA", "none")) == ["a1", "a2"]
    assert await snapshots(api, **filtered("db-cluster-id", f"{ARN}cluster:alpha")) == ["a1", "a2"]
    assert await snapshots(api, **filtered("db-cluster-snapshot-id", "A2")) == ["a2"]
    assert await snapshots(api, **filtered("snapshot-type", "manual")) == ["a1", "a2"]
    assert await snapshots(api, **filtered("snapshot-type", "MANUAL")) == []
    assert await snapshots(api, **filtered("engine", "docdb")) == ["a1", "a2"]
    assert await snapshots(api, **filtered("engine", "neptune")) == []
    both = [
        *filtered("db-cluster-snapshot-id", "a1")["Filters"],
        *filtered("db-cluster-snapshot-id", "a2")["Filters"],
    ]
    assert await snapshots(api, Filters=both) == []
    fault = await api.fault(
        "DescribeDBClusterSnapshots",
        DBClusterSnapshotIdentifier="a1",
        **filtered("db-cluster-snapshot-id", "a2"),
    )
    assert fault[1:] == ("DBClusterSnapshotNotFoundFault", "DBClusterSnapshot not found: a1")


@pytest.mark.parametrize(
    "operation", ["DescribeDBClusters", "DescribeDBInstances", "DescribeDBClusterSnapshots"]
)
async def test_bad_filters(api: TwinApi, operation: str) -> None:
    assert (await api.fault(operation, **filtered("domain", "x")))[1:] == (
        "InvalidParameterValue",
        "Unrecognized filter name: domain",
    )
    assert (await api.fault(operation, **filtered("db-cluster-id")))[1:] == (
        "InvalidParameterCombination",
        "The list of DB Cluster Identifiers must not be empty.",
    )
    assert (await api.fault(operation, **filtered("engine")))[
        2
    ] == "The list of Engine Names must not be empty."


async def test_delete_answers_the_snapshot_as_it_was_then_it_is_gone(api: TwinApi) -> None:
    await api.cluster()
    ready = await api.snapshot()
    answer = await api("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="One")
    assert answer["DBClusterSnapshot"] == ready
    assert (ready["Status"], ready["PercentProgress"]) == ("available", 100)
    await api.becomes("DBClusterSnapshot", "one", "gone")
    assert await api.fault("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="one") == (
        404,
        "DBClusterSnapshotNotFoundFault",
        "DBClusterSnapshot not found: one",
    )


async def test_restore_shows_a_new_cluster_without_instances(api: TwinApi) -> None:
    await api.cluster(Port=27020, PreferredMaintenanceWindow="sun:01:00-sun:02:00")
    await api.snapshot()
    api.plane.volumes.gates["restore"] = gate = asyncio.Event()
    restored = await api(
        "RestoreDBClusterFromSnapshot",
        DBClusterIdentifier="Beta",
        SnapshotIdentifier=f"{ARN}cluster-snapshot:one",
        Engine="docdb",
        Tags=[{"Key": "a", "Value": "b"}],
    )
    cluster = restored["DBCluster"]
    assert {
        "Status": "creating",
        "DBClusterIdentifier": "beta",
        "DBClusterMembers": [],
        "Port": 27020,
        "MasterUsername": "keeper",
        "EngineVersion": "5.0.0",
        "PreferredMaintenanceWindow": "sun:01:00-sun:02:00",
        "DeletionProtection": False,
        "PercentProgress": "0",
    }.items() <= cluster.items()
    gate.set()
    ready = await api.becomes("DBCluster", "beta", "available")
    assert (
        "PercentProgress"
        not in (await api("DescribeDBClusters", DBClusterIdentifier="beta"))["DBClusters"][0]
    )
    assert ready["DBClusterMembers"] == []
    await api.instance("beta-1", "beta")


@pytest.mark.parametrize(
    ("params", "status", "code", "message"),
    [
        ({"DBClusterIdentifier": "alpha"}, 400, "DBClusterAlreadyExistsFault", "DB Cluster already exists"),
        (
            {"SnapshotIdentifier": "none"},
            404,
            "DBClusterSnapshotNotFoundFault",
            "DBClusterSnapshot not found: none",
        ),
        ({"Engine": "neptune"}, 400, "InvalidParameterValue", "Invalid DB engine"),
        ({"EngineVersion": "4.0.0"}, 400, "InvalidParameterCombination", "has engine version 5.0.0"),
        (
            {"DBClusterParameterGroupName": "default.docdb4.0"},
            400,
            "InvalidParameterCombination",
            "docdb4.0 cannot",
        ),
        ({"KmsKeyId": "k"}, 400, "KMSKeyNotAccessibleFault", "Specified KMS key [k]"),
        (
            {"SnapshotIdentifier": "arn:aws:rds:eu-west-1:123456789012:cluster-snapshot:one"},
            400,
            "InvalidParameterValue",
            "Expected region = us-east-1, actual region = eu-west-1",
        ),
        (
            {"SnapshotIdentifier": "arn:aws:rds:us-east-1:999999999999:cluster-snapshot:one"},
            404,
            "DBClusterSnapshotNotFoundFault",
            "DBClusterSnapshot not found: arn:aws",
        ),
    ],
)
async def test_restore_faults(
    api: TwinApi, params: dict[str, Any], status: int, code: str, message: str
) -> None:
    await api.cluster()
    await api.snapshot()
    good = {"DBClusterIdentifier": "beta", "SnapshotIdentifier": "one", "Engine": "docdb"}
    got = await api.fault("RestoreDBClusterFromSnapshot", **{**good, **params})
    assert got[:2] == (status, code)
    assert message in got[2]
