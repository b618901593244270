"""``stilldb serve``, ``status`` and ``env`` as a user meets them, without instances."""

from __future__ import annotations

import asyncio
import signal
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from support.invariants import archived
from support.service import Service, service, wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service() as it:
        yield it


def test_a_second_serve_on_the_directory_refuses(running: Service) -> None:
    second = running.command("serve", "--port", "0")
    assert second.returncode == 1
    assert "another stilldb serve runs on" in second.stderr
    assert "Traceback" not in second.stderr


def test_env_and_status(running: Service) -> None:
    listed = running.command("env").stdout.splitlines()
    assert [line.split("=")[0] for line in listed] == [
        f"export AWS_{name}"
        for name in ("ENDPOINT_URL", "DEFAULT_REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    ]
    running.create_cluster("shown")
    running.create_snapshot("shown-snap", "shown")
    told = running.command("status")
    assert told.returncode == 0
    assert [line.split()[:3] for line in told.stdout.splitlines()] == [
        ["cluster", "shown", "available"],
        ["snapshot", "shown-snap", "available"],
    ]
    running.delete_cluster("shown")
    running.client().delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="shown-snap")
    running.snapshot("shown-snap", None)


def test_what_others_may_not_read(running: Service) -> None:
    for name in ("access-keys.json", "stilldb.db", "tls/ca.key"):
        assert stat.S_IMODE((running.state / name).stat().st_mode) == 0o600, name
    for name in ("volumes", "archive", "gateways", "tls"):
        assert stat.S_IMODE((running.state / name).stat().st_mode) == 0o700, name


def test_plain_routes_and_wrong_keys(running: Service) -> None:
    with urllib.request.urlopen(f"{running.endpoint}/_stilldb/ca-bundle.pem") as answer:
        assert answer.read().startswith(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{running.endpoint}/", data=b"Action=DescribeDBClusters")
    with refused.value as error:
        assert error.code == 403
        assert b"MissingAuthenticationToken" in error.read()
    for wrong, code in (
        ({"aws_secret_access_key": "no"}, "SignatureDoesNotMatch"),
        ({"aws_access_key_id": "AKIAUNKNOWN"}, "InvalidClientTokenId"),
        ({"region_name": "eu-west-1"}, "SignatureDoesNotMatch"),
        ({"aws_session_token": "t"}, "InvalidClientTokenId"),
    ):
        with pytest.raises(ClientError) as caught:
            running.client(**wrong).describe_db_clusters()
        assert caught.value.response["Error"]["Code"] == code


def test_a_whole_life_with_the_waiters_of_the_rds_client(running: Service) -> None:
    docdb, rds = running.client(), running.client("rds")
    before = archived(running.state / "archive")  # what other clusters are retained of
    running.create_cluster("Life")
    quickly = {"Delay": 1, "MaxAttempts": 30}
    docdb.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="Life-1", DBClusterIdentifier="LIFE")
    rds.get_waiter("db_cluster_snapshot_available").wait(
        DBClusterSnapshotIdentifier="life-1", WaiterConfig=quickly
    )
    rds.get_waiter("db_cluster_available").wait(DBClusterIdentifier="life", WaiterConfig=quickly)
    with pytest.raises(docdb.exceptions.DBClusterSnapshotAlreadyExistsFault):
        docdb.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="life-1", DBClusterIdentifier="life")
    with pytest.raises(docdb.exceptions.DBClusterNotFoundFault):
        docdb.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="life-2", DBClusterIdentifier="none")
    docdb.delete_db_cluster(DBClusterIdentifier="life", FinalDBSnapshotIdentifier="life-final")
    rds.get_waiter("db_cluster_deleted").wait(DBClusterIdentifier="life", WaiterConfig=quickly)
    running.restore("life-again", "life-final")
    for name in ("life-1", "life-final"):
        docdb.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=name)
        rds.get_waiter("db_cluster_snapshot_deleted").wait(
            DBClusterSnapshotIdentifier=name, WaiterConfig=quickly
        )
    running.delete_cluster("life-again")
    assert archived(running.state / "archive") > before, "a deleted cluster is retained"
    purged = running.command("backups", "purge", "life", "--yes")
    assert purged.returncode == 0, purged.stderr
    wait_until(lambda: archived(running.state / "archive") == before, "nothing is left of it")
    assert not list((running.state / "volumes").iterdir())
    assert not running.processes()


async def test_concurrent_calls_with_one_name(running: Service) -> None:
    await asyncio.to_thread(running.create_cluster, "race")
    client = running.client()

    def attempt() -> str:
        try:
            client.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="only", DBClusterIdentifier="race")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "won"

    outcomes = await asyncio.gather(*(asyncio.to_thread(attempt) for _ in range(8)))
    assert sorted(outcomes) == ["DBClusterSnapshotAlreadyExistsFault"] * 7 + ["won"]
    await asyncio.to_thread(running.snapshot, "only", "available")
    await asyncio.to_thread(running.delete_cluster, "race")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_middle_of_work_is_clean_and_the_next_start_goes_on(number: signal.Signals) -> None:
    with service() as it:
        it.create_cluster("alpha")
        it.create_cluster("beta", wait=False)
        it.create_snapshot("one", wait=False)
        assert it.stop(number) == 0
        assert not it.processes(), "every PostgreSQL was stopped"
        assert not (it.state / "serving.json").exists()
        for command in ("env", "status"):
            told = it.command(command)
            assert told.returncode == 3
            assert "nothing serves" in told.stderr
        assert it.command("env").stdout == "false\n", "eval of it must fail"
        it.start()
        it.cluster("beta", "available")
        it.snapshot("one", "available")


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1.example.com", "::", "192.0.2.1"])
def test_letting_everybody_in_is_for_loopback_only(host: str) -> None:
    with service("--auth", "any", "--host", host, started=False) as it:
        it.spawn()
        assert it.died() == 1
        assert "is not loopback" in it.log.read_text()


def test_an_emulator_takes_any_credentials() -> None:
    with service("--auth", "any") as it:
        anyone = it.client(aws_access_key_id="x" * 16, aws_secret_access_key="y", aws_session_token="z")
        assert anyone.describe_db_clusters()["DBClusters"] == []
        with urllib.request.urlopen(f"{it.endpoint}/?Action=DescribeDBClusters") as answer:
            assert b"<DBClusters/>" in answer.read()


def test_a_directory_belongs_to_one_region() -> None:
    with service() as it:
        it.stop()
        it.arguments = ["--region", "eu-west-1"]
        it.spawn()
        assert it.died() == 1
        assert "belongs to region us-west-2" in it.log.read_text()


def test_damaged_keys_are_told_not_thrown() -> None:
    with service() as it:
        it.stop()
        (it.state / "access-keys.json").write_text("{")
        it.spawn()
        assert it.died() == 1
        assert "access-keys.json is damaged" in it.log.read_text()
        assert "Traceback" not in it.log.read_text()
