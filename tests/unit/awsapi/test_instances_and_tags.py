"""Instances and tags through the whole chain on twins."""

from __future__ import annotations

from typing import Any

import pytest

from support.api import ARN, TwinApi, filtered


async def test_an_instance_from_creating_to_gone(api: TwinApi) -> None:
    await api.cluster()
    api.plane.gateways.broken = "not yet"
    made = await api(
        "CreateDBInstance",
        DBInstanceIdentifier="One",
        DBInstanceClass="db.r6g.large",
        Engine="docdb",
        DBClusterIdentifier="Alpha",
        PromotionTier=0,
        AvailabilityZone="us-east-1b",
    )
    instance = made["DBInstance"]
    assert {
        "DBInstanceIdentifier": "one",
        "DBInstanceStatus": "creating",
        "DBInstanceArn": f"{ARN}db:one",
        "DBClusterIdentifier": "alpha",
        "AvailabilityZone": "us-east-1b",
        "PromotionTier": 0,
        "PubliclyAccessible": False,
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
    }.items() <= instance.items()
    assert not {"Endpoint", "InstanceCreateTime"} & set(instance)
    assert instance["DBSubnetGroup"]["SubnetGroupStatus"] == "Complete"
    api.plane.gateways.broken = None
    ready = await api.becomes("DBInstance", "one", "available")
    assert ready["Endpoint"]["Port"] == 27017
    assert ready["CertificateDetails"]["CAIdentifier"] == "rds-ca-rsa2048-g1"
    members = (await api("DescribeDBClusters"))["DBClusters"][0]["DBClusterMembers"]
    assert members == [
        {
            "DBInstanceIdentifier": "one",
            "IsClusterWriter": True,
            "DBClusterParameterGroupStatus": "in-sync",
            "PromotionTier": 0,
        }
    ]
    deleting = await api("DeleteDBInstance", DBInstanceIdentifier="ONE")
    assert deleting["DBInstance"]["DBInstanceStatus"] == "deleting"
    await api.becomes("DBInstance", "one", "gone")
    assert await api.fault("DeleteDBInstance", DBInstanceIdentifier="one") == (
        404,
        "DBInstanceNotFound",
        "DBInstance one not found.",
    )


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"DBClusterIdentifier": "none"}, "DBClusterNotFoundFault", "DBCluster none not found."),
        (
            {"DBInstanceClass": "db.huge"},
            "InvalidParameterCombination",
            "DBInstanceClass=db.huge, Engine=docdb",
        ),
        (
            {"Engine": "neptune"},
            "InvalidParameterCombination",
            "The engine name requested for your DB instance (neptune) doesn't match the engine name of your DB cluster (docdb).",
        ),
        ({"PromotionTier": 16}, "InvalidParameterValue", "between 0 and 15"),
        ({"AvailabilityZone": "eu-west-1a"}, "InvalidParameterValue", "eu-west-1a"),
        ({"CACertificateIdentifier": "rds-ca-2019"}, "CertificateNotFound", "rds-ca-2019"),
        (
            {"EnablePerformanceInsights": True},
            "InvalidParameterCombination",
            "EnablePerformanceInsights is not available",
        ),
        (
            {"DBInstanceIdentifier": "a--b"},
            "InvalidParameterValue",
            "The parameter DBInstanceIdentifier is not a valid",
        ),
    ],
)
async def test_what_an_instance_can_not_be(
    api: TwinApi, params: dict[str, Any], code: str, message: str
) -> None:
    await api.cluster()
    good = {
        "DBInstanceIdentifier": "one",
        "DBInstanceClass": "db.r6g.large",
        "Engine": "docdb",
        "DBClusterIdentifier": "alpha",
    }
    _, got, told = await api.fault("CreateDBInstance", **{**good, **params})
    assert got == code
    assert message in told


async def test_names_state_and_number_of_instances(api: TwinApi) -> None:
    await api.cluster("alpha")
    await api.cluster("beta")
    await api.instance("one", "alpha")
    good = {"DBInstanceClass": "db.r6g.large", "Engine": "docdb"}
    again = await api.fault(
        "CreateDBInstance", DBInstanceIdentifier="One", DBClusterIdentifier="beta", **good
    )
    assert again[1:] == ("DBInstanceAlreadyExists", "DB instance already exists")
    second = await api.fault(
        "CreateDBInstance", DBInstanceIdentifier="two", DBClusterIdentifier="alpha", **good
    )
    assert second[1] == "InsufficientDBInstanceCapacity"
    await api.instance("two", "beta")
    await api.cluster("gamma")
    third = await api.fault(
        "CreateDBInstance", DBInstanceIdentifier="three", DBClusterIdentifier="gamma", **good
    )
    assert third[1] == "InstanceQuotaExceeded"
    found = await api("DescribeDBInstances", **filtered("db-cluster-id", f"{ARN}cluster:beta"))
    assert [row["DBInstanceIdentifier"] for row in found["DBInstances"]] == ["two"]
    found = await api("DescribeDBInstances", **filtered("db-instance-id", "ONE"))
    assert [row["DBInstanceIdentifier"] for row in found["DBInstances"]] == ["one"]


