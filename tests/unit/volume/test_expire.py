"""What of an archive is kept and why: the verdict of a pure function."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.domain.volumes import VolumeKey
from stilldb.postgres import lsn
from stilldb.volume import expire
from stilldb.volume.expire import Needs, Verdict
from stilldb.volume.keys import ArchiveKeys
from stilldb.volume.manifest import Base, Manifest
from stilldb.volume.objects.store import ObjectEntry
from support.manifests import MOMENT, base, manifest

SEGMENT = lsn.SEGMENT_BYTES
KEYS = ArchiveKeys(VolumeKey("cluster-A", 1))
DAY = datetime.timedelta(days=1)
LATER = MOMENT + 10 * DAY
LIVE = Needs(live=True, now=LATER, retention=DAY)
DEAD = Needs(live=False, now=LATER)


def entries(*keys: str, modified: datetime.datetime = MOMENT) -> list[ObjectEntry]:
    return [ObjectEntry(key, 10, modified) for key in keys]


def of_base(one: Base) -> list[str]:
    """The keys of a base backup's objects."""
    parts = [KEYS.part(one.base_id, number) for number in range(one.parts)]
    return [*parts, KEYS.backup_manifest(one.base_id), KEYS.base(one.base_id)]


def judged(
    needs: Needs,
    bases: list[Base],
    segments: list[int],
    manifests: list[Manifest] | None = None,
    *,
    more: list[str] | None = None,
) -> dict[str, Verdict]:
    keys = [key for one in bases for key in of_base(one)]
    keys += [KEYS.segment(1, number) for number in segments] + (more or [])
    keys += [KEYS.manifest(snapshot.snapshot_id) for snapshot in manifests or []]
    found = expire.verdicts(KEYS, entries=entries(*keys), bases=bases, manifests=manifests or [], needs=needs)
    assert all(verdict.reason for verdict in found)
    assert sorted(key for verdict in found for key in verdict.keys) == sorted(keys), (
        "each object has one verdict"
    )
    return {verdict.name: verdict for verdict in found}


def kept(*arguments: object, **more: object) -> set[str]:
    """Names of bases, and numbers of segments as text, that are kept."""
    found = judged(*arguments, **more)  # type: ignore[arg-type]
    names = {name for name, verdict in found.items() if verdict.keep and verdict.kind in {"base", "wal"}}
    return {str(parsed[1]) if (parsed := lsn.parse_segment(name)) else name for name in names}


OLD, NEW = base("old", 1), base("new", 5)
RECENT = base("recent", 8, finished_at=LATER - DAY / 2)


def test_a_live_volume_keeps_the_newest_base_from_before_its_retention_and_everything_since() -> None:
    assert kept(LIVE, [OLD, NEW, RECENT], [1, 2, 5, 6, 8]) == {"new", "recent", "5", "6", "8"}
    everything = {"old", "new", "recent", "1", "2", "5", "6", "8"}
    forever = Needs(live=True, now=LATER)
    assert kept(forever, [OLD, NEW, RECENT], [1, 2, 5, 6, 8]) == everything, "nobody has said how long"
    month = Needs(live=True, now=LATER, retention=30 * DAY)
    assert kept(month, [OLD, NEW, RECENT], [1, 2, 5, 6, 8]) == everything
    assert kept(LIVE, [], [1, 2]) == {"1", "2"}


def test_a_destroyed_volume_keeps_nothing_but_what_is_retained() -> None:
    assert kept(DEAD, [OLD, NEW], [1, 5]) == set()
    retained = Needs(live=False, now=LATER, retain_until=LATER + DAY)
    assert kept(retained, [OLD, NEW], [1, 5]) == {"old", "new", "1", "5"}
    over = Needs(live=False, now=LATER, retain_until=LATER)
    assert kept(over, [OLD, NEW], [1, 5]) == set()


def test_a_snapshot_keeps_its_base_and_its_stretch_of_wal() -> None:
    snapshot = manifest(OLD, at=3)
    assert kept(DEAD, [OLD, NEW], [1, 2, 3, 4, 5], [snapshot]) == {"old", "1", "2", "3"}
    assert kept(LIVE, [OLD, NEW], [1, 2, 3, 4, 5], [snapshot]) == {"old", "new", "1", "2", "3", "5"}


