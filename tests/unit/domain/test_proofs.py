"""Which snapshot is due for a trial restore."""

from __future__ import annotations

import datetime

from stilldb.domain.proofs import SETTLED, Candidate, Proof, due

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def proof(snapshot_id: str, age: datetime.timedelta, *, ok: bool = True) -> Proof:
    return Proof(
        snapshot_id=snapshot_id, proven_at=NOW - age, seconds=1.0, size=1, documents={}, ok=ok, reason=""
    )


def listed(ages: dict[str, datetime.timedelta], *proofs: Proof, every: datetime.timedelta = DAY) -> list[str]:
    candidates = [Candidate(name, NOW - age) for name, age in ages.items()]
    return due(candidates, {one.snapshot_id: one for one in proofs}, now=NOW, every=every)


def test_new_snapshots_come_first_and_then_the_longest_unproven() -> None:
    ages = {"a": 3 * DAY, "b": 2 * DAY, "newer": DAY / 24, "older": DAY / 2}
    assert listed(ages, proof("a", DAY), proof("b", 2 * DAY)) == ["older", "newer", "b", "a"]


def test_a_snapshot_of_this_moment_is_left_alone_first() -> None:
    assert listed({"a": SETTLED - datetime.timedelta(seconds=1)}) == []
    assert listed({"a": SETTLED}) == ["a"]


def test_a_proof_counts_for_the_interval() -> None:
    assert listed({"a": 3 * DAY}, proof("a", DAY - datetime.timedelta(seconds=1))) == []
    assert listed({"a": 3 * DAY}, proof("a", DAY)) == ["a"]


def test_an_old_snapshot_is_proven_once_a_week() -> None:
    assert listed({"a": 8 * DAY}, proof("a", 6 * DAY)) == []
    assert listed({"a": 8 * DAY}, proof("a", 7 * DAY)) == ["a"]
    assert listed({"a": 8 * DAY}, proof("a", DAY), every=2 * DAY) == []


def test_a_failed_proof_is_not_tried_without_end() -> None:
    assert listed({"a": 2 * DAY}, proof("a", DAY / 2, ok=False)) == []
    assert listed({"a": 2 * DAY}, proof("a", DAY, ok=False)) == ["a"]
