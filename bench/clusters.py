"""How long clusters take to come up, new and restored, and what an idle one weighs."""

from __future__ import annotations

import collections
import os
import pathlib
import shutil
import subprocess
import time

from bench import processes
from bench.context import Bench
from bench.measure import interleaved, median, timed
from bench.report import at_most
from bench.service import Cluster


def create_to_ping(bench: Bench) -> None:
    """CreateDBCluster and CreateDBInstance, until pymongo's first ping is answered.

    Target: p50 at most 2 s.
    """
    service = bench.service()
    values = []
    for number in range(bench.settings.created_clusters):
        begun = time.perf_counter()
        cluster = Cluster.create(service, f"new-{number}")
        with cluster.connect():
            values.append(time.perf_counter() - begun)
        cluster.remove()
    bench.figure("create → first ping, p50", median(values), "s", at_most(2))
    bench.figure("create → first ping, slowest", max(values), "s")


def restore_vs_copy(bench: Bench) -> None:
    """RestoreDBClusterFromSnapshot and CreateDBInstance until the first find, against ``cp -r`` of the same data.

    The copy is of PostgreSQL's data directory without its WAL, and is not flushed; the two take turns. Target: restore at
    most 1.5 times the copy and 3 s.
    """
    source = bench.big_cluster()
    source.snapshot()
    data = source.volume()
    numbers = iter(range(1_000_000))
    seconds = interleaved(
        bench.settings.restores,
        {
            "copy": lambda: copied(data, bench.directory / "copy"),
            "restore": lambda: _restored(bench, source, f"restored-{next(numbers)}"),
        },
    )
    copy, restore = median(seconds["copy"]), median(seconds["restore"])
    size = sum(directory_size(entry) for entry in _without_wal(data)) / 1e6
    bench.figure("size of the data directory, without WAL", size, "MB")
    bench.figure("cp -r", copy, "s")
    bench.figure("restore → first find", restore, "s", at_most(1.5 * copy + 3))


def _without_wal(data: pathlib.Path) -> list[pathlib.Path]:
    return [entry for entry in data.iterdir() if entry.name != "pg_wal"]


def directory_size(path: pathlib.Path) -> int:
    """Bytes of a file, or of all files below a directory."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(directory_size(entry) for entry in path.iterdir())


def copied(data: pathlib.Path, target: pathlib.Path, *, wal: bool = False) -> float:
    """Seconds of ``cp -r`` of a data directory, with or without its WAL."""
    entries = list(data.iterdir()) if wal else _without_wal(data)
    target.mkdir()
    try:
        os.sync()  # what was written before is not to be paid here
        return timed(lambda: subprocess.run(["cp", "-r", *entries, target], check=True))
    finally:
        shutil.rmtree(target)


def _restored(bench: Bench, source: Cluster, name: str) -> float:
    os.sync()
    begun = time.perf_counter()
    cluster = Cluster.restore(bench.service(), name, source.last_snapshot)
    with cluster.connect() as client:
        found = client.bench.blobs.find_one({"_id": 17})
        took = time.perf_counter() - begun
        if found is None or len(found["content"]) != bench.settings.document_bytes:
            raise LookupError("the restored cluster does not have the data")
    cluster.remove()
    bench.service().settle(seconds=1)
    return took


def idle_memory(bench: Bench) -> None:
    """The proportional set size of every process of one idle cluster with one instance, after a first connection.

    Target: at most 100 MB together.
    """
    with bench.cluster("idle") as cluster:
        with cluster.connect() as client:
            client.bench.things.insert_one({"_id": 1})
            client.bench.things.find_one({"_id": 1})
        time.sleep(10)
        nothing = processes.Memory(0, 0)
        sizes: dict[str, processes.Memory] = collections.defaultdict(lambda: nothing)
        for process in cluster.processes():
            sizes[_kind(process.command)] += processes.memory(process.pid)
    for kind, size in sorted(sizes.items()):
        bench.figure(kind, size.proportional / 1e6, "MB")
    total = sum(sizes.values(), nothing)
    note = "pages shared with other processes, the service and the bench among them, count in part"
    bench.figure("all its processes", total.proportional / 1e6, "MB", at_most(100), note)
    bench.figure("all its processes, private pages only", total.private / 1e6, "MB")


def _kind(command: str) -> str:
    for word, kind in (
        ("pg_receivewal", "WAL receiver"),
        ("stilldb.gateway", "gateway"),
        ("postgres", "PostgreSQL"),
    ):
        if word in command:
            return kind
    return command.split(maxsplit=1)[0] if command else "unnamed"
