"""The control plane killed, and every step made to fail, at each failpoint: nothing hangs, nothing lies, nothing is left.

One state directory serves all: a cluster, a snapshot of it, and for each point one operation that passes it.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Iterator

import pytest

from support.invariants import settled
from support.points import ON_CHAINS, ON_TWINS, ON_VOLUMES
from support.service import Service, service

SOURCE = pathlib.Path(__file__).parents[2] / "src" / "stilldb"

# Each failpoint and the operation that passes it.
POINTS = {
    "volume.copied": "create-cluster",
    "volume.started": "create-cluster",
    "backup.part": "create-cluster",
    "backup.copied": "create-cluster",
    "backup.flushed": "create-cluster",
    "volume.backed-up": "create-cluster",
    "create-cluster.volume": "create-cluster",
    "create-snapshot.mark": "create-snapshot",
    "create-snapshot.draft": "create-snapshot",
    "create-snapshot.verify": "create-snapshot",
    "create-snapshot.publish": "create-snapshot",
    "copy-snapshot.copy": "copy-snapshot",
    "restore.fetched": "restore",
    "restore.copied": "restore",
    "restore.placed": "restore",
    "restore.promoted": "restore",
    "restore-cluster.volume": "restore",
    "ship.sealed": "create-cluster",
    "ship.put": "create-cluster",
    "expire.named": "delete-snapshot",
    "delete-snapshot.forget": "delete-snapshot",
    "delete-cluster.destroy": "delete-cluster",
    "create-instance.start": "create-instance",
    "delete-instance.stop": "delete-instance",
}
KEPT = {
    "create-snapshot.mark"
}  # the step's result is kept before the point: the second attempt need not pass it
TRIED_FOR_EVER = {"ship.sealed", "ship.put"}  # WAL waits in the spool: nobody's operation fails
MADE = {  # operation -> the status of what it made, when it worked and when it gave up
    "create-cluster": ("cluster", "available", "failed"),
    "create-snapshot": ("snapshot", "available", "failed"),
    "copy-snapshot": ("snapshot", "available", "failed"),
    "restore": ("cluster", "available", "migration-failed"),
    "create-instance": ("instance", "available", "failed"),
}


def test_every_failpoint_of_the_source_is_tested() -> None:
    text = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    named = set(re.findall(r'failpoints\.reach\("([^"]+)"\)', text))
    steps = {
        f"{kind}.{step}"
        for kind, module in (
            ("create-cluster", "clusters"),
            ("delete-cluster", "deletions"),
            ("restore-cluster", "restores"),
            ("create-instance", "instances"),
            ("delete-instance", "instances"),
            ("create-snapshot", "snapshots"),
            ("delete-snapshot", "snapshots"),
            ("copy-snapshot", "copies"),
            ("stop-cluster", "stopping"),
            ("purge-retained", "retained"),
        )
        for step in _steps((SOURCE / "control" / f"{module}.py").read_text(), kind.partition("-")[0])
    }
    assert named | steps == {*POINTS, *ON_TWINS, *ON_VOLUMES, *ON_CHAINS}


def _steps(source: str, verb: str) -> list[str]:
    """The steps that ``run_<verb>`` reaches."""
    body = source.partition(f"async def run_{verb}(")[2].partition("\nasync def ")[0].partition("\ndef ")[0]
    return re.findall(r'run\.(?:reached|once)\("([^"]+)"', body)


@pytest.fixture(scope="module")
def house() -> Iterator[Service]:
    with service() as it:
        it.expected_errors = ["job given up"]
        it.create_cluster("source")
        it.create_snapshot("kept", "source")
        it.stop()
        yield it
        it.start()
        it.cluster("source", "available")
        it.snapshot("kept", "available")
        settled(it)


@pytest.fixture(autouse=True)
def nothing_runs_on(house: Service) -> Iterator[None]:
    """A test that fails leaves the next one a stopped service."""
    yield
    house.end()


def prepare(house: Service, operation: str, x: str) -> None:
    """What the operation needs, made while nothing fails."""
    if operation in {"delete-snapshot", "delete-cluster", "delete-instance"}:
        house.start()
        if operation == "delete-snapshot":
            house.create_snapshot(x, "source")
        if operation == "delete-cluster":
            house.restore(x, "kept")
        if operation == "delete-instance":
            create_instance(house, x)
            house.instance(x, "available")
        house.stop()


def create_instance(house: Service, x: str) -> None:
    house.client().create_db_instance(
        DBInstanceIdentifier=x, DBInstanceClass="db.r6g.large", Engine="docdb", DBClusterIdentifier="source"
    )


def run(house: Service, operation: str, x: str) -> None:
    steps: dict[str, Callable[[], object]] = {
        "create-cluster": lambda: house.create_cluster(x, wait=False),
        "create-snapshot": lambda: house.create_snapshot(x, "source", wait=False),
        "copy-snapshot": lambda: house.client().copy_db_cluster_snapshot(
            SourceDBClusterSnapshotIdentifier="kept", TargetDBClusterSnapshotIdentifier=x
        ),
        "restore": lambda: house.restore(x, "kept", wait=False),
        "create-instance": lambda: create_instance(house, x),
        "delete-snapshot": lambda: house.client().delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=x),
        "delete-cluster": lambda: house.client().delete_db_cluster(
            DBClusterIdentifier=x, SkipFinalSnapshot=True
        ),
        "delete-instance": lambda: house.client().delete_db_instance(DBInstanceIdentifier=x),
    }
    steps[operation]()


def clear(house: Service, kind: str, x: str) -> None:
    """Delete what the operation made, if it is there."""
    if kind == "cluster":
        house.delete_cluster(x)
    elif kind == "snapshot":
        house.client().delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=x)
        house.snapshot(x, None)
    else:
        house.client().delete_db_instance(DBInstanceIdentifier=x)
        house.instance(x, None)


def kind_of(operation: str) -> str:
    return MADE[operation][0] if operation in MADE else operation.removeprefix("delete-")


@pytest.mark.parametrize("point", POINTS)
def test_the_control_plane_dies_there_and_the_next_one_finishes(house: Service, point: str) -> None:
    operation, x = POINTS[point], f"dies-{point.replace('.', '-')}"
    prepare(house, operation, x)
    house.start(f"{point}=exit")
    run(house, operation, x)
    assert house.died() == 137
    house.start()
    kind = kind_of(operation)
    look = getattr(house, kind)
    if operation in MADE:
        look(x, MADE[operation][1])
        settled(house)
        clear(house, kind, x)
    else:
        look(x, None)
    settled(house)
    house.stop()
    assert not house.processes()


@pytest.mark.parametrize("point", [point for point in POINTS if point not in TRIED_FOR_EVER])
def test_a_step_that_keeps_failing_is_given_up_with_a_reason(house: Service, point: str) -> None:
    operation, x = POINTS[point], f"fails-{point.replace('.', '-')}"
    kind = kind_of(operation)
    prepare(house, operation, x)
    house.start(f"{point}=error")
    run(house, operation, x)
    look = getattr(house, kind)
    if operation in MADE:
        look(x, MADE[operation][1 if point in KEPT else 2])
        house.cluster("source", "available")
        settled(house)
        clear(house, kind, x)
    else:
        look(x, "deleting")  # a deletion that was answered is tried until it happens
        house.stop()
        house.start()
        look(x, None)
    settled(house)
    house.stop()
    assert not house.processes()
