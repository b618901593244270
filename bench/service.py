"""``stilldb serve`` in a temporary state directory, and clusters on it as an ordinary client makes them.

The only knowledge beyond the two network interfaces is where a cluster's files lie, for sizes and ``cp``.
"""

from __future__ import annotations

import contextlib
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from bench import processes
from bench.measure import wait_until

Client = MongoClient[dict[str, Any]]
PASSWORD = "a-long-enough-password"
USER = "keeper"
_STILLDB = pathlib.Path(sys.executable).with_name("stilldb")


class Service:
    """The service, from its start until ``stop``."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.log = directory / "serve.log"
        self._complaints = 0
        command: list[str | pathlib.Path] = [
            _STILLDB,
            "serve",
            "--state-dir",
            self.state,
            "--port",
            "0",
            "--manual-snapshot-quota",
            "100000",
            "--prove-every",
            "0",
        ]
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C is for the bench, which then stops the service.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            wait_until("the service's start", self._started, seconds=120, every=0.05)
            self._environment = self._ask_environment()
            self.docdb = self._client()
            self.ca_bundle = self._download_ca()
        except BaseException:
            self.stop()
            raise

    def _started(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"stilldb serve ended:\n{self.tail()}")
        return "serves the management API" in self.log.read_text(errors="replace")

    def _ask_environment(self) -> dict[str, str]:
        command: list[str | pathlib.Path] = [_STILLDB, "env", "--state-dir", self.state]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line)
        return {name: value.strip("'\"") for name, _, value in pairs}

    def _client(self) -> Any:
        given = self._environment
        return boto3.client(
            "docdb",
            endpoint_url=given["AWS_ENDPOINT_URL"],
            region_name=given["AWS_DEFAULT_REGION"],
            aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),  # a retry would hide in a latency
        )

    def _download_ca(self) -> pathlib.Path:
        bundle = self.directory / "ca-bundle.pem"
        url = self._environment["AWS_ENDPOINT_URL"] + "/_stilldb/ca-bundle.pem"
        with urllib.request.urlopen(url, timeout=10) as answer:
            bundle.write_bytes(answer.read())
        return bundle

    def tail(self) -> str:
        """The last lines of the service's log and of its servers' logs."""
        logs = [self.log, *sorted((self.state / "log").glob("*.log"))]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    def complaints(self) -> list[str]:
        """The service's own warnings and errors since the last call: a step that failed and was tried again is in them."""
        lines = self.log.read_text(errors="replace").splitlines()
        found = [line for line in lines if " WARNING " in line or " ERROR " in line]
        new, self._complaints = found[self._complaints :], len(found)
        return new

    def settle(self, seconds: float = 7, within: float = 600) -> None:
        """Wait until no base backup has run for ``seconds``: maintenance looks every few seconds for one that is due."""
        deadline = time.monotonic() + within
        quiet = time.monotonic()
        while time.monotonic() - quiet < seconds:
            if any("pg_basebackup" in p.command or "pg_verifybackup" in p.command for p in self._processes()):
                quiet = time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"base backups still run after {within:.0f} s")
            time.sleep(0.1)

    def _processes(self) -> list[processes.Process]:
        return processes.belonging([str(self.state)])

    def stop(self) -> None:
        """Ctrl-C, wait until every cluster has stopped, and end what is left by force."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        left = processes.end_all(str(self.state))
        if left:
            print(f"left by the service and killed: {[process.command for process in left]}", file=sys.stderr)


class Cluster:
    """A DB cluster with one instance."""

    def __init__(self, service: Service, name: str) -> None:
        self.service = service
        self.name = name
        self._docdb = service.docdb
        self._snapshots = 0

    @classmethod
    def create(cls, service: Service, name: str) -> Cluster:
        """Create the cluster and its instance; returns when the instance is available."""
        cluster = cls(service, name)
        service.docdb.create_db_cluster(
            DBClusterIdentifier=name, Engine="docdb", MasterUsername=USER, MasterUserPassword=PASSWORD
        )
        cluster.add_instance()
        return cluster

    @classmethod
    def restore(cls, service: Service, name: str, snapshot: str) -> Cluster:
        """Restore the snapshot to a new cluster with an instance; returns when the instance is available."""
        cluster = cls(service, name)
        service.docdb.restore_db_cluster_from_snapshot(
            DBClusterIdentifier=name, SnapshotIdentifier=snapshot, Engine="docdb"
        )
        cluster.add_instance()
        return cluster

    @classmethod
    def clone(cls, service: Service, name: str, source: Cluster) -> Cluster:
        """A copy-on-write clone of another cluster, with an instance; returns when the instance is available."""
        cluster = cls(service, name)
        service.docdb.restore_db_cluster_to_point_in_time(
            DBClusterIdentifier=name,
            SourceDBClusterIdentifier=source.name,
            RestoreType="copy-on-write",
            UseLatestRestorableTime=True,
        )
        cluster.add_instance()
        return cluster

    def add_instance(self) -> None:
        """Create the instance, as soon as the cluster lets, and wait until it is available."""
        wait_until(f"an instance of {self.name} accepted", self._asked_for_instance)
        wait_until(f"instance {self.name}-1 available", self._instance_available)

    def _asked_for_instance(self) -> bool:
        try:
            self._docdb.create_db_instance(
                DBInstanceIdentifier=f"{self.name}-1",
                DBInstanceClass="db.r6g.large",
                Engine="docdb",
                DBClusterIdentifier=self.name,
            )
        except self._docdb.exceptions.InvalidDBClusterStateFault:
            if self.describe()["Status"] not in {"creating", "available"}:
                raise
            return False
        return True

    def _instance_available(self) -> bool:
        (found,) = self._docdb.describe_db_instances(DBInstanceIdentifier=f"{self.name}-1")["DBInstances"]
        if found["DBInstanceStatus"] not in {"creating", "available"}:
            raise RuntimeError(
                f"instance {self.name}-1 is {found['DBInstanceStatus']}: {found.get('StatusInfos')}"
            )
        return bool(found["DBInstanceStatus"] == "available")

    def describe(self) -> dict[str, Any]:
        """The cluster as DescribeDBClusters shows it."""
        (found,) = self._docdb.describe_db_clusters(DBClusterIdentifier=self.name)["DBClusters"]
        return dict(found)

    def address(self) -> dict[str, Any]:
        """The arguments of a MongoClient on the cluster's endpoint, which JSON can carry."""
        found = self.describe()
        return {
            "host": found["Endpoint"],
            "port": found["Port"],
            "username": USER,
            "password": PASSWORD,
            "tls": True,
            "tlsCAFile": str(self.service.ca_bundle),
            "directConnection": True,
            "retryWrites": False,
            "serverSelectionTimeoutMS": 10_000,
        }

    def connect(self) -> Client:
        """A client that has had its first answer."""
        client: Client = MongoClient(**self.address())
        try:
            client.admin.command("ping")
        except PyMongoError:
            client.close()
            raise
        return client

    def snapshot(self, *, every: float = 0.002) -> float:
        """Take a snapshot: seconds from the call until describe shows it available, asked ``every`` so many seconds."""
        self._snapshots += 1
        name = f"{self.name}-snapshot-{self._snapshots}"

        def available() -> bool:
            (found,) = self._docdb.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)[
                "DBClusterSnapshots"
            ]
            if found["Status"] not in {"creating", "available"}:
                raise RuntimeError(f"snapshot {name} is {found['Status']}")
            return bool(found["Status"] == "available")

        begun = time.perf_counter()
        self._docdb.create_db_cluster_snapshot(
            DBClusterIdentifier=self.name, DBClusterSnapshotIdentifier=name
        )
        wait_until(f"snapshot {name} available", available, every=every)
        return time.perf_counter() - begun

    @property
    def last_snapshot(self) -> str:
        """The name of the newest snapshot."""
        return f"{self.name}-snapshot-{self._snapshots}"

    def volume(self) -> pathlib.Path:
        """PostgreSQL's data directory of the cluster's only incarnation."""
        volume = self.service.state / "volumes" / str(self.describe()["DbClusterResourceId"])
        (data,) = volume.glob("*/data")
        return data

    def archive(self) -> pathlib.Path:
        """Where the cluster's backups and WAL lie."""
        archive = self.service.state / "archive" / str(self.describe()["DbClusterResourceId"])
        (incarnation,) = archive.iterdir()
        return incarnation

    def postgres(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs against the cluster's server; what it printed."""
        postmaster = next(p for p in self.processes() if p.command.endswith(f"-D {self.volume()}"))
        lines = (self.volume() / "postmaster.pid").read_text().splitlines()
        binary = pathlib.Path(postmaster.command.split()[0]).with_name(program)
        command = [str(binary), f"--host={lines[4]}", f"--port={lines[3]}", "--username=stilldb", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout

    def sql(self, *statements: str) -> str:
        """Run statements in the cluster's PostgreSQL, each a transaction; the last one's answer."""
        given = [f"--command={statement}" for statement in statements]
        return self.postgres(
            "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--dbname=stilldb", *given
        ).strip()

    def backing_up(self) -> bool:
        """Whether a base backup runs."""
        return any("pg_basebackup" in p.command for p in self.processes())

    def processes(self) -> list[processes.Process]:
        """Every process of the cluster and its instance."""
        (instance,) = self._docdb.describe_db_instances(DBInstanceIdentifier=f"{self.name}-1")["DBInstances"]
        return processes.belonging([self.describe()["DbClusterResourceId"], instance["DbiResourceId"]])

    def remove(self) -> None:
        """Delete the instance and the cluster; its snapshots stay."""
        self._docdb.delete_db_instance(DBInstanceIdentifier=f"{self.name}-1")
        wait_until(f"instance {self.name}-1 deleted", self._instance_gone, every=0.05)
        self._docdb.delete_db_cluster(DBClusterIdentifier=self.name, SkipFinalSnapshot=True)
        wait_until(f"cluster {self.name} deleted", self._gone, every=0.05)

    def _instance_gone(self) -> bool:
        return _is_gone(
            lambda: self._docdb.describe_db_instances(DBInstanceIdentifier=f"{self.name}-1"),
            "DBInstanceNotFound",
        )

    def _gone(self) -> bool:
        return _is_gone(self.describe, "DBClusterNotFoundFault")


def _is_gone(ask: Any, code: str) -> bool:
    try:
        ask()
    except ClientError as error:
        if error.response["Error"]["Code"] == code:
            return True
        raise
    return False
