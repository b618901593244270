"""The use cases on in-memory twins: statuses move by real work, faults come before anything changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stilldb.control import (
    clusters,
    deletions,
    instances,
    jobs,
    reconcile,
    restores,
    sharing,
    snapshots,
    tags,
)
from stilldb.control.clusters import NewCluster
from stilldb.control.context import Quotas
from stilldb.control.instances import NewInstance
from stilldb.control.views import ClusterView, Page
from stilldb.domain import faults
from stilldb.domain.names import Place
from stilldb.domain.resources import Cluster, Instance, Job, Snapshot, Tag
from stilldb.domain.volumes import VolumeError
from support.twins import Plane, plane, until

ONE = Place("123456789012", "us-east-1", "one")


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    monkeypatch.setattr(jobs, "FIRST_DELAY", 0.005)
    async with plane(Quotas(clusters=3, manual_snapshots=3)) as it:
        yield it


async def new_cluster(p: Plane, name: str = "alpha", **more: Any) -> ClusterView:
    return await clusters.create(
        p.control,
        NewCluster(identifier=name, **more),
        username="keeper",
        password="long-enough!",
    )


async def status(p: Plane, kind: type, name: str) -> str:
    row = await p.store.run(lambda tx: tx.get(kind, name))
    return "gone" if row is None else str(row.status)


async def reaches(p: Plane, kind: type, name: str, wanted: str) -> None:
    async def there() -> bool:
        return await status(p, kind, name) == wanted

    await until(there)


async def ready_cluster(p: Plane, name: str = "alpha", **more: Any) -> None:
    await new_cluster(p, name, **more)
    await reaches(p, Cluster, name, "available")
    await instances.create(
        p.control,
        NewInstance(identifier=f"{name}-1", cluster_identifier=name, instance_class="db.r6g.large"),
    )
    await reaches(p, Instance, f"{name}-1", "available")


async def snap(p: Plane, name: str = "one", cluster: str = "alpha", **given: str) -> Snapshot:
    return await snapshots.create(p.control, identifier=name, cluster_identifier=cluster, given_tags=given)


async def test_a_cluster_is_creating_until_its_volume_is_made(running: Plane) -> None:
    running.volumes.gates["create"] = gate = asyncio.Event()
    view = await new_cluster(running)
    assert view.cluster.status == "creating"
    await asyncio.sleep(0.05)
    assert await status(running, Cluster, "alpha") == "creating"
    gate.set()
    await reaches(running, Cluster, "alpha", "available")
    assert view.cluster.volume in running.volumes.volumes
    assert await running.store.run(lambda tx: tx.count(Job)) == 0


async def test_the_password_is_nowhere_in_the_state(running: Plane) -> None:
    await new_cluster(running)
    cluster = await running.store.run(lambda tx: tx.get(Cluster, "alpha"))
    assert "long-enough!" not in repr(cluster)
    assert {v["mechanism"] for v in cluster.master_verifiers} == {"SCRAM-SHA-1", "SCRAM-SHA-256"}


async def test_a_create_that_keeps_failing_shows_failed_and_can_be_deleted(running: Plane) -> None:
    running.volumes.failing["create"] = 100
    await new_cluster(running)
    await reaches(running, Cluster, "alpha", "failed")
    row = await running.store.run(lambda tx: tx.get(Cluster, "alpha"))
    assert "made to fail" in row.status_reason
    await deletions.delete(running.control, "alpha", skip_final_snapshot=True, final_snapshot=None)
    await reaches(running, Cluster, "alpha", "gone")


async def test_a_create_that_fails_once_is_tried_again(running: Plane) -> None:
    running.volumes.failing["create"] = 1
    await new_cluster(running)
    await reaches(running, Cluster, "alpha", "available")


async def test_names_and_quota(running: Plane) -> None:
    await new_cluster(running)
    with pytest.raises(faults.DBClusterAlreadyExistsFault):
        await new_cluster(running)
    await new_cluster(running, "beta")
    await new_cluster(running, "gamma")
    with pytest.raises(faults.DBClusterQuotaExceededFault):
        await new_cluster(running, "delta")


async def test_without_an_address_the_fault_says_so(running: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    await new_cluster(running, "alpha")
    await reaches(running, Cluster, "alpha", "available")

    def none_free(port: int, taken: object) -> str:
        raise VolumeError("no free loopback address")

    monkeypatch.setattr(running.control.host, "free_address", none_free)
    with pytest.raises(faults.InvalidVPCNetworkStateFault, match="no free loopback address"):
        await new_cluster(running, "beta")
    with pytest.raises(faults.InsufficientDBInstanceCapacity, match="no free loopback address"):
        await instances.create(
            running.control,
            NewInstance(identifier="a1", cluster_identifier="alpha", instance_class="db.r6g.large"),
        )


async def test_an_instance_is_available_when_its_gateway_answers(running: Plane) -> None:
    running.gateways.broken = "not yet"
    await new_cluster(running)
    await reaches(running, Cluster, "alpha", "available")
    await instances.create(
        running.control,
        NewInstance(identifier="a1", cluster_identifier="alpha", instance_class="db.r6g.large"),
    )
    await asyncio.sleep(0.1)
    assert await status(running, Instance, "a1") == "creating"
    running.gateways.broken = None
    await reaches(running, Instance, "a1", "available")
    (endpoint,) = running.gateways.endpoints.values()
    cluster = await running.store.run(lambda tx: tx.get(Cluster, "alpha"))
    assert [address for address, _ in endpoint.listen][1:] == [cluster.address, cluster.reader_address]
    assert endpoint.master_user.name == "keeper"


async def test_a_second_instance_is_refused(running: Plane) -> None:
    await ready_cluster(running)
    with pytest.raises(faults.InsufficientDBInstanceCapacity):
        await instances.create(
            running.control,
            NewInstance(identifier="a2", cluster_identifier="alpha", instance_class="db.r6g.large"),
        )


async def test_a_snapshot_goes_from_creating_to_available_with_a_published_manifest(running: Plane) -> None:
    await ready_cluster(running)
    running.volumes.gates["publish"] = gate = asyncio.Event()
    made = await snap(running, team="blue")
    assert (made.status, made.percent_progress) == ("creating", 0)
    await asyncio.sleep(0.05)
    assert await status(running, Snapshot, "one") == "creating"
    gate.set()
    await reaches(running, Snapshot, "one", "available")
    assert made.snapshot_id in running.volumes.published
    listed = await tags.listed(running.control, "arn:aws:rds:us-east-1:123456789012:cluster-snapshot:one")
    assert listed == {"team": "blue"}


async def test_a_snapshot_of_a_cluster_without_instances_starts_the_volume_for_itself(running: Plane) -> None:
    await new_cluster(running)
    await reaches(running, Cluster, "alpha", "available")
    await snap(running)
    await reaches(running, Snapshot, "one", "available")
    (volume,) = running.volumes.volumes.values()
    await until(lambda: not volume.holders)


async def test_snapshot_faults(running: Plane) -> None:
    with pytest.raises(faults.DBClusterNotFoundFault):
        await snap(running)
    running.volumes.gates["create"] = gate = asyncio.Event()
    await new_cluster(running)
    with pytest.raises(faults.InvalidDBClusterStateFault, match="isn't currently in the available state"):
        await snap(running)
    gate.set()
    await reaches(running, Cluster, "alpha", "available")
    await snap(running)
    with pytest.raises(faults.DBClusterSnapshotAlreadyExistsFault):
        await snap(running)
    await snap(running, "two")
    await snap(running, "three")
    with pytest.raises(faults.SnapshotQuotaExceeded, match="Cannot create more than 3 manual snapshots"):
        await snap(running, "four")


async def test_of_concurrent_calls_with_one_name_exactly_one_wins(running: Plane) -> None:
    await ready_cluster(running)
    outcomes = await asyncio.gather(*(snap(running) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, Snapshot) for outcome in outcomes) == 1
    assert sum(isinstance(o, faults.DBClusterSnapshotAlreadyExistsFault) for o in outcomes) == 7
    await reaches(running, Snapshot, "one", "available")


async def test_a_snapshot_that_can_not_be_made_is_failed_with_the_reason_never_available(
    running: Plane,
) -> None:
    await ready_cluster(running)
    running.volumes.failing["verify"] = 100
    await snap(running)
    await reaches(running, Snapshot, "one", "failed")
    row = await running.store.run(lambda tx: tx.get(Snapshot, "one"))
    assert "verify was made to fail" in row.status_reason
    assert not running.volumes.published
    await snapshots.delete(running.control, "one")
    await reaches(running, Snapshot, "one", "gone")


@pytest.mark.parametrize("step", ["hold", "mark", "draft", "verify", "publish"])
async def test_a_restart_at_each_step_finishes_the_snapshot(running: Plane, step: str) -> None:
    await ready_cluster(running)
    running.volumes.gates[step] = gate = asyncio.Event()
    await snap(running)
    await asyncio.sleep(0.05)
    assert await status(running, Snapshot, "one") == "creating"
    await running.restart()
    gate.set()
    await reaches(running, Snapshot, "one", "available")
    assert len(running.volumes.marks) == 1, "the restore point that was kept is used, not a second one"


async def test_a_snapshot_can_not_be_deleted_while_it_is_made(running: Plane) -> None:
    await ready_cluster(running)
    running.volumes.gates["draft"] = gate = asyncio.Event()
    await snap(running)
    with pytest.raises(faults.InvalidDBClusterSnapshotStateFault):
        await snapshots.delete(running.control, "one")
    gate.set()
    await reaches(running, Snapshot, "one", "available")
    answer = await snapshots.delete(running.control, "one")
    assert answer.status == "available"
    await reaches(running, Snapshot, "one", "gone")
    assert not running.volumes.published
    with pytest.raises(faults.DBClusterSnapshotNotFoundFault):
        await snapshots.delete(running.control, "one")


async def test_restore_takes_settings_from_the_snapshot_and_has_no_instances(running: Plane) -> None:
    await ready_cluster(running, port=27020, deletion_protection=True)
    await snap(running)
    await reaches(running, Snapshot, "one", "available")
    view = await restores.from_snapshot(running.control, NewCluster(identifier="beta"), ONE)
    assert (view.cluster.status, view.members, view.cluster.port) == ("creating", (), 27020)
    assert view.cluster.master_username == "keeper"
    assert view.cluster.deletion_protection is False
    assert view.cluster.master_verifiers == ()
    await reaches(running, Cluster, "beta", "available")
    original = await running.store.run(lambda tx: tx.get(Cluster, "alpha"))
    assert view.cluster.resource_id != original.resource_id
    assert view.cluster.address != original.address


async def test_restore_faults(running: Plane) -> None:
    await ready_cluster(running)
    with pytest.raises(faults.DBClusterSnapshotNotFoundFault):
        await restores.from_snapshot(running.control, NewCluster(identifier="beta"), ONE)
    running.volumes.gates["draft"] = gate = asyncio.Event()
    await snap(running)
    with pytest.raises(faults.InvalidDBClusterSnapshotStateFault):
        await restores.from_snapshot(running.control, NewCluster(identifier="beta"), ONE)
    gate.set()
    await reaches(running, Snapshot, "one", "available")
    with pytest.raises(faults.DBClusterAlreadyExistsFault):
        await restores.from_snapshot(running.control, NewCluster(identifier="alpha"), ONE)
    with pytest.raises(faults.InvalidParameterCombination):
        await restores.from_snapshot(
            running.control, NewCluster(identifier="beta", engine_version="4.0.0"), ONE
        )


async def test_a_restore_that_fails_shows_migration_failed(running: Plane) -> None:
    await ready_cluster(running)
    await snap(running)
    await reaches(running, Snapshot, "one", "available")
    running.volumes.failing["restore"] = 100
    await restores.from_snapshot(running.control, NewCluster(identifier="beta"), ONE)
    await reaches(running, Cluster, "beta", "migration-failed")


async def test_a_snapshot_is_not_freed_under_a_restore_that_reads_it(running: Plane) -> None:
    await ready_cluster(running)
    await snap(running)
    await reaches(running, Snapshot, "one", "available")
    running.volumes.gates["restore"] = gate = asyncio.Event()
    await restores.from_snapshot(running.control, NewCluster(identifier="beta"), ONE)
    await snapshots.delete(running.control, "one")
    await asyncio.sleep(0.1)
    assert await status(running, Snapshot, "one") == "deleting"
    assert running.volumes.published
    gate.set()
    await reaches(running, Cluster, "beta", "available")
    await reaches(running, Snapshot, "one", "gone")


async def test_delete_cluster_with_a_final_snapshot(running: Plane) -> None:
    await ready_cluster(running)
    with pytest.raises(faults.InvalidDBClusterStateFault, match="still contains DB instances"):
        await deletions.delete(running.control, "alpha", skip_final_snapshot=True, final_snapshot=None)
    instance = await instances.delete(running.control, "alpha-1")
    await reaches(running, Instance, "alpha-1", "gone")
    assert running.control.host.forgotten == [instance.instance.resource_id]
    for skip, final in ((False, None), (True, "last")):
        with pytest.raises(faults.InvalidParameterCombination):
            await deletions.delete(running.control, "alpha", skip_final_snapshot=skip, final_snapshot=final)
    await deletions.delete(running.control, "alpha", skip_final_snapshot=False, final_snapshot="last")
    await reaches(running, Cluster, "alpha", "gone")
    assert await status(running, Snapshot, "last") == "available"
    assert not running.volumes.volumes
    listed = await sharing.listed(
        running.control, sharing.OWN, Page(100, None, {"cluster_identifier": ["alpha"]})
    )
    assert [view.identifier for view in listed] == ["last"]
    assert await running.store.run(lambda tx: tx.count(Tag)) == 0


async def test_a_final_name_that_is_taken_deletes_nothing(running: Plane) -> None:
    await new_cluster(running)
    await reaches(running, Cluster, "alpha", "available")
    await snap(running, "last")
    with pytest.raises(faults.DBClusterSnapshotAlreadyExistsFault):
        await deletions.delete(running.control, "alpha", skip_final_snapshot=False, final_snapshot="last")
    assert await status(running, Cluster, "alpha") == "available"


async def test_a_failed_final_snapshot_leaves_the_cluster(running: Plane) -> None:
    await new_cluster(running)
    await reaches(running, Cluster, "alpha", "available")
    running.volumes.failing["draft"] = 100
    await deletions.delete(running.control, "alpha", skip_final_snapshot=False, final_snapshot="last")
    await reaches(running, Cluster, "alpha", "available")
    assert running.volumes.volumes


async def test_deletion_protection_and_the_way_out(running: Plane) -> None:
    await new_cluster(running, deletion_protection=True)
    await reaches(running, Cluster, "alpha", "available")
    with pytest.raises(faults.InvalidParameterCombination, match="Cannot delete protected Cluster"):
        await deletions.delete(running.control, "alpha", skip_final_snapshot=True, final_snapshot=None)
    await clusters.modify(running.control, "alpha", deletion_protection=False)
    await deletions.delete(running.control, "alpha", skip_final_snapshot=True, final_snapshot=None)
    await reaches(running, Cluster, "alpha", "gone")


async def test_after_a_restart_available_is_observed_not_remembered(running: Plane) -> None:
    await ready_cluster(running)
    running.gateways.endpoints.clear()
    running.gateways.broken = "still starting"
    await running.restart()
    assert await status(running, Cluster, "alpha") == "starting"
    with pytest.raises(faults.InvalidDBClusterStateFault):
        await snap(running)
    running.gateways.broken = None
    await reaches(running, Instance, "alpha-1", "available")
    assert await status(running, Cluster, "alpha") == "available"


async def test_after_a_restart_the_volumes_are_told_which_snapshots_there_are(running: Plane) -> None:
    await ready_cluster(running)
    await snap(running)
    await reaches(running, Snapshot, "one", "available")
    running.volumes.expected.clear()
    await running.restart()
    (snapshot,) = await running.store.run(lambda tx: tx.find(Snapshot))
    assert running.volumes.expected == {(snapshot.volume, snapshot.snapshot_id)}


async def test_an_instance_that_dies_is_started_again(running: Plane) -> None:
    await ready_cluster(running)
    (key,) = running.volumes.volumes
    running.volumes.volumes[key].holders.clear()
    await reaches(running, Instance, "alpha-1", "starting")
    await reaches(running, Instance, "alpha-1", "available")
    assert running.volumes.volumes[key].holders


async def test_tags_of_resources(running: Plane) -> None:
    await new_cluster(running, tags={"a": "1"})
    arn = "arn:aws:rds:us-east-1:123456789012:cluster:alpha"
    await tags.add(running.control, arn, {"a": "2", "b": ""})
    assert await tags.listed(running.control, arn) == {"a": "2", "b": ""}
    await tags.remove(running.control, arn, ["a", "absent"])
    assert await tags.listed(running.control, arn) == {"b": ""}
    with pytest.raises(faults.DBClusterNotFoundFault):
        await tags.listed(running.control, arn + "x")
    with pytest.raises(faults.DBClusterSnapshotNotFoundFault):
        await tags.listed(running.control, arn.replace("cluster:", "cluster-snapshot:"))
    with pytest.raises(faults.InvalidParameterValue, match="does not match an RDS resource"):
        await tags.listed(running.control, arn.replace("us-east-1", "eu-west-1"))


async def test_copy_tags_to_snapshot(running: Plane) -> None:
    await new_cluster(running, tags={"a": "1"}, copy_tags_to_snapshot=True)
    await reaches(running, Cluster, "alpha", "available")
    await snap(running, "plain")
    await snap(running, "tagged", own="2")
    arn = "arn:aws:rds:us-east-1:123456789012:cluster-snapshot:"
    assert await tags.listed(running.control, arn + "plain") == {"a": "1"}
    assert await tags.listed(running.control, arn + "tagged") == {"own": "2"}


async def test_a_cluster_under_a_closed_key_runs_on(running: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    await new_cluster(running, storage_encrypted=True, kms_key_id="own")
    await reaches(running, Cluster, "alpha", "available")
    cluster = await running.store.run(lambda tx: tx.get(Cluster, "alpha"))
    fault = faults.KMSKeyNotAccessibleFault("it is closed")
    failed = asyncio.Event()

    async def closed(key: object, *, retention: object) -> None:
        failed.set()
        raise fault

    monkeypatch.setattr(running.volumes, "maintain", closed)
    monkeypatch.setattr(reconcile, "MAINTAIN_EVERY", 0.01)
    await reconcile._maintain_one(running.control, cluster)
    assert failed.is_set()
    assert await status(running, Cluster, "alpha") == "available"
