"""Snapshot attributes, and what other accounts then list, copy and restore."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from stilldb.control.snapshots import AUTOMATED, begin
from stilldb.domain import faults
from stilldb.domain.resources import Cluster
from support.callers import Caller, caller
from support.twins import Plane, plane

MINE, OTHER, THIRD = "123456789012", "999999999999", "888888888888"
HERE, THERE = "us-east-1", "eu-west-1"
ONE = f"arn:aws:rds:{HERE}:{MINE}:cluster-snapshot:one"


@pytest.fixture
async def running() -> AsyncIterator[Plane]:
    async with plane(regions=(HERE, THERE), accounts=(MINE, OTHER, THIRD)) as it:
        yield it


@pytest.fixture
def mine(running: Plane) -> Caller:
    return caller(running, MINE, HERE)


@pytest.fixture
def other(running: Plane) -> Caller:
    return caller(running, OTHER, HERE)


async def modify(
    of: Caller, add: Sequence[str] = (), remove: Sequence[str] = (), name: str = "one"
) -> list[str]:
    """The values of the attribute afterwards."""
    answer = await of(
        "ModifyDBClusterSnapshotAttribute",
        DBClusterSnapshotIdentifier=name,
        AttributeName="restore",
        ValuesToAdd=list(add),
        ValuesToRemove=list(remove),
    )
    described = await of("DescribeDBClusterSnapshotAttributes", DBClusterSnapshotIdentifier=name)
    assert described == answer
    result = answer["DBClusterSnapshotAttributesResult"]
    assert result["DBClusterSnapshotIdentifier"] == name
    (attribute,) = result["DBClusterSnapshotAttributes"]
    assert attribute["AttributeName"] == "restore"
    return list(attribute["AttributeValues"])


async def test_the_attribute_is_a_set(mine: Caller) -> None:
    await mine.cluster()
    await mine.snapshot()
    assert await modify(mine) == []
    assert await modify(mine, [OTHER, "all", OTHER]) == [OTHER, "all"]
    assert await modify(mine, [THIRD], ["all", "777777777777"]) == [THIRD, OTHER]
    assert await modify(mine, [], [THIRD, OTHER]) == []


async def test_who_lists_what(mine: Caller, other: Caller, running: Plane) -> None:
    await mine.cluster()
    for name in ("one", "two", "three"):
        await mine.snapshot(name)
    await modify(mine, [OTHER])
    await modify(mine, ["all"], name="two")
    two = ONE.replace(":one", ":two")
    assert await other.names() == []
    assert await other.names(SnapshotType="shared") == [ONE]
    assert await other.names(SnapshotType="public") == [two]
    assert await other.names(IncludeShared=True) == [ONE]
    assert await other.names(IncludeShared=True, IncludePublic=True) == [ONE, two]
    assert await other.names(SnapshotType="manual", IncludeShared=True) == []
    assert await other.names(SnapshotType="public", IncludeShared=True) == [two]
    assert await other.names(IncludePublic=True, DBClusterIdentifier="none") == []
    assert await other.names(DBClusterSnapshotIdentifier=ONE) == [ONE]
    assert await other.names(DBClusterSnapshotIdentifier=ONE, SnapshotType="manual") == []
    for hidden in (ONE.replace(":one", ":three"), "one"):
        with pytest.raises(faults.DBClusterSnapshotNotFoundFault):
            await other("DescribeDBClusterSnapshots", DBClusterSnapshotIdentifier=hidden)
    assert await mine.names(IncludeShared=True, IncludePublic=True) == ["one", "three", "two"]
    assert await caller(running, OTHER, THERE).names(IncludeShared=True, IncludePublic=True) == []
    (seen,) = (await other("DescribeDBClusterSnapshots", SnapshotType="shared"))["DBClusterSnapshots"]
    (own,) = (await mine("DescribeDBClusterSnapshots", DBClusterSnapshotIdentifier="one"))[
        "DBClusterSnapshots"
    ]
    assert seen == {**own, "DBClusterSnapshotIdentifier": ONE, "SnapshotType": "shared"}
    await modify(mine, [], [OTHER])
    assert await other.names(SnapshotType="shared") == []


async def test_pages_of_own_and_others(mine: Caller, other: Caller, running: Plane) -> None:
    await mine.cluster()
    await other.cluster()
    for number in range(12):
        await mine.snapshot(f"m{number:02}")
        await modify(mine, [OTHER], name=f"m{number:02}")
        await other.snapshot(f"own{number:02}")
    found: list[str] = []
    marker: dict[str, str] = {}
    for size in (20, 4):
        page = await other("DescribeDBClusterSnapshots", IncludeShared=True, MaxRecords=20, **marker)
        found += [row["DBClusterSnapshotIdentifier"] for row in page["DBClusterSnapshots"]]
        assert len(page["DBClusterSnapshots"]) == size
        marker = {"Marker": page["Marker"]} if "Marker" in page else {}
    assert not marker
    assert found == sorted(found)
    assert len(set(found)) == 24


async def test_the_other_account_restores_and_copies_it(mine: Caller, other: Caller) -> None:
    await mine.cluster(Port=27020)
    await mine.snapshot()
    asked = {"DBClusterIdentifier": "theirs", "SnapshotIdentifier": ONE, "Engine": "docdb"}
    copy = {"SourceDBClusterSnapshotIdentifier": ONE, "TargetDBClusterSnapshotIdentifier": "copy"}
    for operation, params in (("RestoreDBClusterFromSnapshot", asked), ("CopyDBClusterSnapshot", copy)):
        with pytest.raises(faults.DBClusterSnapshotNotFoundFault):
            await other(operation, **params)
    await modify(mine, [OTHER])
    restored = (await other("RestoreDBClusterFromSnapshot", **asked))["DBCluster"]
    assert restored["DBClusterArn"] == f"arn:aws:rds:{HERE}:{OTHER}:cluster:theirs"
    await other.becomes("DBCluster", "theirs", "available")
    made = (await other("CopyDBClusterSnapshot", **copy))["DBClusterSnapshot"]
    assert made["SourceDBClusterSnapshotArn"] == ONE
    await other.becomes("DBClusterSnapshot", "copy", "available")
    await mine("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="one")
    await mine.becomes("DBClusterSnapshot", "one", "gone")
    again = {**asked, "DBClusterIdentifier": "again", "SnapshotIdentifier": "copy"}
    await other("RestoreDBClusterFromSnapshot", **again)
    await other.becomes("DBCluster", "again", "available")


async def test_others_can_neither_delete_nor_share_it(mine: Caller, other: Caller) -> None:
    await mine.cluster()
    await mine.snapshot()
    await modify(mine, [OTHER, "all"])
    for operation, params in (
        ("DeleteDBClusterSnapshot", {}),
        ("DescribeDBClusterSnapshotAttributes", {}),
        ("ModifyDBClusterSnapshotAttribute", {"AttributeName": "restore", "ValuesToAdd": [THIRD]}),
    ):
        with pytest.raises(faults.DBClusterSnapshotNotFoundFault):
            await other(operation, DBClusterSnapshotIdentifier=ONE, **params)
    assert await mine.names() == ["one"]


async def test_faults(mine: Caller, running: Plane) -> None:
    await mine.cluster()
    await mine.snapshot()
    attribute: dict[str, Any] = {"DBClusterSnapshotIdentifier": "one", "AttributeName": "restore"}
    for params, fault, message in (
        ({"AttributeName": "copy"}, faults.InvalidParameterValue, "Invalid snapshot attribute copy"),
        ({"ValuesToAdd": ["12345"]}, faults.InvalidParameterValue, "Invalid value 12345"),
        (
            {"ValuesToAdd": [OTHER], "ValuesToRemove": [OTHER]},
            faults.InvalidParameterCombination,
            "A value may not appear in both the add list and remove list",
        ),
        ({"DBClusterSnapshotIdentifier": "none"}, faults.DBClusterSnapshotNotFoundFault, "not found: none"),
        (
            {"ValuesToAdd": [f"{number:012}" for number in range(21)]},
            faults.SharedSnapshotQuotaExceeded,
            "more than 20 accounts",
        ),
    ):
        with pytest.raises(fault, match=message):
            await mine("ModifyDBClusterSnapshotAttribute", **{**attribute, **params})
    assert await modify(mine, ["all", *(f"{number:012}" for number in range(20))])

    def take(tx: Any) -> None:
        begin(tx, running.control, "rds:alpha-x", tx.get(Cluster, "alpha"), {}, AUTOMATED)

    await running.store.run(take)
    running.control.wake()
    await mine.becomes("DBClusterSnapshot", "rds:alpha-x", "available")
    with pytest.raises(
        faults.InvalidDBClusterSnapshotStateFault, match="automated snapshots cannot be modified"
    ):
        await modify(mine, [OTHER], name="rds:alpha-x")


async def test_an_encrypted_one_and_the_way_out(mine: Caller, other: Caller) -> None:
    await mine.cluster("alpha", StorageEncrypted=True)
    await mine.snapshot()
    with pytest.raises(faults.InvalidDBClusterSnapshotStateFault, match="Copy the snapshot with Copy"):
        await modify(mine, [OTHER])
    asked = {"SourceDBClusterSnapshotIdentifier": "one", "TargetDBClusterSnapshotIdentifier": "two"}
    await mine("CopyDBClusterSnapshot", **asked, KmsKeyId="own")
    await mine.becomes("DBClusterSnapshot", "two", "available")
    with pytest.raises(faults.InvalidDBClusterSnapshotStateFault, match="can't be made public"):
        await modify(mine, ["all"], name="two")
    assert await modify(mine, [OTHER], name="two") == [OTHER]
    restore = {
        "DBClusterIdentifier": "beta",
        "SnapshotIdentifier": ONE.replace(":one", ":two"),
        "Engine": "docdb",
    }
    with pytest.raises(faults.KMSKeyNotAccessibleFault, match="give a KmsKeyId of this account"):
        await other("RestoreDBClusterFromSnapshot", **restore)
    restored = (await other("RestoreDBClusterFromSnapshot", **restore, KmsKeyId="own"))["DBCluster"]
    assert restored["KmsKeyId"] == f"arn:aws:kms:{HERE}:{OTHER}:key/own"
    await other.becomes("DBCluster", "beta", "available")
