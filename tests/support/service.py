"""``stilldb serve`` as a subprocess in a temporary state directory, with boto3 clients; nothing of it is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import asyncpg
import boto3
import botocore.config
import pymongo
from botocore.exceptions import ClientError

from support.volumes import state_directory

STARTS_WITHIN = 30.0  # seconds
STOPS_WITHIN = 30.0
PASSWORD = "long-enough!"
_CONFIG = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=30)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """The first true value of ``condition``; fails when none comes within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.01)


class Service:
    """A management plane that tests may kill and start again."""

    def __init__(self, state: pathlib.Path, arguments: Sequence[str] = ()) -> None:
        self.state = state
        self.arguments = list(arguments)
        self.log = state / "serve.log"
        self.expected_errors: list[str] = []  # regular expressions of ERROR lines that a test provokes
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}

    # -- the process

    def spawn(self, failpoints: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """Start ``stilldb serve`` without waiting for it."""
        assert self._pid() is None, "the service runs already"
        testing = {"STILLDB_TESTING": "1", "STILLDB_FAILPOINTS": failpoints, **environment}
        command = [
            sys.executable,
            "-m",
            "stilldb.cli.main",
            "serve",
            "--state-dir",
            str(self.state),
            "--port",
            "0",
        ]
        if (
            "--prove-every" not in self.arguments
        ):  # a trial restore nobody asked for would meet tests' failpoints
            command += ["--prove-every", "0"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **testing},
                start_new_session=True,
            )
        return self.process

    def start(self, failpoints: str = "", **environment: str) -> Service:
        """Start and wait until it serves."""
        process = self.spawn(failpoints, **environment)

        def serving() -> bool:
            assert process.poll() is None, f"it ended: {self.log.read_text()[-2000:]}"
            with contextlib.suppress(FileNotFoundError, ValueError):
                return bool(json.loads((self.state / "serving.json").read_text())["pid"] == process.pid)
            return False

        wait_until(serving, "the service starts", STARTS_WITHIN)
        listed = self.command("env").stdout
        self.environment = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", listed, re.MULTILINE))
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and wait; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(STOPS_WITHIN)

    def kill(self) -> None:
        """As by kill -9: nothing is cleaned up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def died(self) -> int:
        """Wait until it ended by itself; its exit code."""
        assert self.process is not None
        return self.process.wait(STARTS_WITHIN)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another ``stilldb`` command on the same state directory."""
        return subprocess.run(
            [sys.executable, "-m", "stilldb.cli.main", *arguments, "--state-dir", str(self.state)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    # -- the API

    @property
    def endpoint(self) -> str:
        return self.environment["AWS_ENDPOINT_URL"]

    def client(self, service: str = "docdb", **more: Any) -> Any:
        """A boto3 client with the service's own key."""
        given = {
            "endpoint_url": self.endpoint,
            "region_name": self.environment["AWS_DEFAULT_REGION"],
            "aws_access_key_id": self.environment["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.environment["AWS_SECRET_ACCESS_KEY"],
            "config": _CONFIG,
        }
        return boto3.session.Session().client(service, **{**given, **more})

    def create_cluster(self, name: str = "alpha", *, wait: bool = True, **more: Any) -> dict[str, Any]:
        """A cluster, available when ``wait``."""
        made = self.client().create_db_cluster(
            DBClusterIdentifier=name,
            Engine="docdb",
            MasterUsername="keeper",
            MasterUserPassword=PASSWORD,
            **more,
        )
        return self.cluster(name, "available") if wait else made["DBCluster"]

    def create_instance(self, name: str, cluster: str = "alpha") -> dict[str, Any]:
        """An instance of a cluster, available."""
        self.client().create_db_instance(
            DBInstanceIdentifier=name,
            DBClusterIdentifier=cluster,
            Engine="docdb",
            DBInstanceClass="db.t3.medium",
        )
        return self.instance(name, "available")

    @contextlib.contextmanager
    def mongo(self, cluster: dict[str, Any] | None = None) -> Iterator[pymongo.MongoClient[Any]]:
        """The master user's client of a cluster as described, else of alpha."""
        described = self.client().describe_db_clusters
        place = cluster or described(DBClusterIdentifier="alpha")["DBClusters"][0]
        with pymongo.MongoClient(
            place["Endpoint"],
            place["Port"],
            username="keeper",
            password=PASSWORD,
            tls=True,
            tlsCAFile=str(self.state / "tls" / "ca-bundle.pem"),
            directConnection=True,
            retryWrites=False,
        ) as client:
            yield client

    def create_snapshot(self, name: str, cluster: str = "alpha", *, wait: bool = True) -> dict[str, Any]:
        """A snapshot, available when ``wait``."""
        made = self.client().create_db_cluster_snapshot(
            DBClusterSnapshotIdentifier=name, DBClusterIdentifier=cluster
        )
        return self.snapshot(name, "available") if wait else made["DBClusterSnapshot"]

    def restore(self, name: str, snapshot: str, *, wait: bool = True) -> dict[str, Any]:
        """A cluster restored from a snapshot."""
        made = self.client().restore_db_cluster_from_snapshot(
            DBClusterIdentifier=name, SnapshotIdentifier=snapshot, Engine="docdb"
        )
        return self.cluster(name, "available") if wait else made["DBCluster"]

    def delete_cluster(self, name: str) -> None:
        """Delete without a final snapshot, and wait until it is gone."""
        self.client().delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)
        self.cluster(name, None)

    def cluster(self, name: str, *wanted: str | None, seconds: float = 30.0) -> dict[str, Any]:
        """The cluster once its status is one of ``wanted``; None stands for gone."""
        client = self.client()
        return self._once(
            lambda: client.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0],
            wanted,
            name,
            seconds,
        )

    def snapshot(self, name: str, *wanted: str | None, seconds: float = 30.0) -> dict[str, Any]:
        """The snapshot once its status is one of ``wanted``; None stands for gone."""
        client = self.client()
        return self._once(
            lambda: client.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)[
                "DBClusterSnapshots"
            ][0],
            wanted,
            name,
            seconds,
        )

    def instance(self, name: str, *wanted: str | None, seconds: float = 30.0) -> dict[str, Any]:
        """The instance once its status is one of ``wanted``; None stands for gone."""
        client = self.client()
        return self._once(
            lambda: client.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0],
            wanted,
            name,
            seconds,
        )

    def _once(
        self, look: Callable[[], dict[str, Any]], wanted: tuple[str | None, ...], name: str, seconds: float
    ) -> dict[str, Any]:
        seen: list[str | None] = []

        def there() -> dict[str, Any] | None:
            try:
                found = look()
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                found = {"Status": None}
            status = found.get("Status", found.get("DBInstanceStatus"))
            if not seen or seen[-1] != status:
                seen.append(status)
            return found if status in (wanted or (status,)) else None

        try:
            return dict(wait_until(there, f"{name} becomes {wanted}", seconds))
        except AssertionError as error:
            raise AssertionError(f"{error}; it was {seen}\n{self.log.read_text()[-4000:]}") from None

    # -- below the API: what tests of crashes look at

    def sql(self, cluster: dict[str, Any]) -> dict[str, Any]:
        """Where the PostgreSQL of a cluster listens, for asyncpg."""
        from stilldb.domain.volumes import VolumeKey
        from stilldb.node import identity
        from stilldb.postgres import config
        from stilldb.volume.layout import Layout

        layout = Layout(self.state.resolve(), identity.unprivileged())
        sockets = layout.sockets(VolumeKey(cluster["DbClusterResourceId"], 1).prefix)
        return {"host": str(sockets), "port": config.PORT, "user": config.USER, "database": config.DATABASE}

    async def connect(self, cluster: dict[str, Any]) -> asyncpg.Connection:
        """A connection to a cluster's PostgreSQL, past the gateway."""
        return await asyncpg.connect(**self.sql(cluster), timeout=10)

    def data(self, cluster: dict[str, Any]) -> pathlib.Path:
        """A cluster's data directory."""
        return self.state.resolve() / "volumes" / cluster["DbClusterResourceId"] / "1" / "data"

    def archive(self, cluster: dict[str, Any]) -> pathlib.Path:
        """A cluster's archive."""
        return self.state.resolve() / "archive" / cluster["DbClusterResourceId"] / "1"

    def processes(self, word: str = "") -> dict[int, str]:
        """Pid to command line of every process of this state directory, but the service itself."""
        return {
            pid: line for pid, line in _processes(self.state).items() if word in line and pid != self._pid()
        }

    def _pid(self) -> int | None:
        return None if self.process is None or self.process.poll() is not None else self.process.pid

    # -- the end

    def check_log(self) -> None:
        """An ERROR in the log that the test did not provoke fails it."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if " ERROR " in line]
        surprising = [line for line in lines if not any(re.search(e, line) for e in self.expected_errors)]
        assert not surprising, "\n".join(surprising)

    def end(self) -> list[str]:
        """Stop everything, whatever state it is in; the processes that a clean stop left."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
        left = _processes(self.state)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _processes(self.state), "killed processes end")
        return list(left.values())


def _processes(state: pathlib.Path) -> dict[int, str]:
    """Whoever names the state directory in its command line or stands in it."""
    found: dict[int, str] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            line = (
                pathlib.Path(f"/proc/{name}/cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode(errors="replace")
            )
            place = os.readlink(f"/proc/{name}/cwd")
            # The path ends with a slash or a blank: of a service that was lost sight of, it is an argument.
            named = f"{line} {place} ".replace(f"{state.resolve()} ", f"{state.resolve()}/")
            if line and int(name) != os.getpid() and f"{state.resolve()}/" in named:
                found[int(name)] = line
    return found


@contextlib.contextmanager
def service(*arguments: str, started: bool = True) -> Iterator[Service]:
    """A service that is stopped at the end; fails for processes it left and for errors it logged."""
    with state_directory() as state:
        running = Service(state, arguments)
        try:
            if started:
                running.start()
            yield running
            clean = running.process is None or running.process.poll() is None
            left = running.end()
            assert not (clean and left), f"a clean stop left {left}"
            running.check_log()
        finally:
            running.end()