async def test_tags_of_each_kind_of_resource(api: TwinApi) -> None:
    await api.cluster(Tags=[{"Key": "made", "Value": "1"}])
    await api.instance()
    await api.snapshot()
    for name in ("cluster:alpha", "db:alpha-1", "cluster-snapshot:one"):
        await api(
            "AddTagsToResource", ResourceName=ARN + name, Tags=[{"Key": "k", "Value": "1"}, {"Key": "empty"}]
        )
        await api("AddTagsToResource", ResourceName=ARN + name, Tags=[{"Key": "k", "Value": "2"}])
        tags = (await api("ListTagsForResource", ResourceName=ARN + name))["TagList"]
        listed = {tag["Key"]: tag["Value"] for tag in tags}
        assert listed == {"k": "2", "empty": ""} | ({"made": "1"} if name == "cluster:alpha" else {})
        await api("RemoveTagsFromResource", ResourceName=ARN + name, TagKeys=["k", "absent", "made", "empty"])
        assert (await api("ListTagsForResource", ResourceName=ARN + name))["TagList"] == []


@pytest.mark.parametrize(
    ("name", "status", "code", "message"),
    [
        ("alpha", 400, "InvalidParameterValue", "Invalid resource name:  alpha"),
        (
            "arn:aws:rds:us-east-1:123456789012",
            400,
            "InvalidParameterValue",
            "Invalid resource name:  arn:aws",
        ),
        (ARN + "cluster:", 400, "InvalidParameterValue", "Invalid resource name:  "),
        (ARN + "cluster:none", 404, "DBClusterNotFoundFault", "DBCluster none not found."),
        (ARN + "db:none", 404, "DBInstanceNotFound", "DBInstance none not found."),
        (
            ARN + "cluster-snapshot:none",
            404,
            "DBClusterSnapshotNotFoundFault",
            "DBClusterSnapshot not found: none",
        ),
        (
            "arn:aws:rds:eu-west-1:123456789012:cluster:none",
            400,
            "InvalidParameterValue",
            "The specified resource name does not match an RDS resource in this region.",
        ),
        (
            "arn:aws:rds:us-east-1:999999999999:cluster:none",
            400,
            "InvalidParameterValue",
            "The specified resource name does not match an RDS resource in this region.",
        ),
    ],
)
async def test_tags_of_what_is_not_there(
    api: TwinApi, name: str, status: int, code: str, message: str
) -> None:
    for operation, more in (
        ("ListTagsForResource", {}),
        ("AddTagsToResource", {"Tags": [{"Key": "a", "Value": "b"}]}),
        ("RemoveTagsFromResource", {"TagKeys": ["a"]}),
    ):
        got = await api.fault(operation, ResourceName=name, **more)
        assert got[:2] == (status, code)
        assert got[2].startswith(message)


async def test_fifty_tags_in_all(api: TwinApi) -> None:
    await api.cluster(Tags=[{"Key": f"k{n}", "Value": ""} for n in range(49)])
    resource = {"ResourceName": f"{ARN}cluster:alpha"}
    await api("AddTagsToResource", **resource, Tags=[{"Key": "k49"}])
    await api("AddTagsToResource", **resource, Tags=[{"Key": "k0", "Value": "again"}])
    assert "more than 50 tags" in (await api.fault("AddTagsToResource", **resource, Tags=[{"Key": "k50"}]))[2]
    assert (await api.fault("ListTagsForResource", **resource, **filtered("x", "y")))[
        2
    ] == "Unrecognized filter name: x"


async def test_there_are_no_global_clusters(api: TwinApi) -> None:
    assert await api("DescribeGlobalClusters") == {"GlobalClusters": []}
    assert await api("DescribeGlobalClusters", **filtered("db-cluster-id", "alpha")) == {"GlobalClusters": []}
    named = await api.fault("DescribeGlobalClusters", GlobalClusterIdentifier="g")
    assert named == (404, "GlobalClusterNotFoundFault", "Global cluster 'g' not found")
    assert (await api.fault("DescribeGlobalClusters", MaxRecords=5))[1] == "InvalidParameterValue"
