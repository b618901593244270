"""The same pymongo script against StillDB and the peer, side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from bench import peer as peers
from bench.context import Bench
from bench.measure import interleaved, median, ratio
from bench.report import at_least
from bench.service import Client
from bench.workload import OPERATIONS, Workload

OURS, PEER, SYNC = "StillDB", "peer", "peer, --sync-on-commit"

_AGAINST_PEER = {
    "find_one": 1.8,
    "insert_one": 1.2,
    "update_one": 1.2,
    "insert_many": 3.0,
    "count": 20.0,
    "group": 20.0,
}
_LONG = ("insert_many", "count", "group")  # these need no further rounds to be steady
_AGAINST_SYNC = {"insert_one": 2.0, "update_one": 2.0}


def peer(bench: Bench) -> None:
    """Single operations, batches, a filtered count and a group over 50,000 documents; rounds take turns between servers.

    StillDB as it comes: flushed before each acknowledgement. Targets, as times faster: find_one 1.8, insert_one and
    update_one 1.2 (2 against the peer with --sync-on-commit), insert_many 3, count and group 20.
    """
    command = peers.installed(bench.settings.cache)
    with contextlib.ExitStack() as stack:
        works = {
            OURS: _work(bench, stack.enter_context(stack.enter_context(bench.cluster("peer")).connect()))
        }
        for name, sync in ((PEER, False), (SYNC, True)):
            directory = bench.directory / f"peer-{'sync' if sync else 'plain'}"
            server = peers.Peer(command, directory, sync_on_commit=sync)
            stack.callback(server.stop)
            works[name] = _work(bench, stack.enter_context(server.connect()))
        for name, work in works.items():
            bench.say(f"{name}: {bench.settings.documents} documents loaded in {work.load():.1f} s")
        for name, operation in OPERATIONS.items():
            chosen = {key: works[key] for key in works if key != SYNC or name in _AGAINST_SYNC}
            _compare(bench, name, operation, chosen)


def _work(bench: Bench, client: Client) -> Workload:
    return Workload(client.bench, bench.settings.documents, bench.settings.scale)


def _compare(
    bench: Bench, name: str, operation: Callable[[Workload], float], works: dict[str, Workload]
) -> None:
    bench.say(name)
    subjects = {key: _bound(operation, work) for key, work in works.items()}
    interleaved(1, subjects)  # not counted: plans, caches, connections
    short = name not in _LONG
    values = interleaved(bench.settings.rounds * (3 if short else 1), subjects)
    for key, found in values.items():
        bench.figure(f"{name}, {key}", median(found) * 1000, "ms")
    note = f"all with TLS and SCRAM, one client, one connection; the peer is {peers.RELEASE} in a process of its own"
    faster = ratio(values[PEER], values[OURS])
    bench.figure(f"{name}, times the peer", faster, "x", at_least(_AGAINST_PEER[name]), note)
    if SYNC in values:
        faster = ratio(values[SYNC], values[OURS])
        bench.figure(f"{name}, times {SYNC}", faster, "x", at_least(_AGAINST_SYNC[name]), note)


def _bound(operation: Callable[[Workload], float], work: Workload) -> Callable[[], float]:
    return lambda: operation(work)
