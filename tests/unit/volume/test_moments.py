"""What a volume remembers beside its data, across processes and clocks that are set back."""

from __future__ import annotations

import datetime
import pathlib

import pytest

from stilldb.volume.layout import VolumePaths
from stilldb.volume.manifest import Gap
from stilldb.volume.moments import Moments
from support.manifests import MOMENT

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def paths(tmp_path: pathlib.Path) -> VolumePaths:
    return VolumePaths(tmp_path)


def test_the_next_process_knows_what_the_last_one_did(paths: VolumePaths) -> None:
    moments = Moments(paths)
    assert (moments.latest, moments.retention, moments.gap) == (None, None, None)
    moments.archived(MOMENT)
    moments.retain(HOUR)
    moments.open_gap("a reason")
    following = Moments(paths)
    assert (following.latest, following.retention) == (MOMENT, HOUR)
    assert following.gap is not None
    assert (following.gap.since, following.gap.reason) == (MOMENT, "a reason")
    ended = Gap(MOMENT - HOUR, MOMENT)
    assert following.gaps((ended,)) == (ended, Gap(MOMENT, None))
    following.close_gap()
    assert Moments(paths).gap is None
    assert following.gaps((ended,)) == (ended,)


def test_a_clock_that_is_set_back_takes_no_moment_away(paths: VolumePaths) -> None:
    moments = Moments(paths)
    moments.archived(MOMENT)
    moments.archived(MOMENT - HOUR)
    assert moments.latest == MOMENT
    moments.archived(MOMENT + HOUR)
    assert moments.latest == MOMENT + HOUR


def test_a_gap_begins_once(paths: VolumePaths) -> None:
    moments = Moments(paths)
    moments.archived(MOMENT)
    first = moments.open_gap("one")
    moments.archived(MOMENT + HOUR)
    assert moments.open_gap("two") == first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"latest": 5, "retention": "x"}'])
def test_damaged_files_count_as_absent_but_a_gap_stays_one(paths: VolumePaths, content: str) -> None:
    paths.latest.write_text(content)
    assert Moments(paths).latest is None
    paths.gap.write_text(content)
    assert Moments(paths).gap is not None
