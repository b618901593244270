"""StopDBCluster and StartDBCluster, and what a stopped cluster refuses."""

from __future__ import annotations

import asyncio

from support.api import TwinApi
from support.twins import until

ALPHA = {"DBClusterIdentifier": "alpha"}


async def stopped(api: TwinApi) -> None:
    await api.cluster()
    await api.instance()
    answer = await api("StopDBCluster", **ALPHA)
    assert answer["DBCluster"]["Status"] == "available", "the state before the call, as on AWS"
    await api.becomes("DBCluster", "alpha", "stopped")


async def test_stopped_and_started_again(api: TwinApi) -> None:
    await stopped(api)
    (volume,) = api.plane.volumes.volumes.values()
    assert not volume.holders
    assert not api.plane.gateways.endpoints
    await api.becomes("DBInstance", "alpha-1", "stopped")
    await asyncio.sleep(0.7)  # a look of the reconciler brings nothing up
    assert not volume.holders
    answer = await api("StartDBCluster", **ALPHA)
    assert answer["DBCluster"]["Status"] == "stopped"
    await api.becomes("DBCluster", "alpha", "available")
    await api.becomes("DBInstance", "alpha-1", "available")
    assert volume.holders
    told = [event["Message"] for event in (await api("DescribeEvents"))["Events"]]
    assert told[2:] == ["DB cluster stopped", "DB cluster started", "DB instance restarted"]


async def test_a_restart_of_the_control_plane_leaves_it_stopped(api: TwinApi) -> None:
    await stopped(api)
    await api.plane.restart()
    await asyncio.sleep(0.2)
    await api.becomes("DBCluster", "alpha", "stopped")
    assert not api.plane.gateways.endpoints


async def test_a_stop_that_is_interrupted_goes_on(api: TwinApi) -> None:
    await api.cluster()
    await api.instance()
    api.plane.volumes.gates["release"] = gate = asyncio.Event()
    await api("StopDBCluster", **ALPHA)
    await api.plane.restart()
    gate.set()
    await api.becomes("DBCluster", "alpha", "stopped")
    await api.becomes("DBInstance", "alpha-1", "stopped")


async def test_a_stop_that_keeps_failing_runs_on(api: TwinApi) -> None:
    await api.cluster()
    await api.instance()
    api.plane.volumes.failing["release"] = 4
    await api("StopDBCluster", **ALPHA)

    async def told() -> bool:
        listed = (await api("DescribeEvents", EventCategories=["failure"]))["Events"]
        return [event["Message"] for event in listed] == ["DB cluster not stopped: release was made to fail"]

    await until(told)
    await api.becomes("DBCluster", "alpha", "available")
    await api.becomes("DBInstance", "alpha-1", "available")


async def test_what_a_stopped_cluster_refuses(api: TwinApi) -> None:
    await stopped(api)
    for operation, params, code, message in (
        (
            "CreateDBClusterSnapshot",
            {**ALPHA, "DBClusterSnapshotIdentifier": "one"},
            "InvalidDBClusterStateFault",
            "Can't create a snapshot because the database cluster alpha isn't currently in the available state.",
        ),
        ("StopDBCluster", ALPHA, "InvalidDBClusterStateFault", "is in stopped state but expected"),
        (
            "ModifyDBCluster",
            {**ALPHA, "BackupRetentionPeriod": 2},
            "InvalidDBClusterStateFault",
            "is in stopped state",
        ),
        ("DeleteDBInstance", {"DBInstanceIdentifier": "alpha-1"}, "InvalidDBInstanceState", "stopped state"),
        (
            "DeleteDBCluster",
            {**ALPHA, "SkipFinalSnapshot": True},
            "InvalidDBClusterStateFault",
            "it still contains DB instances",
        ),
    ):
        _, got, told = await api.fault(operation, **params)
        assert got == code, operation
        assert message in told
    await api(
        "RestoreDBClusterToPointInTime",
        DBClusterIdentifier="beta",
        SourceDBClusterIdentifier="alpha",
        UseLatestRestorableTime=True,
    )
    await api.becomes("DBCluster", "beta", "available")


async def test_states_that_forbid_it(api: TwinApi) -> None:
    assert (await api.fault("StopDBCluster", **ALPHA))[1] == "DBClusterNotFoundFault"
    await api.cluster()
    assert (await api.fault("StopDBCluster", **ALPHA))[1:] == (
        "InvalidDBClusterStateFault",
        "The cluster alpha has no instance, so there is nothing to stop.",
    )
    assert (await api.fault("StartDBCluster", **ALPHA))[1:] == (
        "InvalidDBClusterStateFault",
        "DbCluster alpha is in available state but expected it to be one of "
        "stopped,inaccessible-encryption-credentials-recoverable.",
    )
