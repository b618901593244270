"""Processes killed with kill -9: each comes back, acknowledged data is there, and statuses tell the truth."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from support.invariants import settled
from support.service import Service, service, wait_until

CLUSTER: dict[str, Any] = {}  # the one cluster, as it was described: the API may be down when it is needed
GONE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@pytest.fixture(scope="module")
def house() -> Iterator[Service]:
    """A cluster with an instance, and a table in its PostgreSQL."""
    with service() as it:
        CLUSTER.update(it.create_cluster("alpha"))
        create_instance(it)
        execute(it, "CREATE TABLE t (n int PRIMARY KEY)")
        yield it
        it.client().delete_db_instance(DBInstanceIdentifier="alpha-1")
        it.instance("alpha-1", None)
        settled(it)


def create_instance(house: Service) -> None:
    house.client().create_db_instance(
        DBInstanceIdentifier="alpha-1",
        DBInstanceClass="db.r6g.large",
        Engine="docdb",
        DBClusterIdentifier="alpha",
    )
    house.instance("alpha-1", "available")


def execute(house: Service, statement: str) -> Any:
    async def run() -> Any:
        connection = await house.connect(CLUSTER)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


def numbers(house: Service) -> list[int]:
    return [row["n"] for row in execute(house, "SELECT n FROM t ORDER BY n")]


def insert(house: Service) -> int:
    return int(execute(house, "INSERT INTO t SELECT coalesce(max(n), 0) + 1 FROM t RETURNING n")[0]["n"])


def the_one(house: Service, word: str) -> int:
    (pid,) = house.processes(word)
    return pid


def test_the_next_control_plane_adopts_what_runs(house: Service) -> None:
    last = insert(house)
    before = {word: the_one(house, word) for word in ("bin/postgres", "pg_receivewal", "stilldb.gateway")}
    house.kill()
    assert insert(house) == last + 1, "without a control plane the cluster serves on"
    told = house.command("status")
    assert told.returncode == 3
    assert "nothing serves" in told.stderr
    house.start()
    house.instance("alpha-1", "available")
    house.cluster("alpha", "available")
    assert {word: the_one(house, word) for word in before} == before
    house.create_snapshot("adopted")
    assert {word: the_one(house, word) for word in before} == before, (
        "a snapshot's end stops nobody else's server"
    )


def test_after_a_start_nothing_is_available_before_it_answers(house: Service) -> None:
    house.kill()
    for pid in house.processes():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not house.processes(), "everything is dead")
    house.start()
    seen = {house.cluster("alpha")["Status"], house.instance("alpha-1")["DBInstanceStatus"]}
    assert seen <= {"starting", "available"}
    house.instance("alpha-1", "available")
    assert house.cluster("alpha", "available")
    assert numbers(house) == list(range(1, len(numbers(house)) + 1))


def test_a_stop_and_a_start_bring_up_what_was_up(house: Service) -> None:
    last = insert(house)
    assert house.stop() == 0
    assert not house.processes()
    house.start()
    house.instance("alpha-1", "available")
    house.cluster("alpha", "available")
    assert numbers(house)[-1] == last


@pytest.mark.parametrize("word", ["bin/postgres -D", "pg_receivewal", "stilldb.gateway"])
def test_each_process_comes_back(house: Service, word: str) -> None:
    last = insert(house)
    killed = the_one(house, word)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: set(house.processes(word)) - {killed}, f"another {word} runs")
    house.instance("alpha-1", "available")
    house.cluster("alpha", "available")
    assert numbers(house)[-1] == last
    insert(house)
    name = f"after-{killed}"
    house.create_snapshot(name)
    house.restore("beta", name)
    house.delete_cluster("beta")


def test_what_was_acknowledged_while_postgresql_dies_under_load_is_there(house: Service) -> None:
    async def load() -> int:
        connection = await house.connect(CLUSTER)
        acknowledged = await connection.fetchval("SELECT max(n) FROM t")
        killed = False
        try:
            while True:
                await connection.execute("INSERT INTO t VALUES ($1)", acknowledged + 1)
                acknowledged += 1
                if acknowledged % 200 == 0 and not killed:
                    killed = True
                    os.kill(the_one(house, "bin/postgres -D"), signal.SIGKILL)
        except GONE:
            connection.terminate()
        return int(acknowledged)

    acknowledged = asyncio.run(load())

    def back() -> bool:
        try:
            return len(numbers(house)) >= acknowledged
        except GONE:
            return False

    wait_until(back, "PostgreSQL is back with everything")
    assert numbers(house) == list(range(1, len(numbers(house)) + 1))
    house.instance("alpha-1", "available")


def test_an_instance_deleted_while_its_cluster_starts_leaves_the_cluster_available(house: Service) -> None:
    """The last instance went while the cluster waited for it: nothing would ever move the cluster on."""
    house.create_cluster("gamma")
    house.client().create_db_instance(
        DBInstanceIdentifier="gamma-1",
        DBInstanceClass="db.r6g.large",
        Engine="docdb",
        DBClusterIdentifier="gamma",
    )
    house.instance("gamma-1", "available")
    house.kill()
    house.start()
    house.instance("gamma-1", "starting", "available")
    house.client().delete_db_instance(DBInstanceIdentifier="gamma-1")
    house.instance("gamma-1", None)
    house.cluster("gamma", "available")
    house.delete_cluster("gamma")
