"""Several accounts and regions on one real service: separate, side by side, and all there again after kill -9."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.service import PASSWORD, Service, service, wait_until

FIRST, SECOND = "us-west-2", "eu-central-1"
OWN, OTHER = "123456789012", "111122223333"


def key_of(it: Service, account: str) -> dict[str, str]:
    listed = it.command("env", "--account", account).stdout
    found = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", listed, re.MULTILINE))
    return {
        "aws_access_key_id": found["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": found["AWS_SECRET_ACCESS_KEY"],
    }


def clients(it: Service) -> dict[tuple[str, str], Any]:
    return {
        (account, region): it.client(region_name=region, **key_of(it, account))
        for account in (OWN, OTHER)
        for region in (FIRST, SECOND)
    }


def only(client: Any, operation: str, member: str, **given: str) -> dict[str, Any]:
    (found,) = getattr(client, operation)(**given)[member]
    return dict(found)


def available(
    client: Any, operation: str, member: str, status: str = "Status", **given: str
) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        found = only(client, operation, member, **given)
        return found if found[status] == "available" else None

    return dict(wait_until(there, f"{member} becomes available", 60))


@contextlib.contextmanager
def documents(it: Service, cluster: dict[str, Any]) -> Iterator[Any]:
    with it.mongo(cluster) as client:
        yield client.atlas.places


def up(client: Any) -> dict[str, Any]:
    available(client, "describe_db_instances", "DBInstances", "DBInstanceStatus")
    return available(client, "describe_db_clusters", "DBClusters")


def test_four_scopes_with_the_same_names_live_side_by_side_and_survive_a_kill() -> None:
    with service("--also-region", SECOND) as it:
        made = it.command("keys", "create", "--account", OTHER, "--name", "ci")
        assert made.returncode == 0, made.stderr
        everyone = clients(it)
        for client in everyone.values():
            client.create_db_cluster(
                DBClusterIdentifier="alpha",
                Engine="docdb",
                MasterUsername="keeper",
                MasterUserPassword=PASSWORD,
            )
        for client in everyone.values():
            available(client, "describe_db_clusters", "DBClusters")
            client.create_db_instance(
                DBInstanceIdentifier="alpha-1",
                DBClusterIdentifier="alpha",
                DBInstanceClass="db.t3.medium",
                Engine="docdb",
            )
        for (account, region), client in everyone.items():
            with documents(it, up(client)) as places:
                places.insert_one({"_id": 1, "of": f"{account} {region}"})
            client.create_db_cluster_snapshot(DBClusterIdentifier="alpha", DBClusterSnapshotIdentifier="one")
        for client in everyone.values():
            available(client, "describe_db_cluster_snapshots", "DBClusterSnapshots", SnapshotType="manual")

        it.kill()
        before = it.processes("postgres")
        assert before, "clusters go on serving"
        it.start()
        everyone = clients(it)
        for (account, region), client in everyone.items():
            cluster = up(client)
            assert cluster["DBClusterArn"] == f"arn:aws:rds:{region}:{account}:cluster:alpha"
            with documents(it, cluster) as places:
                assert [one["of"] for one in places.find()] == [f"{account} {region}"]
        assert it.processes("postgres").keys() & before.keys(), "they were adopted"

        # Each region's volumes lie in its own place, and only there.
        ids = {
            scope: only(client, "describe_db_clusters", "DBClusters")["DbClusterResourceId"]
            for scope, client in everyone.items()
        }
        for region, place in ((FIRST, it.state), (SECOND, it.state / "regions" / SECOND)):
            there = {path.name for path in (pathlib.Path(place) / "volumes").iterdir()}
            assert there == {name for (_, of), name in ids.items() if of == region}

        told = json.loads(it.command("status", "--json", "--account", OTHER).stdout)
        assert told["account"] == OTHER
        assert [region["region"] for region in told["regions"]] == [FIRST, SECOND]
        assert [region["clusters"][0]["identifier"] for region in told["regions"]] == ["alpha", "alpha"]

        # Without the region its clusters would be looked after by nobody.
        it.stop()
        assert not it.processes()
        it.arguments = []
        it.spawn()
        assert it.died() == 1
        assert f"serve it with --also-region {SECOND}" in it.log.read_text()


def test_keys_come_and_go_while_it_serves() -> None:
    with service() as it:
        made = it.command("keys", "create", "--account", OTHER)
        identifier, secret = re.findall(r"key(?: id)? +(\S+)$", made.stdout, re.MULTILINE)
        client = it.client(aws_access_key_id=identifier, aws_secret_access_key=secret)
        assert client.describe_db_clusters()["DBClusters"] == []
        listed = it.command("keys", "list").stdout
        assert f"{identifier}  {OTHER}" in listed
        assert secret not in listed
        assert it.command("keys", "delete", identifier).returncode == 0
        with pytest.raises(ClientError, match="security token"):
            client.describe_db_clusters()
        for arguments, message in [
            (("create", "--account", "12"), "12 digits"),
            (("delete", "AKIANONE"), "no access key AKIANONE"),
            (("delete", it.environment["AWS_ACCESS_KEY_ID"]), "the only access key"),
        ]:
            refused = it.command("keys", *arguments)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert message in refused.stderr
        refused = it.command("env", "--account", OTHER)
        assert (refused.returncode, refused.stdout) == (3, "false\n")
        assert f"stilldb keys create --account {OTHER}" in refused.stderr
        refused = it.command("env", "--region", SECOND)
        assert (refused.returncode, refused.stdout) == (3, "false\n")
        assert f"--also-region {SECOND}" in refused.stderr


def test_what_is_asked_of_a_region_that_is_not_served() -> None:
    with service("--also-region", SECOND) as it:
        with pytest.raises(ClientError, match=f"one of the regions {FIRST}, {SECOND}") as refused:
            it.client(region_name="ap-south-1").describe_db_clusters()
        assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--also-region", FIRST), "a region is named twice"),
        (("--also-region", "../up"), "is no region"),
        (("--region", "Us-West-2"), "is no region"),
    ],
)
def test_regions_that_make_no_sense(arguments: tuple[str, ...], message: str) -> None:
    with service(*arguments, started=False) as it:
        it.spawn()
        assert it.died() == 1
        assert message in it.log.read_text()


def test_metrics_of_the_running_service() -> None:
    with service() as it:
        it.create_cluster()
        with urllib.request.urlopen(f"{it.endpoint}/metrics") as answer:
            assert answer.headers["content-type"].startswith("text/plain")
            told = answer.read().decode()
        assert f'stilldb_clusters{{account="{OWN}",region="{FIRST}",status="available"}} 1.0' in told
        assert 'stilldb_api_requests_total{operation="CreateDBCluster",outcome="ok"} 1.0' in told
        assert 'stilldb_jobs_total{kind="create-cluster",outcome="done"} 1.0' in told
