"""RestoreDBClusterToPointInTime, and the window that clusters show."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

from stilldb.control import reconcile
from stilldb.domain.resources import Cluster
from stilldb.domain.volumes import RestorableWindow, TimeTarget, VolumeKey
from support.api import ARN, TwinApi
from support.twins import until

HOUR = datetime.timedelta(hours=1)


async def restore(api: TwinApi, name: str = "beta", source: str = "alpha", **more: Any) -> dict[str, Any]:
    answer = await api(
        "RestoreDBClusterToPointInTime", DBClusterIdentifier=name, SourceDBClusterIdentifier=source, **more
    )
    return dict(answer["DBCluster"])


async def with_past(api: TwinApi, **more: Any) -> tuple[dict[str, Any], RestorableWindow]:
    """A cluster whose backups reach back three hours, with a gap in the second one."""
    made = await api.cluster("alpha", **more)
    now = api.plane.control.now().replace(microsecond=123456)
    archive = api.plane.volumes.archives[VolumeKey(made["DbClusterResourceId"], 1)]
    archive.since, archive.closed_at = now - 3 * HOUR, now
    archive.gaps = ((now - 2 * HOUR, now - HOUR),)
    return made, RestorableWindow(archive.since, now, archive.gaps)


async def test_the_answer_and_what_comes_from_where(api: TwinApi) -> None:
    _, window = await with_past(
        api, Port=27020, BackupRetentionPeriod=5, PreferredBackupWindow="01:00-02:00", DeletionProtection=True
    )
    api.plane.volumes.gates["restore"] = gate = asyncio.Event()
    time = window.latest - HOUR / 2
    made = await restore(api, RestoreToTime=time, Tags=[{"Key": "a", "Value": "b"}])
    assert (made["Status"], made["DBClusterMembers"], made["Port"]) == ("creating", [], 27017)
    assert (made["BackupRetentionPeriod"], made["PreferredBackupWindow"]) == (5, "01:00-02:00")
    assert (made["MasterUsername"], made["DeletionProtection"]) == ("keeper", False)
    assert not {"EarliestRestorableTime", "LatestRestorableTime", "KmsKeyId"} & set(made)
    await until(lambda: api.plane.control.progress)
    (seen,) = (await api("DescribeDBClusters", DBClusterIdentifier="beta"))["DBClusters"]
    assert seen["PercentProgress"] == "10"
    gate.set()
    await api.becomes("DBCluster", "beta", "available")
    key = VolumeKey(made["DbClusterResourceId"], 1)
    assert api.plane.volumes.restored[key] == TimeTarget(time)
    told = await api("DescribeEvents", SourceType="db-cluster", SourceIdentifier="beta")
    assert told["Events"][0]["Message"].startswith("DB cluster created from alpha as of 20")


async def test_the_latest_by_arn_and_a_recovery_of_a_recovery(api: TwinApi) -> None:
    _, window = await with_past(api)
    first = await restore(api, source=f"{ARN}cluster:alpha", UseLatestRestorableTime=True, Port=27021)
    assert first["Port"] == 27021
    restored = api.plane.volumes.restored
    await api.becomes("DBCluster", "beta", "available")
    assert restored[VolumeKey(first["DbClusterResourceId"], 1)] == TimeTarget(window.latest)
    second = await restore(api, "gamma", "beta", UseLatestRestorableTime=True)
    await api.becomes("DBCluster", "gamma", "available")
    target = restored[VolumeKey(second["DbClusterResourceId"], 1)]
    assert isinstance(target, TimeTarget)
    assert target.time > window.latest


async def test_clones(api: TwinApi) -> None:
    await with_past(api)
    clone = {"RestoreType": "copy-on-write", "UseLatestRestorableTime": True}
    made = await restore(api, **clone)
    await api.becomes("DBCluster", "beta", "available")
    assert api.plane.volumes.restored[VolumeKey(made["DbClusterResourceId"], 1)] == "clone"
    api.plane.volumes.shares_blocks = False
    await restore(api, "gamma", **clone)
    await api.becomes("DBCluster", "gamma", "migration-failed")
    told = await api("DescribeEvents", EventCategories=["failure"])
    assert "can't share blocks" in told["Events"][-1]["Message"]


async def test_a_cluster_is_not_deleted_under_a_clone_of_it(api: TwinApi) -> None:
    made, _ = await with_past(api)
    api.plane.volumes.gates["clone"] = gate = asyncio.Event()
    await restore(api, RestoreType="copy-on-write", UseLatestRestorableTime=True)
    await api("DeleteDBCluster", DBClusterIdentifier="alpha", SkipFinalSnapshot=True)
    await asyncio.sleep(0.1)
    assert VolumeKey(made["DbClusterResourceId"], 1) in api.plane.volumes.volumes
    gate.set()
    await api.becomes("DBCluster", "beta", "available")
    await api.becomes("DBCluster", "alpha", "gone")


async def test_a_moment_outside_the_window_or_in_a_gap_is_refused_with_what_there_is(api: TwinApi) -> None:
    _, window = await with_past(api)
    for time in (
        window.earliest - HOUR / 60,
        window.earliest + 1.5 * HOUR,
        window.latest + HOUR / 60,
    ):
        status, code, message = await api.fault(
            "RestoreDBClusterToPointInTime",
            DBClusterIdentifier="beta",
            SourceDBClusterIdentifier="alpha",
            RestoreToTime=time,
        )
        assert (status, code) == (400, "InvalidParameterValue")
        assert message.startswith("The cluster alpha can't be restored to 20")
        spans = message.partition("a time from ")[2].rstrip(".").split(", and from ")
        assert len(spans) == 2
        for moment in [
            edge for span in spans for edge in span.split(" to ")
        ]:  # every one that is told is good
            assert window.holds(datetime.datetime.fromisoformat(moment))
    assert len((await api("DescribeDBClusters"))["DBClusters"]) == 1


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({}, "InvalidParameterCombination", "exactly one of RestoreToTime and UseLatestRestorableTime"),
        (
            {"UseLatestRestorableTime": True, "RestoreToTime": datetime.datetime(2026, 3, 1)},
            "InvalidParameterCombination",
            "exactly one",
        ),
        (
            {"RestoreType": "copy-on-write", "RestoreToTime": datetime.datetime(2026, 3, 1)},
            "InvalidParameterCombination",
            "a clone of the present",
        ),
        ({"RestoreType": "half-copy", "UseLatestRestorableTime": True}, "InvalidParameterValue", "half-copy"),
        (
            {"SourceDBClusterIdentifier": "none", "UseLatestRestorableTime": True},
            "DBClusterNotFoundFault",
            "DBCluster none not found.",
        ),
        (
            {"DBClusterIdentifier": "alpha", "UseLatestRestorableTime": True},
            "DBClusterAlreadyExistsFault",
            "already exists",
        ),
        (
            {"UseLatestRestorableTime": True, "KmsKeyId": "own"},
            "InvalidParameterCombination",
            "is not encrypted",
        ),
        ({"UseLatestRestorableTime": True, "Port": 80}, "InvalidParameterValue", "out of range"),
        (
            {"UseLatestRestorableTime": True, "EnableCloudwatchLogsExports": ["audit"]},
            "InvalidParameterCombination",
            "not available",
        ),
    ],
)
async def test_faults(api: TwinApi, params: dict[str, Any], code: str, message: str) -> None:
    await with_past(api)
    asked = {"DBClusterIdentifier": "beta", "SourceDBClusterIdentifier": "alpha", **params}
    _, got, told = await api.fault("RestoreDBClusterToPointInTime", **asked)
    assert got == code
    assert message in told


async def test_a_source_without_a_finished_backup(api: TwinApi) -> None:
    await api.cluster()
    api.plane.volumes.archives.clear()
    asked = {"DBClusterIdentifier": "beta", "SourceDBClusterIdentifier": "alpha"}
    _, code, message = await api.fault("RestoreDBClusterToPointInTime", **asked, UseLatestRestorableTime=True)
    assert code == "InvalidRestoreFault"
    assert "no finished backup" in message


async def test_a_source_that_is_being_made(api: TwinApi) -> None:
    await with_past(api)
    api.plane.volumes.gates["restore"] = asyncio.Event()
    await restore(api, UseLatestRestorableTime=True)
    asked = {"DBClusterIdentifier": "gamma", "SourceDBClusterIdentifier": "beta"}
    _, code, message = await api.fault("RestoreDBClusterToPointInTime", **asked, UseLatestRestorableTime=True)
    assert code == "InvalidDBClusterStateFault"
    assert "expected it to be one of available,stopped" in message


async def test_the_window_shows_and_a_listing_asks_no_volume(api: TwinApi) -> None:
    made, window = await with_past(api)
    assert "LatestRestorableTime" not in made
    await reconcile._maintain_one(api.plane.control, (await _row(api)))
    asked = api.plane.volumes.looked_at_windows
    (seen,) = (await api("DescribeDBClusters"))["DBClusters"]
    shown = window.shown()
    assert (seen["EarliestRestorableTime"], seen["LatestRestorableTime"]) == (shown.earliest, shown.latest)
    await api.instance()
    (instance,) = (await api("DescribeDBInstances"))["DBInstances"]
    assert instance["LatestRestorableTime"] == shown.latest
    assert api.plane.volumes.looked_at_windows == asked
    await restore(api, RestoreToTime=seen["EarliestRestorableTime"])  # what is shown can be asked for


async def _row(api: TwinApi) -> Any:
    return await api.plane.store.run(lambda tx: tx.get(Cluster, "alpha"))


async def test_modify_retention_and_window(api: TwinApi) -> None:
    await api.cluster(PreferredMaintenanceWindow="sun:05:00-sun:05:30")
    await api(
        "ModifyDBCluster",
        DBClusterIdentifier="alpha",
        BackupRetentionPeriod=35,
        PreferredBackupWindow="02:00-02:30",
        ApplyImmediately=True,
    )
    (seen,) = (await api("DescribeDBClusters"))["DBClusters"]
    assert (seen["BackupRetentionPeriod"], seen["PreferredBackupWindow"]) == (35, "02:00-02:30")
    for params, code in (
        ({"BackupRetentionPeriod": 0}, "InvalidParameterValue"),
        ({"BackupRetentionPeriod": 36}, "InvalidParameterValue"),
        ({"PreferredBackupWindow": "02:00-02:10"}, "InvalidParameterValue"),
        ({"PreferredBackupWindow": "04:45-05:15"}, "InvalidParameterValue"),
        ({}, "InvalidParameterCombination"),
        ({"Port": 1}, "InvalidParameterCombination"),
    ):
        assert (await api.fault("ModifyDBCluster", DBClusterIdentifier="alpha", **params))[1] == code
    (same,) = (await api("DescribeDBClusters"))["DBClusters"]
    assert same == seen


async def test_a_store_that_does_not_tell_the_window(api: TwinApi) -> None:
    await with_past(api)
    api.plane.volumes.failing["window"] = 100
    asked = {"DBClusterIdentifier": "beta", "SourceDBClusterIdentifier": "alpha"}
    status, code, message = await api.fault(
        "RestoreDBClusterToPointInTime", **asked, UseLatestRestorableTime=True
    )
    assert (status, code) == (503, "ServiceUnavailable")
    assert message.startswith("The backups of alpha can't be asked now: window was made to fail")
    assert len((await api("DescribeDBClusters"))["DBClusters"]) == 1
