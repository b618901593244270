"""The AWS CLI against the service: commands as in AWS's documentation, and its wait commands."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.service import Service, service

AWS = pathlib.Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service() as it:
        yield it


def aws(running: Service, *arguments: str, service_name: str = "docdb") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **running.environment, "AWS_CONFIG_FILE": "/dev/null", "AWS_PAGER": ""}
    return subprocess.run(
        [AWS, service_name, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**environment, "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"},
    )


def answer(running: Service, *arguments: str) -> dict[str, Any]:
    done = aws(running, *arguments)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_main_job_of_an_operator(running: Service) -> None:
    made = answer(
        running,
        "create-db-cluster",
        "--db-cluster-identifier=sample-cluster",
        "--engine=docdb",
        "--master-username=keeper",
        "--master-user-password=long-enough!",
        "--tags",
        "Key=team,Value=blue",
        "Key=empty",
    )
    assert made["DBCluster"]["Status"] == "creating"
    running.cluster("sample-cluster", "available")
    snapshot = answer(
        running,
        "create-db-cluster-snapshot",
        "--db-cluster-identifier=sample-cluster",
        "--db-cluster-snapshot-identifier=Sample-Snapshot",
    )
    assert snapshot["DBClusterSnapshot"]["Status"] == "creating"
    waited = aws(
        running,
        "wait",
        "db-cluster-snapshot-available",
        "--db-cluster-snapshot-identifier=sample-snapshot",
        service_name="rds",
    )
    assert waited.returncode == 0, waited.stderr
    listed = answer(running, "describe-db-cluster-snapshots", "--snapshot-type=manual", "--max-items=1")
    assert listed["DBClusterSnapshots"][0]["PercentProgress"] == 100
    tags = answer(running, "list-tags-for-resource", "--resource-name", made["DBCluster"]["DBClusterArn"])
    assert sorted(tags["TagList"], key=lambda tag: tag["Key"]) == [
        {"Key": "empty", "Value": ""},
        {"Key": "team", "Value": "blue"},
    ]
    restored = answer(
        running,
        "restore-db-cluster-from-snapshot",
        "--db-cluster-identifier=restored",
        "--snapshot-identifier=sample-snapshot",
        "--engine=docdb",
    )
    assert restored["DBCluster"]["DBClusterMembers"] == []
    running.cluster("restored", "available")
    gone = answer(running, "delete-db-cluster", "--db-cluster-identifier=restored", "--skip-final-snapshot")
    assert gone["DBCluster"]["Status"] == "deleting"
    waited = aws(
        running, "wait", "db-cluster-deleted", "--db-cluster-identifier=restored", service_name="rds"
    )
    assert waited.returncode == 0, waited.stderr


def test_errors_as_the_cli_shows_them(running: Service) -> None:
    for arguments, shown in (
        (
            (
                "create-db-cluster-snapshot",
                "--db-cluster-identifier=x",
                "--db-cluster-snapshot-identifier=a--b",
            ),
            "(InvalidParameterValue) when calling the CreateDBClusterSnapshot operation: The parameter "
            "DBClusterSnapshotIdentifier is not a valid identifier.",
        ),
        (
            ("create-db-cluster-snapshot", "--db-cluster-identifier=x", "--db-cluster-snapshot-identifier=a"),
            "(DBClusterNotFoundFault) when calling the CreateDBClusterSnapshot operation: DBCluster x not found.",
        ),
        (
            ("failover-db-cluster", "--db-cluster-identifier=x"),
            "(NotImplemented) when calling the FailoverDBCluster operation: The operation FailoverDBCluster is not available",
        ),
    ):
        done = aws(running, *arguments)
        assert done.returncode != 0
        assert shown in done.stderr


def test_an_instance_and_its_wait_commands(running: Service) -> None:
    answer(
        running,
        "create-db-cluster",
        "--db-cluster-identifier=beta",
        "--engine=docdb",
        "--master-username=keeper",
        "--master-user-password=long-enough!",
    )
    running.cluster("beta", "available")
    one = ("--db-instance-identifier=beta-1",)
    answer(
        running,
        "create-db-instance",
        *one,
        "--db-instance-class=db.r6g.large",
        "--engine=docdb",
        "--db-cluster-identifier=beta",
    )
    running.instance("beta-1", "available")
    for step in ("available", "deleted"):
        if step == "deleted":
            answer(running, "delete-db-instance", *one)
            running.instance("beta-1", None)
        waited = aws(running, "wait", f"db-instance-{step}", *one)
        assert waited.returncode == 0, waited.stderr
    running.delete_cluster("beta")
