"""DescribeEvents and DescribeEventCategories, and the events that operations leave."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from stilldb.control import events
from stilldb.domain.resources import Cluster, Event
from stilldb.domain.volumes import Notice, VolumeKey
from support.api import ARN, TwinApi, filtered

MINUTE = datetime.timedelta(minutes=1)


async def messages(api: TwinApi, **params: Any) -> list[str]:
    return [event["Message"] for event in (await api("DescribeEvents", **params))["Events"]]


async def test_the_life_of_a_cluster_its_instance_and_a_snapshot(api: TwinApi) -> None:
    await api.cluster()
    await api.instance()
    await api.snapshot("one")
    await api("DeleteDBClusterSnapshot", DBClusterSnapshotIdentifier="one")
    await api.becomes("DBClusterSnapshot", "one", "gone")
    await api("DeleteDBInstance", DBInstanceIdentifier="alpha-1")
    await api.becomes("DBInstance", "alpha-1", "gone")
    await api("DeleteDBCluster", DBClusterIdentifier="alpha", SkipFinalSnapshot=True)
    await api.becomes("DBCluster", "alpha", "gone")
    assert await messages(api) == [
        "DB cluster created",
        "DB instance created",
        "Creating manual cluster snapshot",
        "Manual cluster snapshot created",
        "Manual cluster snapshot deleted. 16 bytes were freed.",
        "DB instance deleted",
        "DB cluster deleted",
    ]
    first = (await api("DescribeEvents"))["Events"][0]
    date = first.pop("Date")
    assert abs(date - datetime.datetime.now(datetime.UTC)) < MINUTE
    assert first == {
        "SourceIdentifier": "alpha",
        "SourceType": "db-cluster",
        "Message": "DB cluster created",
        "EventCategories": ["creation"],
        "SourceArn": f"{ARN}cluster:alpha",
    }


async def test_what_is_asked_for(api: TwinApi) -> None:
    await api.cluster("alpha")
    await api.cluster("beta")
    await api.snapshot("one")
    assert await messages(api, SourceType="db-cluster", SourceIdentifier="BETA") == ["DB cluster created"]
    assert len(await messages(api, SourceType="db-cluster-snapshot")) == 2
    assert len(await messages(api, EventCategories=["creation", "failure"])) == 2
    assert await messages(api, EventCategories=["failover"]) == []
    assert await messages(api, SourceType="db-cluster", SourceIdentifier="none") == []
    assert len(await messages(api, **filtered("engine", "docdb"))) == 4
    assert await messages(api, **filtered("engine", "neptune")) == []
    now = datetime.datetime.now(datetime.UTC)
    assert len(await messages(api, StartTime=now - MINUTE, EndTime=now + MINUTE)) == 4
    assert await messages(api, StartTime=now - 2 * MINUTE, EndTime=now - MINUTE) == []
    assert len(await messages(api, Duration=1)) == 4


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"SourceIdentifier": "x"}, "InvalidParameterCombination", "SourceIdentifier needs SourceType"),
        ({"SourceType": "cluster"}, "InvalidParameterValue", "Invalid source type: cluster"),
        ({"Duration": 0}, "InvalidParameterValue", "Invalid duration: 0"),
        (
            {"Duration": 5, "StartTime": datetime.datetime(2026, 3, 1)},
            "InvalidParameterCombination",
            "exclude each other",
        ),
        (
            {"StartTime": datetime.datetime(2026, 3, 2), "EndTime": datetime.datetime(2026, 3, 1)},
            "InvalidParameterCombination",
            "must not be before",
        ),
        ({"MaxRecords": 19}, "InvalidParameterValue", "Must be between 20 and 100"),
        ({"Marker": "x"}, "InvalidParameterValue", "The request token is invalid."),
        (filtered("region", "x"), "InvalidParameterValue", "Unrecognized filter name: region"),
    ],
)
async def test_faults(api: TwinApi, params: dict[str, Any], code: str, message: str) -> None:
    status, got, told = await api.fault("DescribeEvents", **params)
    assert (status, got) == (400, code)
    assert message in told


async def test_pages_in_the_order_of_time(api: TwinApi) -> None:
    control = api.plane.control
    await api.cluster()

    def many(tx: Any) -> None:
        cluster = tx.get(Cluster, "alpha")
        for number in range(45):
            events.record(tx, control, cluster, "notification" if number % 3 else "failure", f"e{number:02}")

    await control.store.run(many)
    found: list[str] = []
    marker: dict[str, str] = {}
    for size in (20, 20, 6):
        page = await api("DescribeEvents", MaxRecords=20, **marker)
        assert len(page["Events"]) == size
        found += [event["Message"] for event in page["Events"]]
        marker = {"Marker": page["Marker"]} if "Marker" in page else {}
    assert not marker
    assert found == ["DB cluster created", *(f"e{number:02}" for number in range(45))]
    failures = await messages(api, MaxRecords=20, EventCategories=["failure"])
    assert failures == [f"e{number:02}" for number in range(0, 45, 3)]


async def test_they_are_kept_for_14_days(api: TwinApi) -> None:
    control = api.plane.control
    now = datetime.datetime.now(datetime.UTC)
    for days in (20, 15, 13):
        control.now = lambda days=days: now - datetime.timedelta(days=days)
        cluster = Notice(VolumeKey("none", 1), "x", "x")
        assert not await events.note(control, cluster)
        await api.cluster(f"days-{days}")
    await control.store.run(lambda tx: events.expire(tx, now))
    kept = await control.store.run(lambda tx: tx.find(Event))
    assert [event.source_identifier for event in kept] == ["days-13"]


async def test_what_a_volume_tells_is_an_event_of_its_cluster(api: TwinApi) -> None:
    made = await api.cluster()
    key = VolumeKey(made["DbClusterResourceId"], 1)
    for category in ("gap", "store unavailable", "base backup", "backup failed"):
        assert await events.note(api.plane.control, Notice(key, category, f"about {category}"))
    told = (await api("DescribeEvents", SourceType="db-cluster", SourceIdentifier="alpha"))["Events"][1:]
    assert [event["EventCategories"] for event in told] == [
        ["failure"],
        ["notification"],
        ["backup"],
        ["failure"],
    ]
    assert told[0]["Message"] == "about gap"


async def test_categories(api: TwinApi) -> None:
    every = (await api("DescribeEventCategories"))["EventCategoriesMapList"]
    by_type = {entry["SourceType"]: entry["EventCategories"] for entry in every}
    assert by_type["db-cluster-snapshot"] == ["backup"]
    assert {"creation", "deletion", "failure", "notification"} <= set(by_type["db-cluster"])
    (one,) = (await api("DescribeEventCategories", SourceType="db-parameter-group"))["EventCategoriesMapList"]
    assert one["EventCategories"] == ["configuration change"]
    _, code, _ = await api.fault("DescribeEventCategories", SourceType="x")
    assert code == "InvalidParameterValue"
    listed = await api("DescribeEventCategories", **filtered("engine", "neptune"))
    assert listed["EventCategoriesMapList"] == []


async def test_a_restored_cluster_says_of_what(api: TwinApi) -> None:
    await api.cluster()
    await api.snapshot("one")
    asked = {"DBClusterIdentifier": "beta", "SnapshotIdentifier": "one", "Engine": "docdb"}
    await api("RestoreDBClusterFromSnapshot", **asked)
    await api.becomes("DBCluster", "beta", "available")
    told = await messages(api, SourceType="db-cluster", SourceIdentifier="beta")
    assert told == ["DB cluster created from the cluster snapshot one"]
