"""Gauges of what there is: clusters, instances and snapshots by status, snapshots by proof, the jobs that wait or run, and
how far each cluster's archive is behind.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import prometheus_client

from stilldb.control.ports import Store, Transaction
from stilldb.domain.names import Scope
from stilldb.domain.proofs import Proof
from stilldb.domain.resources import Cluster, Instance, Job, Snapshot
from stilldb.domain.volumes import ArchiveState
from stilldb.util.metrics import REGISTRY


def _gauge(name: str, what: str, by: str) -> prometheus_client.Gauge:
    return prometheus_client.Gauge(
        f"stilldb_{name}",
        f"{what}, by account, region and {by}.",
        ["account", "region", by],
        registry=REGISTRY,
    )


_BY_STATUS: Final = {
    Cluster: _gauge("clusters", "DB clusters", "status"),
    Instance: _gauge("instances", "DB instances", "status"),
    Snapshot: _gauge("snapshots", "DB cluster snapshots", "status"),
}
_PROOFS: Final = _gauge(
    "snapshot_proofs", "DB cluster snapshots by their last trial restore: proven, failed or never", "proof"
)
_PENDING: Final = _gauge("jobs_pending", "Durable jobs that wait or run", "kind")
_ARCHIVES: Final = {
    "lag_segments": _gauge(
        "archive_lag_segments", "Complete WAL segments that wait for the archive's store", "cluster"
    ),
    "lag_bytes": _gauge("archive_lag_bytes", "Bytes of WAL that wait for the archive's store", "cluster"),
    "lag_seconds": _gauge(
        "archive_lag_seconds", "Age of the oldest WAL that waits for the archive's store", "cluster"
    ),
    "gaps": _gauge("archive_gaps", "Holes in the archived WAL inside the restorable window", "cluster"),
}
_seen: Final[dict[tuple[Scope, str], ArchiveState]] = {}


def archive_seen(scope: Scope, cluster: str, state: ArchiveState) -> None:
    """How far a cluster's archive is behind; kept for the next ``look``."""
    _seen[scope, cluster] = state


async def look(store: Store) -> None:
    """Set the gauges from the state of the whole deployment."""
    counted = await store.run(_counted)
    there = await store.run(lambda tx: {(scope, row.identifier) for scope, row in tx.everywhere(Cluster)})
    for name, gauge in _ARCHIVES.items():
        gauge.clear()
        for (scope, cluster), state in _seen.items():
            if (scope, cluster) in there:
                gauge.labels(scope.account, scope.region, cluster).set(getattr(state, name))
    for gauge, counts in counted.items():
        gauge.clear()
        for labels, number in counts.items():
            gauge.labels(*labels).set(number)


def _counted(tx: Transaction) -> dict[prometheus_client.Gauge, Counter[tuple[str, str, str]]]:
    found = {
        gauge: Counter((scope.account, scope.region, str(row.status)) for scope, row in tx.everywhere(kind))
        for kind, gauge in _BY_STATUS.items()
    }
    pending = Counter((scope.account, scope.region, job.kind) for scope, job in tx.everywhere(Job))
    last = {proof.snapshot_id: "proven" if proof.ok else "failed" for _, proof in tx.everywhere(Proof)}
    proofs = Counter(
        (scope.account, scope.region, last.get(row.snapshot_id, "never"))
        for scope, row in tx.everywhere(Snapshot)
    )
    return {**found, _PENDING: pending, _PROOFS: proofs}
