"""CreateDBClusterSnapshot through the whole chain on twins: answer, faults and messages as recorded from AWS."""

from __future__ import annotations

import asyncio

import pytest

from stilldb.awsapi import model
from stilldb.control.context import Quotas
from support.api import ARN, GOOD, Failed, TwinApi, twin_api

CREATE = {"DBClusterIdentifier": "alpha", "DBClusterSnapshotIdentifier": "one"}


async def test_a_snapshot_is_creating_then_available_with_every_field(api: TwinApi) -> None:
    cluster = await api.cluster("Alpha", Port=27020)
    api.plane.volumes.gates["mark"] = gate = asyncio.Event()
    answer = await api(
        "CreateDBClusterSnapshot",
        DBClusterSnapshotIdentifier="My-Snap-1",
        DBClusterIdentifier="ALPHA",
        Tags=[{"Key": "team", "Value": "blue"}],
    )
    made = answer["DBClusterSnapshot"]
    taken = made.pop("SnapshotCreateTime")
    assert made == {
        "AvailabilityZones": ["us-east-1a", "us-east-1b", "us-east-1c"],
        "DBClusterSnapshotIdentifier": "my-snap-1",
        "DBClusterIdentifier": "alpha",
        "Engine": "docdb",
        "Status": "creating",
        "Port": 0,
        "VpcId": api.plane.control.deployment.vpc_id,
        "ClusterCreateTime": cluster["ClusterCreateTime"],
        "MasterUsername": "keeper",
        "EngineVersion": "5.0.0",
        "SnapshotType": "manual",
        "PercentProgress": 0,
        "StorageEncrypted": False,
        "DBClusterSnapshotArn": f"{ARN}cluster-snapshot:my-snap-1",
        "StorageType": "standard",
    }
    # Of the 18 members, KmsKeyId and SourceDBClusterSnapshotArn are absent: not encrypted, and no copy.
    members = set(model.service().shape_for("DBClusterSnapshot").members)
    assert members - set(made) == {"SnapshotCreateTime", "KmsKeyId", "SourceDBClusterSnapshotArn"}
    gate.set()
    ready = await api.becomes("DBClusterSnapshot", "my-snap-1", "available")
    assert ready.pop("SnapshotCreateTime") >= taken
    assert ready == {**made, "Status": "available", "PercentProgress": 100}
    tags = await api("ListTagsForResource", ResourceName=ready["DBClusterSnapshotArn"])
    assert tags["TagList"] == [{"Key": "team", "Value": "blue"}]


@pytest.mark.parametrize("cluster", ["alpha", "ALPHA", f"{ARN}cluster:alpha"])
async def test_the_cluster_by_name_in_any_case_or_by_arn(api: TwinApi, cluster: str) -> None:
    await api.cluster()
    await api("CreateDBClusterSnapshot", DBClusterSnapshotIdentifier="one", DBClusterIdentifier=cluster)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1abc", "Invalid snapshot identifier:  1abc"),
        (
            "a--b",
            "The parameter DBClusterSnapshotIdentifier is not a valid identifier. Identifiers must begin with",
        ),
        (
            "a-",
            "The parameter DBClusterSnapshotIdentifier is not a valid identifier. Identifiers must begin with",
        ),
        (
            "a_b",
            "The parameter DBClusterSnapshotIdentifier is not a valid identifier. Identifiers must begin with",
        ),
        (
            "a" * 64,
            "The parameter DBClusterSnapshotIdentifier is not a valid identifier because it is longer than 63",
        ),
        ("", "The parameter DBClusterSnapshotIdentifier must be provided and must not be blank."),
    ],
)
async def test_bad_names(api: TwinApi, name: str, message: str) -> None:
    status, code, told = await api.fault(
        "CreateDBClusterSnapshot", DBClusterSnapshotIdentifier=name, DBClusterIdentifier="none"
    )
    assert (status, code) == (400, "InvalidParameterValue")
    assert told.startswith(message)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ({"Key": "aws:x"}, 'Tag keys cannot start with the reserved prefix "aws:".'),
        ({"Key": "rds:x"}, 'Tag keys cannot start with the reserved prefix "rds:".'),
        ({"Key": "k", "Value": "a\u0007"}, "holds a character that is not allowed"),
        ({"Value": "v"}, "Tag keys must be 1 to 128 characters long."),
    ],
)
async def test_bad_tags_create_nothing(api: TwinApi, tag: dict[str, str], message: str) -> None:
    await api.cluster()
    status, code, told = await api.fault("CreateDBClusterSnapshot", **CREATE, Tags=[tag])
    assert (status, code) == (400, "InvalidParameterValue")
    assert message in told
    assert (await api("DescribeDBClusterSnapshots"))["DBClusterSnapshots"] == []


