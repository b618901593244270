"""CopyDBClusterSnapshot: of one's own, of automated and shared ones, across regions, under another key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stilldb.control.context import Quotas
from stilldb.control.snapshots import AUTOMATED, begin
from stilldb.domain import faults
from stilldb.domain.resources import Cluster, Job, Snapshot
from support.callers import Caller, caller
from support.twins import Plane, plane, until

MINE, OTHER = "123456789012", "999999999999"
HERE, THERE = "us-east-1", "eu-west-1"


@pytest.fixture
async def running() -> AsyncIterator[Plane]:
    async with plane(Quotas(manual_snapshots=12), regions=(HERE, THERE), accounts=(MINE, OTHER)) as it:
        yield it


@pytest.fixture
def mine(running: Plane) -> Caller:
    return caller(running, MINE, HERE)


async def copy(of: Caller, source: str, target: str = "two", **more: Any) -> dict[str, Any]:
    asked = {"SourceDBClusterSnapshotIdentifier": source, "TargetDBClusterSnapshotIdentifier": target}
    return dict((await of("CopyDBClusterSnapshot", **asked, **more))["DBClusterSnapshot"])


async def tags(of: Caller, arn: str) -> dict[str, str]:
    listed = (await of("ListTagsForResource", ResourceName=arn))["TagList"]
    return {tag["Key"]: tag["Value"] for tag in listed}


async def test_a_copy_is_copying_then_available_with_every_field(running: Plane, mine: Caller) -> None:
    await mine.cluster(Port=27020)
    arn = await mine.snapshot()
    running.volumes.gates["copy"] = gate = asyncio.Event()
    made = await copy(mine, "ONE", "Two")
    (source,) = (await mine("DescribeDBClusterSnapshots", DBClusterSnapshotIdentifier="one"))[
        "DBClusterSnapshots"
    ]
    changed = {
        "DBClusterSnapshotIdentifier": "two",
        "DBClusterSnapshotArn": arn.replace(":one", ":two"),
        "SourceDBClusterSnapshotArn": arn,
        "Status": "copying",
        "PercentProgress": 0,
        "SnapshotCreateTime": made["SnapshotCreateTime"],
    }
    assert made == {**source, **changed}
    assert made["SnapshotCreateTime"] > source["SnapshotCreateTime"]
    await until(lambda: running.control.progress)
    (seen,) = (await mine("DescribeDBClusterSnapshots", DBClusterSnapshotIdentifier="two"))[
        "DBClusterSnapshots"
    ]
    assert (seen["Status"], seen["PercentProgress"]) == ("copying", 40)
    gate.set()
    ready = await mine.becomes("DBClusterSnapshot", "two", "available")
    assert ready == {**made, "Status": "available", "PercentProgress": 100}
    assert not running.control.progress


async def test_it_restores_after_its_source_is_gone(running: Plane, mine: Caller) -> None:
    await mine.cluster(Port=27020)
    await mine.snapshot()
    await copy(mine, "one")
    await mine.becomes("DBClusterSnapshot", "two", "available")
    await mine("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="one")
    await mine.becomes("DBClusterSnapshot", "one", "gone")
    asked = {"DBClusterIdentifier": "beta", "SnapshotIdentifier": "two", "Engine": "docdb"}
    assert (await mine("RestoreDBClusterFromSnapshot", **asked))["DBCluster"]["Port"] == 27020
    await mine.becomes("DBCluster", "beta", "available")


async def test_an_automated_one_becomes_manual(running: Plane, mine: Caller) -> None:
    await mine.cluster()
    name = "rds:alpha-2026-03-01-03-00"

    def take(tx: Any) -> None:
        begin(tx, running.control, name, tx.get(Cluster, "alpha"), {}, AUTOMATED)

    await running.store.run(take)
    running.control.wake()
    await mine.becomes("DBClusterSnapshot", name, "available")
    made = await copy(mine, f"arn:aws:rds:{HERE}:{MINE}:cluster-snapshot:{name}")
    assert (made["SnapshotType"], made["SourceDBClusterSnapshotArn"][-len(name) :]) == ("manual", name)
    await mine.becomes("DBClusterSnapshot", "two", "available")


async def test_tags(mine: Caller) -> None:
    await mine.cluster()
    arn = await mine.snapshot()
    await mine("AddTagsToResource", ResourceName=arn, Tags=[{"Key": "a", "Value": "1"}])
    given = [{"Key": "b", "Value": "2"}]
    wanted = {"plain": {}, "copied": {"a": "1"}, "given": {"b": "2"}, "both": {"b": "2"}}
    for name, params in (
        ("plain", {}),
        ("copied", {"CopyTags": True}),
        ("given", {"Tags": given}),
        ("both", {"CopyTags": True, "Tags": given}),
    ):
        made = await copy(mine, "one", name, **params)
        assert await tags(mine, made["DBClusterSnapshotArn"]) == wanted[name], name


async def test_across_regions_the_objects_move(running: Plane, mine: Caller) -> None:
    await mine.cluster()
    arn = await mine.snapshot()
    there = caller(running, MINE, THERE)
    with pytest.raises(faults.DBClusterSnapshotNotFoundFault):
        await copy(there, "one")
    url = f"https://rds.{HERE}.amazonaws.com/?Action=CopyDBClusterSnapshot&SourceDBClusterSnapshotIdentifier={arn}"
    made = await copy(there, arn, PreSignedUrl=url, CopyTags=True)
    assert made["DBClusterSnapshotArn"] == f"arn:aws:rds:{THERE}:{MINE}:cluster-snapshot:two"
    assert made["AvailabilityZones"] == [f"{THERE}{letter}" for letter in "abc"]
    assert made["SourceDBClusterSnapshotArn"] == arn
    await there.becomes("DBClusterSnapshot", "two", "available")
    await mine("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="one")
    await mine.becomes("DBClusterSnapshot", "one", "gone")
    asked = {"DBClusterIdentifier": "beta", "SnapshotIdentifier": "two", "Engine": "docdb"}
    restored = (await there("RestoreDBClusterFromSnapshot", **asked))["DBCluster"]
    assert restored["AvailabilityZones"] == [f"{THERE}{letter}" for letter in "abc"]
    await there.becomes("DBCluster", "beta", "available")
    for wrong in ("https://x/?Action=DeleteDBCluster", url.replace(":one", ":none"), "nonsense"):
        with pytest.raises(faults.InvalidParameterValue, match="PreSignedUrl could not be authenticated"):
            await copy(there, arn, "three", PreSignedUrl=wrong)


async def test_at_most_five_at_once_across_regions(running: Plane, mine: Caller) -> None:
    await mine.cluster()
    arn = await mine.snapshot()
    there = caller(running, MINE, THERE)
    running.controls.volumes[THERE].gates["copy"] = gate = asyncio.Event()  # type: ignore[attr-defined]
    for number in range(5):
        await copy(there, arn, f"c{number}")
    with pytest.raises(
        faults.SnapshotQuotaExceeded, match="Cannot copy more than 5 snapshots across regions"
    ):
        await copy(there, arn, "c5")
    gate.set()
    await there.becomes("DBClusterSnapshot", "c4", "available")


async def test_deleting_the_target_cancels(running: Plane, mine: Caller) -> None:
    await mine.cluster()
    await mine.snapshot()
    running.volumes.gates["copy"] = asyncio.Event()
    await copy(mine, "one")
    await mine("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="two")
    await mine.becomes("DBClusterSnapshot", "two", "gone")
    assert len(running.volumes.published) == 1
    assert await running.store.run(lambda tx: tx.count(Job)) == 0
    events = (await mine("DescribeEvents", SourceType="db-cluster-snapshot", SourceIdentifier="two"))[
        "Events"
    ]
    assert [event["Message"].split(" of ")[0] for event in events] == [
        "Started copy",
        "Canceled copy",
        "Manual cluster snapshot deleted. 0 bytes were freed.",
    ]


async def test_a_source_under_a_copy_is_freed_after_it(running: Plane, mine: Caller) -> None:
    await mine.cluster()
    await mine.snapshot()
    running.volumes.gates["copy"] = gate = asyncio.Event()
    await copy(mine, "one")
    await mine("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="one")
    await asyncio.sleep(0.1)
    assert running.volumes.published
    gate.set()
    await mine.becomes("DBClusterSnapshot", "two", "available")
    await mine.becomes("DBClusterSnapshot", "one", "gone")


async def test_one_that_keeps_failing_shows_failed_and_can_be_deleted(running: Plane, mine: Caller) -> None:
    await mine.cluster()
    await mine.snapshot()
    running.volumes.failing["copy"] = 100
    await copy(mine, "one")
    await mine.becomes("DBClusterSnapshot", "two", "failed")
    row = await running.store.run(lambda tx: tx.get(Snapshot, "two"))
    assert "copy was made to fail" in row.status_reason
    await mine("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="two")
    await mine.becomes("DBClusterSnapshot", "two", "gone")


async def test_faults(running: Plane, mine: Caller) -> None:
    await mine.cluster()
    await mine.snapshot()
    for source, target, fault, message in (
        ("none", "two", faults.DBClusterSnapshotNotFoundFault, "DBClusterSnapshot not found: none"),
        (
            "one",
            "ONE",
            faults.DBClusterSnapshotAlreadyExistsFault,
            "one with the identifier one already exists",
        ),
        ("one", "1", faults.InvalidParameterValue, "Invalid snapshot identifier:  1"),
        ("arn:aws:rds:x", "two", faults.InvalidParameterValue, "Invalid resource name:  arn:aws:rds:x"),
    ):
        with pytest.raises(fault, match=message):
            await copy(mine, source, target)
    running.volumes.gates["copy"] = gate = asyncio.Event()
    await copy(mine, "one")
    with pytest.raises(faults.InvalidDBClusterSnapshotStateFault, match="is in status copying"):
        await copy(mine, "two", "three")
    asked = {"DBClusterIdentifier": "beta", "SnapshotIdentifier": "two", "Engine": "docdb"}
    with pytest.raises(faults.InvalidDBClusterSnapshotStateFault, match="is in status copying"):
        await mine("RestoreDBClusterFromSnapshot", **asked)
    gate.set()
    for number in range(10):
        await copy(mine, "one", f"c{number}")
    with pytest.raises(faults.SnapshotQuotaExceeded, match="Cannot create more than 12 manual snapshots"):
        await copy(mine, "one", "thirteenth")


async def test_a_restart_resumes_it(running: Plane, mine: Caller) -> None:
    await mine.cluster()
    await mine.snapshot()
    running.volumes.gates["copy"] = gate = asyncio.Event()
    await copy(mine, "one")
    await until(lambda: running.control.progress)
    await running.restart()
    gate.set()
    await mine.becomes("DBClusterSnapshot", "two", "available")


async def test_another_key(running: Plane, mine: Caller) -> None:
    await mine.cluster(StorageEncrypted=True, KmsKeyId="own")
    arn = await mine.snapshot()
    prefix = f"arn:aws:kms:{HERE}:{MINE}:key/"
    assert (await copy(mine, "one", "same"))["KmsKeyId"] == f"{prefix}own"
    made = await copy(mine, "one", "other", KmsKeyId="default")
    assert (made["StorageEncrypted"], made["KmsKeyId"]) == (True, f"{prefix}default")
    await mine.becomes("DBClusterSnapshot", "other", "available")
    running.control.kms.closed.add(f"{prefix}own")  # type: ignore[attr-defined]
    asked = {"DBClusterIdentifier": "beta", "Engine": "docdb"}
    with pytest.raises(faults.KMSKeyNotAccessibleFault, match="The source snapshot KMS key"):
        await mine("RestoreDBClusterFromSnapshot", SnapshotIdentifier="one", **asked)
    with pytest.raises(faults.KMSKeyNotAccessibleFault, match="The source snapshot KMS key"):
        await copy(mine, "one", "again", KmsKeyId="default")
    restored = await mine("RestoreDBClusterFromSnapshot", SnapshotIdentifier="other", **asked)
    assert restored["DBCluster"]["KmsKeyId"] == f"{prefix}default"
    with pytest.raises(faults.KMSKeyNotAccessibleFault, match="Specified KMS key"):
        await copy(mine, "other", "again", KmsKeyId="none")
    there = caller(running, MINE, THERE)
    with pytest.raises(faults.InvalidParameterValue, match="Must specify new KMS key for cross region"):
        await copy(there, arn)
    with pytest.raises(faults.KMSKeyNotAccessibleFault):
        await copy(there, arn, KmsKeyId=f"{prefix}default")
    made = await copy(there, arn.replace(":one", ":other"), KmsKeyId="own")
    assert made["KmsKeyId"] == f"arn:aws:kms:{THERE}:{MINE}:key/own"


async def test_a_plain_one_takes_no_key(mine: Caller) -> None:
    await mine.cluster()
    await mine.snapshot()
    with pytest.raises(faults.InvalidParameterCombination, match="is not encrypted"):
        await copy(mine, "one", KmsKeyId="own")
