"""What the backup machinery costs, how long restores take with WAL to replay, and how much space snapshots need."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from bench import data, processes
from bench.clusters import copied, directory_size
from bench.context import Bench
from bench.measure import interleaved, median, percentile, ratio, timed, wait_until
from bench.report import at_least, at_most
from bench.service import Client, Cluster
from bench.writer import Sample, Writers


def snapshots_at_any_size(bench: Bench) -> None:
    """Snapshots of 5 GB against 50 MB, 100 in a row, and while writers write.

    Targets: p50 with 5 GB at most 1.3 times that with 50 MB; 100 in a row in at most 3 s; p99 under load at most 100 ms.
    """
    settings = bench.settings
    with bench.cluster("medium") as medium, bench.cluster("huge") as huge:
        bench.fill(medium, settings.medium_mb)
        bench.fill(huge, settings.huge_mb)
        for cluster in (medium, huge):
            for _ in range(3):
                cluster.snapshot()
        values = interleaved(settings.snapshots // 2, {"medium": medium.snapshot, "huge": huge.snapshot})
        bench.figure(f"{settings.medium_mb} MB of data, p50", median(values["medium"]) * 1000, "ms")
        bench.figure(f"{settings.huge_mb} MB of data, p50", median(values["huge"]) * 1000, "ms")
        bench.figure(
            "p50, large against small", median(values["huge"]) / median(values["medium"]), "x", at_most(1.3)
        )
        rows = [timed(lambda: [huge.snapshot() for _ in range(100)]) for _ in range(3)]
        bench.figure("100 in a row, of the large one", median(rows), "s", at_most(3))
        with contextlib.closing(Writers(huge.address(), settings.writers)) as writers:
            time.sleep(1)
            writers.sample()
            loaded = []
            for _ in range(settings.loaded_snapshots):
                loaded.append(huge.snapshot())
                time.sleep(0.05)
            sample = writers.sample()
        note = f"{sample.rate:,.0f} writes/s meanwhile"
        bench.figure("under write load, p50", median(loaded) * 1000, "ms", note=note)
        bench.figure("under write load, p99", percentile(loaded, 0.99) * 1000, "ms", at_most(100))


def writers_at_ten_snapshots_a_second(bench: Bench) -> None:
    """Writers with ten snapshots a second against none, in windows that take turns.

    The writers ask for 70 % of what they reach alone: the client that takes the snapshots needs its share of the two
    processors too. Targets: throughput at least 0.95, a write's p99 at most 1.15 times.
    """
    seconds = bench.settings.window_seconds
    with bench.cluster("ten") as cluster:
        with contextlib.closing(Writers(cluster.address(), bench.settings.writers)) as writers:
            time.sleep(2)
            writers.sample()
            time.sleep(seconds)
            rate = 0.7 * writers.sample().rate
        with contextlib.closing(Writers(cluster.address(), bench.settings.writers, rate)) as writers:
            time.sleep(2)
            windows = {"none": lambda: time.sleep(seconds), "ten": lambda: _ten_a_second(cluster, seconds)}
            kept = _windows(bench, writers, windows)
    _compare(
        bench, kept, "none", "ten", "no snapshots", "ten snapshots a second", at_least(0.95), at_most(1.15)
    )


def _ten_a_second(cluster: Cluster, seconds: float) -> None:
    begun = time.monotonic()
    for number in range(round(seconds * 10)):
        time.sleep(max(0.0, begun + number / 10 - time.monotonic()))
        cluster.snapshot(every=0.02)


def backup_machinery(bench: Bench) -> None:
    """Writers with all of it on (receiver, summaries, compression, base backups) against an archive that is off.

    Off: the receiver stands still (SIGSTOP) and PostgreSQL makes no summaries; the bench does that to the processes it finds.
    Targets: throughput at least 0.85, a write's p99 at most 1.5 times.
    """
    with (
        bench.cluster("machinery") as cluster,
        contextlib.closing(Writers(cluster.address(), bench.settings.writers)) as writers,
    ):
        time.sleep(2)

        def off() -> None:
            with _archive_off(cluster):
                time.sleep(bench.settings.window_seconds)

        kept = _windows(bench, writers, {"off": off, "on": lambda: time.sleep(bench.settings.window_seconds)})
    _compare(bench, kept, "off", "on", "archive off", "backup machinery on", at_least(0.85), at_most(1.5))


@contextlib.contextmanager
def _archive_off(cluster: Cluster) -> Iterator[None]:
    receivers = [process.pid for process in cluster.processes() if "pg_receivewal" in process.command]
    if not receivers:
        raise LookupError("no WAL receiver runs: there is nothing to switch off")
    cluster.sql("ALTER SYSTEM SET summarize_wal = off", "SELECT pg_reload_conf()")
    for pid in receivers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in receivers:
            os.kill(pid, signal.SIGCONT)
        cluster.sql("ALTER SYSTEM RESET summarize_wal", "SELECT pg_reload_conf()")


def base_backups_under_writes(bench: Bench) -> None:
    """A write's p99 at 500 writes a second while a full base backup of 1 GB runs, against the same time without one.

    A restored cluster takes its first base backup as soon as it is up: that one is watched. Target: at most twice.
    """
    source = bench.big_cluster()
    source.snapshot()
    quiet: list[Sample] = []
    busy: list[Sample] = []
    for number in range(max(1, bench.settings.restores)):
        cluster = Cluster.restore(bench.service(), f"watched-{number}", source.last_snapshot)
        with contextlib.closing(Writers(cluster.address(), 2, rate=500)) as writers:
            wait_until("the first base backup", cluster.backing_up, seconds=30)
            writers.sample()
            took = timed(
                lambda cluster=cluster: wait_until("its end", lambda: not cluster.backing_up(), every=0.05)
            )
            busy.append(writers.sample())
            bench.say(f"a base backup took {took:.1f} s")
            time.sleep(5)
            writers.sample()
            time.sleep(max(took, bench.settings.window_seconds))
            quiet.append(writers.sample())
        cluster.remove()
    bench.figure("a write's p99, no base backup", median(_p99(quiet)) * 1000, "ms")
    bench.figure("a write's p99, during a base backup", median(_p99(busy)) * 1000, "ms")
    bench.figure("p99, during against without", ratio(_p99(busy), _p99(quiet)), "x", at_most(2))
    bench.figure("writes during a base backup", median([one.rate for one in busy]), "writes/s")


def _windows(bench: Bench, writers: Writers, windows: dict[str, Any]) -> dict[str, list[Sample]]:
    kept: dict[str, list[Sample]] = {name: [] for name in windows}

    def run(name: str) -> float:
        writers.sample()
        windows[name]()
        sample = writers.sample()
        kept[name].append(sample)
        return sample.rate

    interleaved(bench.settings.rounds, {name: lambda name=name: run(name) for name in windows})
    return kept


def _p99(samples: list[Sample]) -> list[float]:
    return [sample.p99 for sample in samples]


def _compare(
    bench: Bench, kept: dict[str, list[Sample]], without: str, with_: str, a: str, b: str, rate: Any, p99: Any
) -> None:
    rates = {name: [sample.rate for sample in samples] for name, samples in kept.items()}
    bench.figure(f"writes, {a}", median(rates[without]), "writes/s")
    bench.figure(f"writes, {b}", median(rates[with_]), "writes/s")
    bench.figure("throughput, with against without", ratio(rates[with_], rates[without]), "x", rate)
    bench.figure(f"a write's p99, {a}", median(_p99(kept[without])) * 1000, "ms")
    bench.figure(f"a write's p99, {b}", median(_p99(kept[with_])) * 1000, "ms")
    bench.figure("p99, with against without", ratio(_p99(kept[with_]), _p99(kept[without])), "x", p99)


def restore_with_wal(bench: Bench) -> None:
    """Restore of 1 GB and so much WAL as a snapshot may have to replay (under 512 MB), to the first find and first write.

    Targets: at most 3 s and 8 s, each plus the time of ``cp -r`` of the same bytes.
    """
    source = bench.big_cluster()
    with source.connect() as client:
        _write_wal(source, client, bench.settings.big_mb * 480 // 1000)
    source.snapshot()
    folder = source.volume()
    numbers = iter(range(1_000_000))
    writes: list[float] = []

    def restored() -> float:
        find, write = _restored(bench, source, f"replayed-{next(numbers)}")
        writes.append(write)
        return find

    seconds = interleaved(
        bench.settings.restores,
        {"copy": lambda: copied(folder, bench.directory / "copy", wal=True), "restore": restored},
    )
    copy = median(seconds["copy"])
    bench.figure("cp -r of the data directory with its WAL", copy, "s")
    bench.figure("restore → first find", median(seconds["restore"]), "s", at_most(3 + copy))
    bench.figure("restore → first write", median(writes), "s", at_most(8 + copy))


def _write_wal(cluster: Cluster, client: Client, megabytes: int) -> None:
    """Updates of random documents until so much WAL was written since now."""
    chance = random.Random(5)
    begin = cluster.sql("SELECT pg_current_wal_lsn()")
    while int(cluster.sql(f"SELECT pg_current_wal_lsn() - '{begin}'::pg_lsn")) < megabytes * 1_000_000:
        low = chance.randrange(90_000)
        client.bench.blobs.update_many({"_id": {"$gte": low, "$lt": low + 500}}, {"$inc": {"part.number": 1}})


def _restored(bench: Bench, source: Cluster, name: str) -> tuple[float, float]:
    os.sync()
    begun = time.perf_counter()
    cluster = Cluster.restore(bench.service(), name, source.last_snapshot)
    with cluster.connect() as client:
        if client.bench.blobs.find_one({"_id": 17}) is None:
            raise LookupError("the restored cluster does not have the data")
        find = time.perf_counter() - begun
        client.bench.written.insert_one({"_id": 1})
        write = time.perf_counter() - begun
    cluster.remove()
    bench.service().settle(seconds=1)
    return find, write


def against_dumps(bench: Bench) -> None:
    """Snapshot and restore of 1 GB against a dump through the gateway in mongodump's form, and pg_dump and pg_restore.

    mongodump itself is no package that this machine can install: the dump is made by PyMongo, which reads and inserts raw
    documents in batches as mongodump and mongorestore do. Targets: a restore at least 5 times faster than either, a
    snapshot at least 100 times.
    """
    source = bench.big_cluster()
    snapshot = source.snapshot()
    find, _ = _restored(bench, source, "rival")
    place = bench.directory / "dump"
    place.mkdir()
    try:
        with source.connect() as client:
            dump = timed(lambda: _dump(client, place / "blobs.bson"))
        with bench.cluster("loaded") as target, target.connect() as client:
            load = timed(lambda: _load(client, place / "blobs.bson"))
        pg_dump = timed(
            lambda: source.postgres("pg_dump", "--format=custom", "--compress=0", f"--file={place / 'pg'}")
        )
        with bench.cluster("pgloaded") as target:
            pg_load = timed(
                lambda: target.postgres(
                    "pg_restore", "--clean", "--if-exists", "--dbname=stilldb", str(place / "pg")
                )
            )
    finally:
        shutil.rmtree(place)
    bench.figure("snapshot", snapshot * 1000, "ms")
    bench.figure("restore → first find", find, "s")
    for name, saved, loaded in (("dump by PyMongo", dump, load), ("pg_dump", pg_dump, pg_load)):
        bench.figure(f"{name}: dump", saved, "s")
        bench.figure(f"{name}: restore", loaded, "s")
        bench.figure(f"a snapshot against {name}", saved / snapshot, "x", at_least(100))
        bench.figure(f"a restore against {name}", loaded / find, "x", at_least(5))


def _dump(client: Client, path: pathlib.Path) -> None:
    collection = client.bench.get_collection(
        "blobs", codec_options=bson.CodecOptions(document_class=RawBSONDocument)
    )
    with path.open("wb") as file:
        for batch in collection.find_raw_batches():
            file.write(batch)
        os.fsync(file.fileno())


def _load(client: Client, path: pathlib.Path) -> None:
    options = bson.CodecOptions(document_class=RawBSONDocument)
    batch: list[Any] = []
    with path.open("rb") as file:
        for document in bson.decode_file_iter(file, options):
            batch.append(document)
            if len(batch) == 1000:
                client.bench.blobs.insert_many(batch)
                batch = []
    if batch:
        client.bench.blobs.insert_many(batch)


def space_of_daily_snapshots(bench: Bench) -> None:
    """Thirty snapshots of 1 GB of orders, one percent of the documents changed between two of them.

    Target: the archive at most 1.3 times one compressed full backup and the compressed WAL of all those days.
    """
    count = (
        bench.settings.big_mb * 1_000_000 // 800
    )  # a stored order needs about 800 bytes with its query form
    with bench.cluster("daily") as cluster, cluster.connect() as client:
        for first in range(0, count, 5000):
            client.bench.orders.insert_many(list(data.orders(first, min(5000, count - first))))
        cluster.sql("VACUUM (FREEZE, ANALYZE)")
        # The full backup of the filled cluster: the first one of what is restored from it.
        cluster.snapshot()
        filled = Cluster.restore(bench.service(), "filled", cluster.last_snapshot)
    with _removed(filled) as cluster, cluster.connect() as client:
        wait_until("the first base backup", lambda: cluster.archive().joinpath("base").exists(), seconds=30)
        bench.service().settle()
        archive = cluster.archive()
        full = max(directory_size(base) for base in (archive / "base").iterdir())
        before = {path.name for path in (archive / "wal").iterdir()}
        others = {path.name for path in (archive / "base").iterdir()}
        wal: dict[str, int] = {}
        chance = random.Random(11)
        for _ in range(bench.settings.days):
            for _ in range(max(1, count // 100 // 100)):
                ids = [chance.randrange(count) for _ in range(100)]
                client.bench.orders.update_many({"_id": {"$in": ids}}, {"$inc": {"visits": 1}})
            cluster.snapshot()
            time.sleep(1)
            wal |= {
                path.name: path.stat().st_size
                for path in (archive / "wal").iterdir()
                if path.name not in before
            }
        bench.service().settle()
        wal |= {
            path.name: path.stat().st_size for path in (archive / "wal").iterdir() if path.name not in before
        }
        bases = [path for path in (archive / "base").iterdir() if path.name not in others]
        incrementals = sum(directory_size(base) for base in bases)
        data_size = directory_size(cluster.volume())
    total = full + sum(wal.values()) + incrementals
    bench.figure("size of the data directory", data_size / 1e6, "MB")
    bench.figure("one full backup, compressed", full / 1e6, "MB")
    bench.figure(f"WAL of {bench.settings.days} days, compressed", sum(wal.values()) / 1e6, "MB")
    bench.figure(f"{len(bases)} incremental backups", incrementals / 1e6, "MB")
    bench.figure("archive against full backup and WAL", total / (full + sum(wal.values())), "x", at_most(1.3))


def clone_on_xfs(bench: Bench) -> None:
    """A copy-on-write clone of 5 GB on XFS in a loopback file, until the first write; needs root and mkfs.xfs.

    Targets: at most 2 s, less than 2 % new space.
    """
    if os.geteuid() != 0 or shutil.which("mkfs.xfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        bench.say("NOT RUN: a loopback XFS needs root and mkfs.xfs (Debian's xfsprogs)")
        return
    with (
        _xfs(bench.directory / "xfs", bench.settings.huge_mb * 4 + 3000) as mounted,
        bench.service_in(mounted) as service,
    ):
        source = Cluster.create(service, "source")
        bench.fill(source, bench.settings.huge_mb)
        values, shares = [], []
        size = directory_size(source.volume())
        for number in range(bench.settings.restores):
            os.sync()
            free = shutil.disk_usage(mounted).free
            begun = time.perf_counter()
            clone = Cluster.clone(service, f"clone-{number}", source)
            with clone.connect() as client:
                client.bench.written.insert_one({"_id": 1})
                values.append(time.perf_counter() - begun)
            os.sync()
            shares.append((free - shutil.disk_usage(mounted).free) / size)
            clone.remove()
        bench.figure(f"clone of {size / 1e6:,.0f} MB → first write", median(values), "s", at_most(2))
        bench.figure("new space, of the size", median(shares) * 100, "%", at_most(2))


@contextlib.contextmanager
def _xfs(place: pathlib.Path, megabytes: int) -> Iterator[pathlib.Path]:
    image = place.with_suffix(".img")
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes * 1_000_000)
    subprocess.run(
        ["mkfs.xfs", "-q", "-m", "reflink=1", image],
        check=True,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    place.chmod(0o755)
    try:
        yield place
    finally:
        processes.end_all(str(place))
        subprocess.run(["umount", place], check=True)
        image.unlink()


@contextlib.contextmanager
def _removed(cluster: Cluster) -> Iterator[Cluster]:
    yield cluster
    cluster.remove()
