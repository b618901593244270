"""Backup and maintenance windows: parsing, defaults, overlap, and when a backup is due.

Source: API reference and Developer Guide (UTC).
"""

from __future__ import annotations

import datetime
import random
import re

from stilldb.domain.faults import InvalidParameterValue

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = 24 * 60
_WEEK = 7 * _DAY
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)

# First minute of each region's 8-hour block for windows that nobody chose (Developer Guide, backup window).
_BLOCKS = {
    "sa-east-1": 0,
    "us-east-1": 3 * 60,
    "us-east-2": 3 * 60,
    "ca-central-1": 3 * 60,
    "eu-north-1": 4 * 60,
    "us-west-2": 6 * 60,
    "ap-south-1": 6 * 60,
    "ap-southeast-2": 12 * 60,
    "ap-northeast-1": 13 * 60,
    "ap-northeast-2": 13 * 60,
    "ap-southeast-1": 14 * 60,
    "eu-central-1": 21 * 60,
    "eu-west-1": 22 * 60,
    "eu-west-2": 22 * 60,
    "eu-west-3": 23 * 60 + 59,
}


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def default_backup_window(region: str, chance: random.Random) -> str:
    """A random half hour inside the region's block, ``hh:mm-hh:mm``."""
    start = _BLOCKS.get(region, 3 * 60) + chance.randrange(0, 15) * 30
    return f"{_clock(start)}-{_clock(start + 30)}"


def default_maintenance_window(region: str, backup_window: str, chance: random.Random) -> str:
    """A random half hour of a random day that leaves the backup window alone, ``ddd:hh:mm-ddd:hh:mm``."""
    while True:
        start = (
            chance.randrange(7) * _DAY + (_BLOCKS.get(region, 3 * 60) + chance.randrange(0, 15) * 30) % _DAY
        )
        window = f"{_DAYS[start // _DAY]}:{_clock(start)}-{_DAYS[(start + 30) % _WEEK // _DAY]}:{_clock(start + 30)}"
        if not overlap(backup_window, window):
            return window


def _minute(text: str, window: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidParameterValue(f"Invalid hour:minute value: {window}")
    return int(match[1]) * 60 + int(match[2])


def _backup_range(window: str) -> tuple[int, int]:
    parts = window.split("-")
    if len(parts) != 2:
        raise InvalidParameterValue(
            f"Invalid backup window format: {window}. Should be specified as a range hh24:mi-hh24:mi "
            "(24H Clock UTC). Example: 23:45-00:15"
        )
    start, end = (_minute(part, window) for part in parts)
    return start, (end - start) % _DAY or _DAY


def _maintenance_range(window: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\w{3}):(\d\d:\d\d)-(\w{3}):(\d\d:\d\d)", window.lower(), re.ASCII)
    if match is None:
        raise InvalidParameterValue(
            f"Invalid maintenance window format: {window}. Should be specified as a range ddd:hh24:mi-ddd:hh24:mi "
            "(24H Clock UTC). Example: Sun:23:45-Mon:00:15"
        )
    if match[1] not in _DAYS or match[3] not in _DAYS or not all(_TIME.fullmatch(match[i]) for i in (2, 4)):
        raise InvalidParameterValue(f"Invalid day:hour:minute value: {window}")
    start = _DAYS.index(match[1]) * _DAY + _minute(match[2], window)
    end = _DAYS.index(match[3]) * _DAY + _minute(match[4], window)
    return start, (end - start) % _WEEK


def backup_window(window: str) -> str:
    """The window as it is kept; at least 30 minutes and under 24 hours, else a fault."""
    _, length = _backup_range(window)
    if length < 30:
        raise InvalidParameterValue("The backup window must be at least 30 minutes.")
    if length >= _DAY:
        raise InvalidParameterValue("The backup window must be less than 24 hours.")
    return window


def last_opening(window: str, now: datetime.datetime) -> datetime.datetime:
    """When the daily backup window last opened, at ``now`` or before."""
    start, _ = _backup_range(window)
    opening = now.replace(hour=start // 60, minute=start % 60, second=0, microsecond=0)
    return opening if opening <= now else opening - datetime.timedelta(days=1)


def backup_due(window: str, now: datetime.datetime, last: datetime.datetime) -> bool:
    """Whether the day's backup is due: the window opened since the ``last`` one (or since there was anything to back up).

    One that was missed is due however long ago its window closed; of several that were missed, one is.
    """
    return last < last_opening(window, now)


def maintenance_window(window: str) -> str:
    """The window in lower case; at least 30 minutes and under 24 hours, else a fault."""
    _, length = _maintenance_range(window)
    if length < 30:
        raise InvalidParameterValue("The maintenance window must be at least 30 minutes.")
    if length >= _DAY:
        raise InvalidParameterValue("Maintenance window must be less than 24 hours.")
    return window.lower()


def overlap(backup: str, maintenance: str) -> bool:
    """Whether the daily backup window meets the weekly maintenance window."""
    start, length = _backup_range(backup)
    week_start, week_length = _maintenance_range(maintenance)
    # The backup recurs each day, so a day before and a day after the week cover every way round the week's end.
    return any(
        day * _DAY + start < week_start + week_length and week_start < day * _DAY + start + length
        for day in range(-1, 9)
    )
