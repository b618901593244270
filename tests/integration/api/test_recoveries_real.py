"""Points in time, copies, retained backups and stopping on real volumes, through boto3."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from support.service import Service, service, wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service("--also-region", "eu-west-1") as it:
        it.create_cluster("alpha")
        instance(it, "alpha-1", "alpha")
        yield it


def instance(of: Service, name: str, cluster: str) -> None:
    of.client().create_db_instance(
        DBInstanceIdentifier=name, DBInstanceClass="db.r6g.large", Engine="docdb", DBClusterIdentifier=cluster
    )
    of.instance(name, "available")


def rows(of: Service, cluster: str, statement: str) -> list[Any]:
    """Run SQL in the cluster's PostgreSQL, which an instance keeps up."""

    async def run() -> list[Any]:
        connection: asyncpg.Connection = await of.connect(of.cluster(cluster))
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(run())


def window(of: Service, cluster: str, reaches: datetime.datetime) -> dict[str, Any]:
    """The cluster once its restorable window reaches a moment, which an idle cluster's does too."""

    def there() -> dict[str, Any] | None:
        seen = of.cluster(cluster)
        latest = seen.get("LatestRestorableTime")
        return seen if latest is not None and latest >= reaches else None

    found: dict[str, Any] = wait_until(there, "the window moves on", 40)
    return found


def test_to_a_moment_between_two_writes_and_after_the_cluster_is_gone(running: Service) -> None:
    api = running.client()
    rows(running, "alpha", "CREATE TABLE t AS SELECT 1 AS n")
    time.sleep(0.05)
    between = datetime.datetime.now(datetime.UTC)
    time.sleep(0.05)
    rows(running, "alpha", "INSERT INTO t VALUES (2) RETURNING n")
    seen = window(running, "alpha", datetime.datetime.now(datetime.UTC))
    assert seen["EarliestRestorableTime"] < between
    api.restore_db_cluster_to_point_in_time(
        DBClusterIdentifier="before", SourceDBClusterIdentifier="alpha", RestoreToTime=between
    )
    running.cluster("before", "available", seconds=60)
    instance(running, "before-1", "before")
    assert rows(running, "before", "SELECT n FROM t") == [(1,)]
    rows(running, "before", "INSERT INTO t VALUES (3) RETURNING n")

    window(running, "before", datetime.datetime.now(datetime.UTC))
    api.delete_db_instance(DBInstanceIdentifier="before-1")
    running.instance("before-1", None)
    api.delete_db_cluster(DBClusterIdentifier="before", SkipFinalSnapshot=True)
    running.cluster("before", None)
    with pytest.raises(api.exceptions.ClientError, match="It can be restored to a time from 20"):
        api.restore_db_cluster_to_point_in_time(
            DBClusterIdentifier="x", SourceDBClusterIdentifier="before", RestoreToTime=between
        )
    api.restore_db_cluster_to_point_in_time(
        DBClusterIdentifier="again", SourceDBClusterIdentifier="before", UseLatestRestorableTime=True
    )
    running.cluster("again", "available", seconds=60)
    instance(running, "again-1", "again")
    assert rows(running, "again", "SELECT n FROM t ORDER BY n") == [(1,), (3,)]


def test_a_copy_in_another_region_restores_there(running: Service) -> None:
    running.create_snapshot("one", "alpha")
    arn = running.snapshot("one")["DBClusterSnapshotArn"]
    there = running.client(region_name="eu-west-1")
    there.copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=arn, TargetDBClusterSnapshotIdentifier="two"
    )

    def status(kind: str, name: str) -> Any:
        listed = getattr(there, f"describe_db_{kind}s")(**{identifiers[kind]: name})
        return next(iter(value for key, value in listed.items() if key.startswith("DBC")))[0]["Status"]

    identifiers = {"cluster_snapshot": "DBClusterSnapshotIdentifier", "cluster": "DBClusterIdentifier"}
    wait_until(lambda: status("cluster_snapshot", "two") == "available", "the copy is there", 60)
    running.client().delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="one")
    running.snapshot("one", None)
    there.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="far", SnapshotIdentifier="two", Engine="docdb"
    )
    wait_until(lambda: status("cluster", "far") == "available", "it is restored", 60)


def test_encrypted_copied_under_another_key_and_restored(running: Service) -> None:
    api = running.client()
    made = running.create_cluster("sealed", StorageEncrypted=True)
    assert ":key/" in made["KmsKeyId"]
    running.create_snapshot("plain-key", "sealed")
    assert running.snapshot("plain-key")["KmsKeyId"] == made["KmsKeyId"]
    running.restore("sealed-again", "plain-key")
    with pytest.raises(api.exceptions.KMSKeyNotAccessibleFault):
        api.copy_db_cluster_snapshot(
            SourceDBClusterSnapshotIdentifier="plain-key",
            TargetDBClusterSnapshotIdentifier="x",
            KmsKeyId="arn:aws:kms:us-west-2:123456789012:key/none",
        )


def test_stopped_and_started_keeps_the_data(running: Service) -> None:
    api = running.client()
    before = rows(running, "alpha", "SELECT count(*) FROM t")
    api.stop_db_cluster(DBClusterIdentifier="alpha")
    running.cluster("alpha", "stopped")
    running.stop()
    running.start()
    assert running.cluster("alpha")["Status"] == "stopped"
    running.client().start_db_cluster(DBClusterIdentifier="alpha")
    running.cluster("alpha", "available")
    running.instance("alpha-1", "available")
    assert rows(running, "alpha", "SELECT count(*) FROM t") == before
