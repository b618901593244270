"""Backup windows, restorable windows, spans of events, places of snapshots: pure rules."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.domain import events, names, windows
from stilldb.domain.faults import InvalidParameterCombination, InvalidParameterValue
from stilldb.domain.volumes import RestorableWindow

DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
moments = st.datetimes(
    datetime.datetime(2026, 1, 1), datetime.datetime(2027, 1, 1), timezones=st.just(datetime.UTC)
)
clocks = st.times().map(lambda time: f"{time:%H:%M}")


@pytest.mark.parametrize(
    ("window", "opened"),
    [
        ("03:00-03:30", NOON - 9 * HOUR),
        ("12:00-12:30", NOON),
        ("12:01-12:31", NOON - DAY + datetime.timedelta(minutes=1)),
        ("23:45-00:15", NOON - DAY + 11.75 * HOUR),
    ],
)
def test_when_the_window_last_opened(window: str, opened: datetime.datetime) -> None:
    assert windows.last_opening(window, NOON) == opened


@given(moments, clocks)
def test_the_window_opened_within_the_last_day(now: datetime.datetime, clock: str) -> None:
    opened = windows.last_opening(f"{clock}-{clock}", now)
    assert now - DAY < opened <= now
    assert f"{opened:%H:%M}" == clock
    assert windows.last_opening(f"{clock}-{clock}", opened) == opened


@given(moments, clocks, st.timedeltas(datetime.timedelta(0), 5 * DAY))
def test_one_backup_a_day_and_what_was_missed_is_caught_up(
    last: datetime.datetime, clock: str, later: datetime.timedelta
) -> None:
    window, now = f"{clock}-{clock}", last + later
    due = windows.backup_due(window, now, last)
    assert due or later < DAY
    assert not windows.backup_due(window, now, now), "once it is taken it is not due again"
    if due:
        assert windows.last_opening(window, now) > last


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("03:00-03:29", "at least 30 minutes"),
        ("03:00-03:00", "less than 24 hours"),
        ("03:00", "Invalid backup window format"),
        ("25:00-26:00", "Invalid hour:minute value"),
    ],
)
def test_bad_backup_windows(window: str, message: str) -> None:
    with pytest.raises(InvalidParameterValue, match=message):
        windows.backup_window(window)


def test_a_restorable_window_without_its_gaps() -> None:
    window = RestorableWindow(
        NOON, NOON + 10 * HOUR, ((NOON + HOUR, NOON + 2 * HOUR), (NOON + 5 * HOUR, NOON + 6 * HOUR))
    )
    assert window.spans() == (
        (NOON, NOON + HOUR),
        (NOON + 2 * HOUR, NOON + 5 * HOUR),
        (NOON + 6 * HOUR, NOON + 10 * HOUR),
    )
    for hours, held in (
        (-0.1, False),
        (0, True),
        (1, True),
        (1.5, False),
        (2, True),
        (5.5, False),
        (10, True),
    ):
        assert window.holds(NOON + hours * HOUR) is held, hours
    assert not window.holds(NOON + 10.1 * HOUR)


def test_a_gap_over_an_edge_of_the_window() -> None:
    early = RestorableWindow(NOON, NOON + 4 * HOUR, ((NOON - HOUR, NOON + HOUR),))
    assert early.spans() == ((NOON + HOUR, NOON + 4 * HOUR),)
    late = RestorableWindow(NOON, NOON + 4 * HOUR, ((NOON + 3 * HOUR, NOON + 9 * HOUR),))
    assert late.spans() == ((NOON, NOON + 3 * HOUR),)


@given(moments, st.timedeltas(datetime.timedelta(seconds=1), DAY))
def test_what_is_shown_is_whole_milliseconds_inside(
    first: datetime.datetime, length: datetime.timedelta
) -> None:
    window = RestorableWindow(first, first + length, ())
    shown = window.shown()
    assert window.earliest <= shown.earliest <= shown.latest <= window.latest
    for moment in (shown.earliest, shown.latest):
        assert moment.microsecond % 1000 == 0
        assert window.holds(moment)


def test_spans_of_events() -> None:
    assert events.span(NOON, None, None, None) == (NOON - HOUR, NOON)
    assert events.span(NOON, None, None, 5) == (NOON - datetime.timedelta(minutes=5), NOON)
    assert events.span(NOON, None, NOON - DAY, None) == (NOON - DAY - HOUR, NOON - DAY)
    assert events.span(NOON, NOON - DAY, None, None) == (NOON - DAY, NOON)
    assert events.span(NOON, None, None, 10**9)[0] < NOON - events.KEPT_FOR
    for start, end, duration in (
        (NOON - DAY, None, 5),
        (NOON, NOON - HOUR, None),
    ):
        with pytest.raises(InvalidParameterCombination):
            events.span(NOON, start, end, duration)
    with pytest.raises(InvalidParameterValue):
        events.span(NOON, None, None, 0)


def test_places() -> None:
    here = names.Deployment("123456789012", "us-east-1")
    prefix = "arn:aws:rds:eu-west-1:999999999999:cluster-snapshot:"
    assert names.place("Rds:A-1", "P", "cluster-snapshot", here).name == "rds:a-1"
    assert names.place("one", "P", "cluster-snapshot", here).is_of(here)
    there = names.place(f"{prefix}rds:alpha-2026-03-01-03-00", "P", "cluster-snapshot", here)
    assert there == names.Place("999999999999", "eu-west-1", "rds:alpha-2026-03-01-03-00")
    assert not there.is_of(here)
    for bad in (
        f"{prefix}x".replace("cluster-snapshot", "snapshot"),
        "arn:aws:rds:eu-west-1::cluster-snapshot:x",
    ):
        with pytest.raises(InvalidParameterValue, match="Invalid resource name:  arn"):
            names.place(bad, "P", "cluster-snapshot", here)
    with pytest.raises(InvalidParameterValue, match="Expected region = us-east-1, actual region = eu-west-1"):
        names.reference_place(f"{prefix}x", "P", "cluster-snapshot", here)
