"""How long snapshots take, and what writers feel of them."""

from __future__ import annotations

import contextlib
import time

from bench.context import Bench
from bench.measure import interleaved, median, percentile, ratio
from bench.report import at_least, at_most
from bench.service import Cluster
from bench.writer import Writers


def snapshot_latency(bench: Bench) -> None:
    """CreateDBClusterSnapshot, from the call until describe shows it available, asked every 2 ms by the same client.

    Targets: p50 at most 35 ms idle; p99 at most 150 ms while writers insert and update; p50 with 1 GB of data at most 1.3
    times that with 10 MB.
    """
    with bench.cluster("latency") as cluster:
        bench.fill(cluster, bench.settings.small_mb)
        _warm_up(cluster)
        idle = [cluster.snapshot() for _ in range(bench.settings.snapshots)]
        bench.figure("idle, p50", median(idle) * 1000, "ms", at_most(35))
        bench.figure("idle, p99", percentile(idle, 0.99) * 1000, "ms")
        _under_load(bench, cluster)
        _by_size(bench, cluster)


def _warm_up(cluster: Cluster) -> None:
    for _ in range(3):
        cluster.snapshot()


def _under_load(bench: Bench, cluster: Cluster) -> None:
    writers = Writers(cluster.address(), bench.settings.writers)
    with contextlib.closing(writers):
        time.sleep(1)
        writers.sample()
        values = []
        for _ in range(bench.settings.loaded_snapshots):
            values.append(cluster.snapshot())
            time.sleep(0.05)
        sample = writers.sample()
    bench.figure("under write load, p50", median(values) * 1000, "ms")
    bench.figure("under write load, p99", percentile(values, 0.99) * 1000, "ms", at_most(150))
    bench.figure(
        "writers meanwhile",
        sample.rate,
        "writes/s",
        note=f"write load: {bench.settings.writers} writers, each insert_one and update_one in turn, unpaced",
    )
    bench.figure("writers meanwhile, p99", sample.p99 * 1000, "ms")


def _by_size(bench: Bench, small: Cluster) -> None:
    big = bench.big_cluster()
    _warm_up(big)
    bench.service().settle()
    values = interleaved(
        max(10, bench.settings.snapshots // 2), {"small": small.snapshot, "big": big.snapshot}
    )
    bench.figure(f"{bench.settings.big_mb} MB of data, p50", median(values["big"]) * 1000, "ms")
    bench.figure(
        f"p50 with {bench.settings.big_mb} MB against {bench.settings.small_mb} MB",
        median(values["big"]) / median(values["small"]),
        "x",
        at_most(1.3),
    )


def writers_during_snapshots(bench: Bench) -> None:
    """Writers' throughput with one snapshot a second against none, in windows that take turns.

    Target: at least 0.95.
    """
    with bench.cluster("writers") as cluster:
        writers = Writers(cluster.address(), bench.settings.writers)
        with contextlib.closing(writers):
            time.sleep(2)
            p99: dict[str, list[float]] = {"with": [], "without": []}

            def window(name: str, *, snapshots: bool) -> float:
                writers.sample()
                _pass(cluster, bench.settings.window_seconds, snapshots=snapshots)
                sample = writers.sample()
                p99[name].append(sample.p99)
                return sample.rate

            rates = interleaved(
                bench.settings.rounds,
                {
                    "without": lambda: window("without", snapshots=False),
                    "with": lambda: window("with", snapshots=True),
                },
            )
    bench.figure("writes, no snapshots", median(rates["without"]), "writes/s")
    bench.figure("writes, one snapshot a second", median(rates["with"]), "writes/s")
    bench.figure(
        "throughput with against without", ratio(rates["with"], rates["without"]), "x", at_least(0.95)
    )
    bench.figure("a write's p99, no snapshots", median(p99["without"]) * 1000, "ms")
    bench.figure("a write's p99, one snapshot a second", median(p99["with"]) * 1000, "ms")


def _pass(cluster: Cluster, seconds: float, *, snapshots: bool) -> None:
    """Let the time pass; a snapshot at each full second of it if wanted."""
    begun = time.monotonic()
    if snapshots:
        for second in range(max(1, round(seconds))):
            time.sleep(max(0.0, begun + second - time.monotonic()))
            cluster.snapshot(every=0.02)
    time.sleep(max(0.0, begun + seconds - time.monotonic()))
