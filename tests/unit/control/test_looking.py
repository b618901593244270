"""Browsing, comparing and proving snapshots, on twins."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import AsyncIterator

import pytest

from stilldb.control import browsing, gauges
from stilldb.control.browsing import Browsing, LookNotFound, SnapshotNotReadable
from stilldb.control.proofs import Proofs
from stilldb.domain.faults import (
    DBClusterNotFoundFault,
    DBClusterSnapshotNotFoundFault,
    InvalidDBClusterSnapshotStateFault,
    InvalidParameterValue,
    KMSKeyNotAccessibleFault,
)
from stilldb.domain.proofs import Proof
from stilldb.domain.resources import Event, Snapshot, SnapshotStatus
from stilldb.domain.volumes import VolumeError
from stilldb.util.metrics import REGISTRY
from support import rows
from support.looks import MemoryLooks
from support.twins import Plane, plane, until

DAY = datetime.timedelta(days=1)


def snapshot(name: str, **changes: object) -> Snapshot:
    made = dataclasses.replace(
        rows.snapshot(),
        identifier=name,
        snapshot_id=f"snap-{name}",
        status=SnapshotStatus.AVAILABLE,
        percent_progress=100,
        settings={"port": 27123},
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def running() -> AsyncIterator[Plane]:
    async with plane() as made:
        await made.store.run(lambda tx: [tx.add(snapshot(name)) for name in ("old", "new")])
        yield made


@pytest.fixture
def looks(running: Plane) -> MemoryLooks:
    return MemoryLooks(running.control.now)


@pytest.fixture
async def browser(running: Plane, looks: MemoryLooks) -> AsyncIterator[Browsing]:
    made = Browsing(running.control, looks)
    await made.start()
    yield made
    await made.stop()
    assert not looks.open_
    assert not running.gateways.endpoints


def quiet(percent: int) -> None:
    pass


# -- browsing


async def test_a_snapshot_is_served_read_only_with_a_guest(
    running: Plane, looks: MemoryLooks, browser: Browsing
) -> None:
    look = await browser.open("old", port=None, progress=quiet)
    (endpoint,) = running.gateways.endpoints.values()
    assert endpoint.instance_id == look.look_id
    assert not endpoint.writer
    assert endpoint.postgres_host == "/scratch/snap-old"
    assert endpoint.listen == ((look.address, 27123),)
    assert endpoint.tls_certificate is not None
    assert endpoint.guest is not None
    assert endpoint.guest.name == look.username
    assert endpoint.master_user is None, "the data's own users are left as they are"
    assert look.password not in repr(look) + endpoint.to_json()
    other = await browser.open("old", port=4000, progress=quiet)
    assert (other.port, other.password != look.password) == (4000, True)
    await browser.close(look.look_id)
    assert list(looks.open_) == [other.look_id]
    with pytest.raises(LookNotFound):
        await browser.close(look.look_id)


async def test_a_look_that_is_not_renewed_is_closed(
    running: Plane, looks: MemoryLooks, browser: Browsing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "LEASE", 0.2)
    monkeypatch.setattr(browsing, "_SWEEP", 0.02)
    await asyncio.sleep(1.0)  # the sweep that began with the longer pause
    kept = await browser.open("old", port=None, progress=quiet)
    left = await browser.open("new", port=None, progress=quiet)

    async def only_one() -> bool:
        await browser.renew(kept.look_id)
        return list(looks.open_) == [kept.look_id]

    await until(only_one)
    assert list(running.gateways.endpoints) == [kept.look_id]
    with pytest.raises(LookNotFound):
        await browser.renew(left.look_id)


async def test_a_look_whose_gateway_died_tells_so(
    running: Plane, looks: MemoryLooks, browser: Browsing
) -> None:
    look = await browser.open("old", port=None, progress=quiet)
    running.gateways.endpoints.clear()
    with pytest.raises(LookNotFound, match="ended"):
        await browser.renew(look.look_id)
    assert not looks.open_


@pytest.mark.parametrize(
    ("trouble", "fault", "words"),
    [
        (VolumeError("needs 9 GB, 1 GB are free"), SnapshotNotReadable, "old can't be read: needs 9 GB"),
        (KMSKeyNotAccessibleFault("the key is disabled"), KMSKeyNotAccessibleFault, "the key is disabled"),
    ],
)
async def test_what_can_not_be_restored_is_told_and_leaves_nothing(
    looks: MemoryLooks, browser: Browsing, trouble: Exception, fault: type[Exception], words: str
) -> None:
    looks.trouble = trouble
    with pytest.raises(fault, match=words):
        await browser.open("old", port=None, progress=quiet)
    with pytest.raises(fault):
        await browser.diff("old", "new", examples=1, progress=quiet)
    assert not looks.open_


async def test_a_gateway_that_does_not_answer_leaves_nothing(
    running: Plane, looks: MemoryLooks, browser: Browsing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "READY_WITHIN", 0.1)
    running.gateways.broken = "no storage"
    with pytest.raises(SnapshotNotReadable, match="no storage"):
        await browser.open("old", port=None, progress=quiet)
    assert not looks.open_
    assert not running.gateways.endpoints


async def test_only_available_snapshots_are_read(running: Plane, browser: Browsing) -> None:
    await running.store.run(
        lambda tx: tx.add(snapshot("raw", status=SnapshotStatus.CREATING, percent_progress=0))
    )
    with pytest.raises(DBClusterSnapshotNotFoundFault, match="nothing"):
        await browser.open("nothing", port=None, progress=quiet)
    with pytest.raises(InvalidDBClusterSnapshotStateFault, match="creating"):
        await browser.open("raw", port=None, progress=quiet)


async def test_what_an_earlier_process_left_is_stopped(running: Plane, looks: MemoryLooks) -> None:
    crashed = Browsing(running.control, looks)
    look = await crashed.open("old", port=None, progress=quiet)
    instance = dataclasses.replace(running.gateways.endpoints[look.look_id], instance_id="db-ONE")
    await running.gateways.start(instance)
    await browsing.close_leftovers(running.control)
    assert list(running.gateways.endpoints) == ["db-ONE"]


# -- differences


async def test_two_snapshots_are_opened_compared_and_closed(looks: MemoryLooks, browser: Browsing) -> None:
    heard: list[int] = []
    found = await browser.diff("old", "new", examples=3, progress=heard.append)
    assert found == {"old": "/scratch/snap-old", "new": "/scratch/snap-new", "examples": 3}
    assert heard == sorted(heard)
    assert heard[-1] == 99
    assert not looks.open_
    with pytest.raises(InvalidParameterValue):
        await browser.diff("old", "new", examples=100_000, progress=quiet)
    with pytest.raises(DBClusterNotFoundFault):
        await browser.diff("old", "cluster:nothing", examples=1, progress=quiet)
    assert not looks.open_


# -- proofs


def outcomes() -> dict[str, float]:
    names = ("proven", "failed", "not-tried")
    found = {
        name: REGISTRY.get_sample_value("stilldb_trial_restores_total", {"outcome": name}) for name in names
    }
    return {name: value or 0.0 for name, value in found.items()}


async def kept(running: Plane) -> dict[str, Proof]:
    found = await running.store.run(lambda tx: tx.find(Proof))
    return {proof.snapshot_id: proof for proof in found}


async def test_a_proof_is_kept_and_its_counts_are_asked_for_again(running: Plane, looks: MemoryLooks) -> None:
    before = outcomes()
    prover = Proofs(running.control, looks, every=None)
    first = await prover.prove("old", progress=quiet)
    assert first.ok
    assert first.size == 1 << 40
    assert await kept(running) == {"snap-old": first}
    assert await prover.last() == {"old": first}
    looks.damaged["snap-old"] = "atlas.places has 6 documents, the last proof counted 7"
    second = await prover.prove("old", progress=quiet)
    assert not second.ok
    assert await kept(running) == {"snap-old": second}
    await prover.prove("old", progress=quiet)
    # What was right once stays the measure, or what is lost would be proven a day later.
    assert [expected for _, expected in looks.tried] == [None, {"atlas.places": 7}, {"atlas.places": 7}]
    said = [event.message for event in await running.store.run(lambda tx: tx.find(Event))]
    assert said[0] == "Cluster snapshot proven by a trial restore in 2 seconds: 7 documents"
    assert said[1] == f"Cluster snapshot does not restore: {second.reason}"
    assert {name: count - before[name] for name, count in outcomes().items()} == {
        "proven": 1,
        "failed": 2,
        "not-tried": 0,
    }
    await gauges.look(running.store)
    labels = {"account": "123456789012", "region": "us-east-1"}
    proofs = {
        proof: REGISTRY.get_sample_value("stilldb_snapshot_proofs", {**labels, "proof": proof})
        for proof in ("proven", "failed", "never")
    }
    assert proofs == {"proven": None, "failed": 1, "never": 1}


async def test_what_could_not_be_tried_is_no_proof(running: Plane, looks: MemoryLooks) -> None:
    before = outcomes()
    prover = Proofs(running.control, looks, every=None)
    looks.trouble = VolumeError("the disk has no room")
    with pytest.raises(SnapshotNotReadable, match="no room"):
        await prover.prove("old", progress=quiet)
    assert await kept(running) == {}
    assert outcomes() == {**before, "not-tried": before["not-tried"] + 1}


async def test_in_the_background_each_is_proven_once_one_at_a_time(
    running: Plane, looks: MemoryLooks
) -> None:
    turn = asyncio.Lock()
    prover, other = (Proofs(running.control, looks, every=DAY, turn=turn) for _ in range(2))
    looks.gate = asyncio.Event()
    await prover.start()
    now = asyncio.create_task(other.prove("new", progress=quiet))
    await asyncio.sleep(0.05)
    assert looks.running == 1
    looks.gate.set()
    await now

    async def both() -> bool:
        return len(await kept(running)) == 2

    await until(both)
    await prover.stop()
    assert looks.most_running == 1


async def test_the_background_goes_on_after_one_that_could_not_be_tried(
    running: Plane, looks: MemoryLooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stilldb.control import proofs

    monkeypatch.setattr(proofs, "LOOK_EVERY", 0.02)
    tries = 0
    real = looks.prove

    async def failing(*arguments: object, **more: object) -> Proof:
        nonlocal tries
        if arguments[1] == "snap-old":
            tries += 1
            raise VolumeError("no room")
        return await real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(looks, "prove", failing)
    prover = Proofs(running.control, looks, every=DAY)
    await prover.start()

    async def the_other() -> bool:
        return list(await kept(running)) == ["snap-new"]

    await until(the_other)
    await until(lambda: tries == 1)
    # An hour later it is its turn again.
    later = running.control.now() + datetime.timedelta(hours=2)
    running.control.now = lambda: later
    await until(lambda: tries == 2)
    await prover.stop()


async def test_proofs_go_with_their_snapshots(
    running: Plane, looks: MemoryLooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stilldb.control import proofs

    monkeypatch.setattr(proofs, "LOOK_EVERY", 0.02)
    prover = Proofs(running.control, looks, every=DAY)
    await prover.prove("old", progress=quiet)
    await prover.prove("new", progress=quiet)
    await running.store.run(lambda tx: tx.remove(snapshot("old")))
    await prover.start()

    async def gone() -> bool:
        return list(await kept(running)) == ["snap-new"]

    await until(gone)
    await prover.stop()


async def test_a_snapshot_deleted_while_it_is_tried_keeps_no_proof(
    running: Plane, looks: MemoryLooks
) -> None:
    looks.gate = asyncio.Event()
    prover = Proofs(running.control, looks, every=None)
    trial = asyncio.create_task(prover.prove("old", progress=quiet))
    await until(lambda: looks.running == 1)
    await running.store.run(lambda tx: tx.remove(snapshot("old")))
    looks.gate.set()
    with pytest.raises(InvalidDBClusterSnapshotStateFault, match="deleted while"):
        await trial
    assert await kept(running) == {}
