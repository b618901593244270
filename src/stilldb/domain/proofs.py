"""Proofs of snapshots: what a trial restore found, and which snapshot is due for one. Pure."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from typing import Final

FRESH: Final = (
    7  # times the interval: for so long a snapshot is proven at each interval, from then on once in as long
)

SETTLED: Final = datetime.timedelta(
    seconds=20
)  # age of a snapshot that is tried: many are gone again at once


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The outcome of one trial restore of a snapshot."""

    snapshot_id: str
    proven_at: datetime.datetime  # UTC, when it ended
    seconds: float  # how long it took
    size: int  # bytes of the restored data directory
    documents: Mapping[
        str, int
    ]  # exact count by database.collection; of one that is not ok: what was counted before, if ever
    ok: bool
    reason: str  # why not; empty when ok


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """An available snapshot."""

    snapshot_id: str
    created_at: datetime.datetime


def interval(age: datetime.timedelta, every: datetime.timedelta) -> datetime.timedelta:
    """How long a proof of a snapshot of this age counts."""
    return every if age < FRESH * every else FRESH * every


def due(
    candidates: Iterable[Candidate],
    proofs: Mapping[str, Proof],
    *,
    now: datetime.datetime,
    every: datetime.timedelta,
) -> list[str]:
    """Snapshot ids that want a trial restore, the first one first: those never proven in the order they were taken, then those
    whose proof is the oldest. A proof that failed counts as one: a damaged snapshot is not tried without end.
    """
    never: list[tuple[datetime.datetime, str]] = []
    again: list[tuple[datetime.datetime, str]] = []
    for one in candidates:
        proof = proofs.get(one.snapshot_id)
        if proof is None:
            if now - one.created_at >= SETTLED:
                never.append((one.created_at, one.snapshot_id))
        elif now - proof.proven_at >= interval(now - one.created_at, every):
            again.append((proof.proven_at, one.snapshot_id))
    return [snapshot_id for _, snapshot_id in [*sorted(never), *sorted(again)]]