def test_incremental_backups_keep_what_they_stand_on_but_no_wal_of_it() -> None:
    second = base("second", 5, parent="old")
    third = base("third", 9, parent="second")
    assert kept(LIVE, [OLD, second, third], [1, 5, 9]) == {"old", "second", "third", "9"}
    snapshot = manifest(OLD, second, at=6)
    assert kept(DEAD, [OLD, second, third], [1, 5, 6, 9], [snapshot]) == {"old", "second", "5", "6"}


def test_a_base_whose_description_no_listing_shows_is_kept_for_its_snapshot() -> None:
    found = expire.verdicts(
        KEYS,
        entries=entries(*of_base(OLD)),
        bases=[],
        manifests=[manifest(OLD, at=3)],
        needs=DEAD,
    )
    assert [(verdict.name, verdict.keep) for verdict in found] == [("old", True)]


def test_what_was_broken_off_goes_when_it_is_old_enough() -> None:
    parts = [KEYS.part("broken", number) for number in range(3)]
    lonely = KEYS.tail("gone")
    found = judged(LIVE, [NEW], [5], more=[*parts, lonely])
    assert (found["broken"].kind, found["broken"].keep, found["broken"].size) == ("orphan", False, 30)
    assert (found["gone"].kind, found["gone"].keep) == ("orphan", False)
    under_way = Needs(live=True, now=LATER, in_progress={"broken", "gone"})
    assert all(verdict.keep for verdict in judged(under_way, [NEW], [5], more=[*parts, lonely]).values())
    young = Needs(live=True, now=MOMENT + DAY / 24, grace=DAY)
    assert judged(young, [NEW], [5], more=parts)["broken"].keep


def test_the_newest_segment_counts_while_it_is_partial() -> None:
    partial = f"{KEYS.segment(1, 3)}.partial"
    assert judged(DEAD, [OLD], [], [manifest(OLD, at=3)], more=[partial])[partial.rpartition("/")[2]].keep


def test_another_timelines_wal_is_no_snapshots_wal() -> None:
    assert kept(DEAD, [OLD], [], [manifest(OLD, at=3)], more=[KEYS.segment(2, 2)]) == {"old"}


def test_what_no_format_has_is_left_alone() -> None:
    unknown = f"{KEYS.root}notes.txt"
    verdict = judged(DEAD, [], [], more=[unknown])[unknown]
    assert (verdict.kind, verdict.keep) == ("unknown", True)


@pytest.mark.parametrize("name", [KEYS.record, KEYS.history(2), KEYS.gap])
def test_the_record_and_the_histories_go_with_the_last_who_needs_anything(name: str) -> None:
    def stays(needs: Needs, manifests: list[Manifest]) -> bool:
        found = judged(needs, [], [], manifests, more=[name])
        return next(verdict.keep for verdict in found.values() if name in verdict.keys)

    assert stays(LIVE, [])
    assert stays(DEAD, [manifest(OLD, at=3)])
    assert not stays(DEAD, [])


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=6, unique_by=lambda one: one[0]
    ),
    st.lists(st.integers(0, 10), max_size=5),
    st.booleans(),
    st.integers(0, 12),
)
def test_nothing_that_a_snapshot_or_a_moment_needs_ever_goes(
    starts: list[tuple[int, bool]], distances: list[int], live: bool, age: int
) -> None:
    bases: list[Base] = []
    chains: dict[str, list[Base]] = {}
    for start, incremental in sorted(starts):
        parent = bases[-1] if bases and incremental else None
        finished = MOMENT + start * DAY / 10
        one = base(f"b{start}", start, parent=parent and parent.base_id, finished_at=finished)
        bases.append(one)
        chains[one.base_id] = [*(chains[parent.base_id] if parent else []), one]
    manifests = [
        manifest(*chains[of.base_id], at=of.start_lsn // SEGMENT + distance, name=f"s{n}")
        for n, distance in enumerate(distances)
        for of in [bases[n % len(bases)]]
    ]
    needs = Needs(live=live, now=MOMENT + 3 * DAY, retention=age * DAY / 4)
    left = kept(needs, bases, list(range(1, 50)), manifests)
    for snapshot in manifests:
        assert {one.base_id for one in snapshot.chain} <= left
        assert {str(number) for number in snapshot.segments} <= left
    if live:
        since = needs.now - age * DAY / 4
        before = [one for one in bases if datetime.datetime.fromisoformat(one.finished_at) <= since]
        first = before[-1] if before else bases[0]
        assert {one.base_id for one in chains[first.base_id]} <= left
        assert {one.base_id for one in bases if one.start_lsn >= first.start_lsn} <= left
        assert {str(number) for number in range(first.start_lsn // SEGMENT, 50)} <= left
