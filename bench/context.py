"""What a benchmark is given: settings, a temporary directory, the service, a big cluster; and where it puts figures."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

from bench import data
from bench.report import Figure, Target
from bench.service import Client, Cluster, Service

_BATCH_BYTES = 8_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Sizes and repetitions. ``quick`` ones tell whether everything works, not how fast it is."""

    rounds: int = 7
    small_mb: int = 10
    medium_mb: int = 50
    big_mb: int = 1000
    huge_mb: int = 5000
    days: int = 30  # of daily snapshots
    document_bytes: int = 10_000  # of the documents that make up those sizes
    snapshots: int = 100  # idle
    loaded_snapshots: int = 200  # under write load
    writers: int = 2
    window_seconds: float = 5  # of one round of writers with or without snapshots
    created_clusters: int = 9
    restores: int = 3
    documents: int = 50_000  # of the script that the peer gets too
    scale: float = 1.0  # of its repetitions
    cache: pathlib.Path = pathlib.Path(".bench")

    @classmethod
    def quick(cls) -> Settings:
        """A run of a minute or two."""
        return cls(
            rounds=2,
            medium_mb=10,
            big_mb=60,
            huge_mb=100,
            days=3,
            snapshots=10,
            loaded_snapshots=20,
            window_seconds=2,
            created_clusters=3,
            restores=1,
            documents=5_000,
            scale=0.2,
        )


class Bench:
    """One run. Everything that is opened through it is closed with it, in reverse order."""

    def __init__(self, settings: Settings, directory: pathlib.Path, stack: contextlib.ExitStack) -> None:
        self.settings = settings
        self.directory = directory
        self.figures: list[Figure] = []
        self._benchmark = ""
        self._stack = stack
        self._service: Service | None = None
        self._big: Cluster | None = None

    @contextlib.contextmanager
    def benchmark(self, name: str) -> Iterator[None]:
        """Figures recorded inside belong to ``name``."""
        self._benchmark = name
        begun = time.perf_counter()
        self.say("…")
        yield
        for line in self._service.complaints() if self._service is not None else ():
            self.say(f"the service complains: {line}")
        self.say(f"took {time.perf_counter() - begun:.0f} s")

    def say(self, text: str) -> None:
        """Progress, on standard error."""
        print(f"[{self._benchmark}] {text}", file=sys.stderr, flush=True)

    def figure(
        self, what: str, value: float, unit: str, target: Target | None = None, note: str = ""
    ) -> None:
        """Record a figure."""
        self.figures.append(Figure(self._benchmark, what, value, unit, target, note))

    def service(self) -> Service:
        """The service, started when first asked for."""
        if self._service is None:
            self._service = Service(self.directory)
            self._stack.callback(self._service.stop)
        return self._service

    def logs(self) -> str:
        """The ends of the service's logs, for a failure to explain itself."""
        return "" if self._service is None else self._service.tail()

    @contextlib.contextmanager
    def cluster(self, name: str) -> Iterator[Cluster]:
        """A cluster with an instance that is deleted afterwards."""
        cluster = Cluster.create(self.service(), name)
        yield cluster
        cluster.remove()

    def big_cluster(self) -> Cluster:
        """The cluster with the big amount of data, filled when first asked for, kept for the run."""
        if self._big is None:
            cluster = Cluster.create(self.service(), "big")
            self.fill(cluster, self.settings.big_mb)
            self._big = cluster
        return self._big

    @contextlib.contextmanager
    def service_in(self, directory: pathlib.Path) -> Iterator[Service]:
        """One more service, with its state somewhere else."""
        service = Service(directory)
        try:
            yield service
        finally:
            service.stop()

    def fill(self, cluster: Cluster, megabytes: int) -> None:
        """Load so much data, and wait for the base backup that follows."""
        count = megabytes * 1_000_000 // self.settings.document_bytes
        begun = time.perf_counter()
        with cluster.connect() as client:
            _insert(client, count, self.settings.document_bytes, self.say)
        took = time.perf_counter() - begun
        self.say(
            f"loaded {megabytes} MB in {took:.1f} s, {megabytes / took:.0f} MB/s; waiting for base backups"
        )
        cluster.service.settle()


def _insert(client: Client, count: int, size: int, say: Callable[[str], None]) -> None:
    batch: list[data.Document] = []
    for place, document in enumerate(data.blobs(count, size), 1):
        batch.append(document)
        if len(batch) * size >= _BATCH_BYTES or place == count:
            client.bench.blobs.insert_many(batch)
            batch = []
            if place * size % 200_000_000 < _BATCH_BYTES:
                say(f"{place * size / 1e6:.0f} MB loaded")