async def test_db_cluster_snapshot_already_exists_fault(api: TwinApi) -> None:
    await api.cluster()
    await api.snapshot("one")
    params = {**CREATE, "DBClusterSnapshotIdentifier": "ONE"}
    assert await api.fault("CreateDBClusterSnapshot", **params) == (
        400,
        "DBClusterSnapshotAlreadyExistsFault",
        "Cannot create the cluster snapshot because one with the identifier one already exists.",
    )


async def test_invalid_db_cluster_state_fault(api: TwinApi) -> None:
    api.plane.volumes.gates["create"] = asyncio.Event()
    await api(
        "CreateDBCluster",
        DBClusterIdentifier="alpha",
        **GOOD,
    )
    assert await api.fault("CreateDBClusterSnapshot", **CREATE) == (
        400,
        "InvalidDBClusterStateFault",
        "Can't create a snapshot because the database cluster alpha isn't currently in the available state.",
    )


async def test_db_cluster_not_found_fault(api: TwinApi) -> None:
    assert await api.fault("CreateDBClusterSnapshot", **CREATE) == (
        404,
        "DBClusterNotFoundFault",
        "DBCluster alpha not found.",
    )
    await api.cluster()
    foreign = "arn:aws:rds:us-east-1:999999999999:cluster:alpha"
    _, code, _ = await api.fault("CreateDBClusterSnapshot", **{**CREATE, "DBClusterIdentifier": foreign})
    assert code == "DBClusterNotFoundFault"


async def test_snapshot_quota_exceeded() -> None:
    async with twin_api(Quotas(manual_snapshots=2)) as api:
        await api.cluster()
        for name in ("a", "b"):
            await api.snapshot(name)
        assert await api.fault("CreateDBClusterSnapshot", **CREATE) == (
            400,
            "SnapshotQuotaExceeded",
            "Cannot create more than 2 manual snapshots",
        )


async def test_invalid_db_cluster_snapshot_state_fault(api: TwinApi) -> None:
    await api.cluster()
    await api.snapshot("one")
    api.plane.volumes.gates["forget"] = gate = asyncio.Event()
    await api("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="one")
    status, code, message = await api.fault("CreateDBClusterSnapshot", **CREATE)
    assert (status, code) == (400, "InvalidDBClusterSnapshotStateFault")
    assert "is being deleted" in message
    gate.set()
    await api.becomes("DBClusterSnapshot", "one", "gone")
    await api.snapshot("one")


async def test_of_concurrent_calls_with_one_name_one_wins(api: TwinApi) -> None:
    await api.cluster()
    outcomes = await asyncio.gather(
        *(api("CreateDBClusterSnapshot", **CREATE) for _ in range(6)), return_exceptions=True
    )
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert len(failed) == 5
    assert {failure.code for failure in failed} == {"DBClusterSnapshotAlreadyExistsFault"}
    await api.becomes("DBClusterSnapshot", "one", "available")


async def test_checks_come_in_the_documented_order(api: TwinApi) -> None:
    bad = {"DBClusterSnapshotIdentifier": "1", "DBClusterIdentifier": "none", "Tags": [{"Key": "aws:"}]}
    told = []
    for better in ({}, {"DBClusterSnapshotIdentifier": "one"}, {"Tags": []}):
        bad.update(better)
        told.append((await api.fault("CreateDBClusterSnapshot", **bad))[2].split(" ")[0])
    assert told == ["Invalid", "Tag", "DBCluster"]
