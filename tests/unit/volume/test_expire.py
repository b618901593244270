"""What of an archive is kept and why: the verdict of a pure function."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.postgres import lsn
from stilldb.volume import expire
from support.manifests import base, manifest

SEGMENT = lsn.SEGMENT_BYTES


def kept(**given_: object) -> set[str]:
    verdicts = expire.verdicts(**given_)  # type: ignore[arg-type]
    assert all(verdict.reason for verdict in verdicts)
    return {verdict.name for verdict in verdicts if verdict.keep}


def names(*numbers: int, timeline: int = 1) -> list[str]:
    return [lsn.segment_name(timeline, number) for number in numbers]


OLD, NEW = base("old", 1), base("new", 5)


def test_a_live_volume_keeps_its_newest_base_and_the_wal_from_there() -> None:
    segments = names(1, 2, 5, 6)
    assert kept(bases=[OLD, NEW], segments=segments, manifests=[], live=True) == {"new", *names(5, 6)}
    assert kept(bases=[OLD, NEW], segments=segments, manifests=[], live=False) == set()
    assert kept(bases=[], segments=segments, manifests=[], live=True) == set(segments)


def test_a_snapshot_keeps_its_base_and_its_stretch_of_wal() -> None:
    snapshot = manifest(OLD, at=3)
    segments = names(1, 2, 3, 4, 5)
    assert kept(bases=[OLD, NEW], segments=segments, manifests=[snapshot], live=False) == {
        "old",
        *names(1, 2, 3),
    }
    assert kept(bases=[OLD, NEW], segments=segments, manifests=[snapshot], live=True) == {
        "old",
        "new",
        *names(1, 2, 3, 5),
    }


def test_the_newest_segment_counts_while_it_is_partial() -> None:
    partial = f"{lsn.segment_name(1, 3)}.partial"
    assert kept(bases=[OLD], segments=[partial], manifests=[manifest(OLD, at=3)], live=False) == {
        "old",
        partial,
    }


def test_another_timelines_wal_is_no_snapshots_wal() -> None:
    segments = names(2, timeline=2)
    assert kept(bases=[OLD], segments=segments, manifests=[manifest(OLD, at=3)], live=False) == {"old"}


def test_what_is_no_segment_is_left_alone() -> None:
    assert kept(bases=[], segments=["00000002.history"], manifests=[], live=False) == {"00000002.history"}


@given(
    st.lists(st.integers(1, 30), unique=True, min_size=1, max_size=5),
    st.lists(st.integers(0, 10), max_size=5),
    st.booleans(),
)
def test_nothing_that_a_snapshot_needs_ever_goes(starts: list[int], distances: list[int], live: bool) -> None:
    bases = [base(f"b{start}", start) for start in sorted(starts)]
    manifests = [
        dataclasses.replace(
            manifest(bases[n % len(bases)], at=bases[n % len(bases)].start_lsn // SEGMENT + d),
            snapshot_id=f"s{n}",
        )
        for n, d in enumerate(distances)
    ]
    segments = names(*range(1, 50))
    left = kept(bases=bases, segments=segments, manifests=manifests, live=live)
    for snapshot in manifests:
        assert snapshot.base.base_id in left
        assert set(names(*snapshot.segments)) <= left


@pytest.mark.parametrize("count", [1, 3])
def test_freeing_the_last_snapshot_frees_everything_of_a_dead_volume(count: int) -> None:
    assert kept(bases=[OLD, NEW][:count], segments=names(1, 2, 3), manifests=[], live=False) == set()
