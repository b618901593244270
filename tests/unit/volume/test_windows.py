"""The moments that a volume can be restored to."""

from __future__ import annotations

import datetime

import pytest

from stilldb.domain.volumes import RestorableWindow
from stilldb.volume.manifest import Gap
from stilldb.volume.windows import window
from support.manifests import MOMENT, base

HOUR = datetime.timedelta(hours=1)
BASES = [base("old", 1), base("new", 5, finished_at=MOMENT + 10 * HOUR)]
LATEST = MOMENT + 20 * HOUR


def found(*gaps: Gap, retention: datetime.timedelta | None = 100 * HOUR) -> RestorableWindow | None:
    return window(BASES, gaps, latest=LATEST, now=LATEST + HOUR, retention=retention)


def hole(since: int, until: int | None) -> Gap:
    return Gap(MOMENT + since * HOUR, None if until is None else MOMENT + until * HOUR)


def test_from_the_end_of_the_oldest_base_to_the_last_archived_moment() -> None:
    assert found() == RestorableWindow(MOMENT, LATEST, ())
    assert found(retention=None) == RestorableWindow(MOMENT, LATEST, ())
    assert found(retention=6 * HOUR) == RestorableWindow(LATEST - 5 * HOUR, LATEST, ())


def test_nothing_to_restore_to() -> None:
    assert window([], (), latest=LATEST, now=LATEST, retention=HOUR) is None
    assert window(BASES, (), latest=None, now=LATEST, retention=HOUR) is None
    assert window(BASES, (), latest=MOMENT - HOUR, now=LATEST, retention=HOUR) is None


@pytest.mark.parametrize(
    ("gap", "retention", "earliest", "latest", "gaps"),
    [
        (hole(3, 5), 100, 0, 20, [(3, 5)]),
        (hole(3, None), 100, 0, 3, []),  # it lasts
        (hole(3, 5), 17, 5, 20, []),  # the retention begins inside it
        (hole(3, 5), 10, 11, 20, []),  # it is older than the retention
    ],
)
def test_gaps(gap: Gap, retention: int, earliest: int, latest: int, gaps: list[tuple[int, int]]) -> None:
    expected = tuple((MOMENT + since * HOUR, MOMENT + until * HOUR) for since, until in gaps)
    assert found(gap, retention=retention * HOUR) == RestorableWindow(
        MOMENT + earliest * HOUR, MOMENT + latest * HOUR, expected
    )
