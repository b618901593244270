"""$dateAdd, $dateSubtract, $dateDiff and $dateTrunc: dates moved, counted and cut by calendar units.

Rules: MongoDB manual, the sections of these names. Days and longer follow the local calendar of the time zone;
hours and shorter are exact durations.
"""

from __future__ import annotations

import calendar as months
import datetime
from typing import Any, Final

from bson import Int64
from bson.datetime_ms import DatetimeMS

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.expressions import calendar
from stilldb.query.expressions.core import Named, fail, named_function
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING

_ABSENT: Any = object()
_EXACT: Final = {"millisecond": 1, "second": 1000, "minute": 60_000, "hour": 3_600_000}
_DAYS: Final = {"day": 1, "week": 7}
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# Where $dateTrunc counts its bins from: MongoDB's reference point is 2000-01-01.
_ORIGIN: Final = datetime.datetime(2000, 1, 1)


def _unit(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise fail(5439013, f"{name} requires 'unit' to be a string, but got {bson_type_name(value)}")
    if value not in _EXACT and value not in _DAYS and value not in _MONTHS:
        raise MongoError("FailedToParse", f"unknown time unit value: {value}")
    return value


def _nullish(*values: Any) -> bool:
    return any(value is None or value is MISSING for value in values)


def _where(name: str, value: Any) -> datetime.tzinfo:
    if value is _ABSENT:
        return datetime.UTC
    found = calendar.zone_argument(name, value)
    return datetime.UTC if found is None else found


def _mover(name: str, sign: int) -> None:
    def compute(start_date: Any, unit: Any, amount: Any, timezone: Any = _ABSENT) -> Any:
        if _nullish(start_date, unit, amount, timezone):
            return None
        start = _date(name, "startDate", start_date, 5166403)
        exact = numbers.integral(amount)
        if exact is None or abs(exact) > numbers.INT64_MAX:
            raise fail(5166405, f"{name} expects integer amount of time units")
        return DatetimeMS(_moved(name, start, _unit(name, unit), sign * exact, _where(name, timezone)))

    required = {"startDate": 5166402, "unit": 5166402, "amount": 5166402}
    named_function(Named(name, required, ("timezone",), not_object=5166400, unknown=5166401))(compute)


def _date(name: str, which: str, value: Any, code: int) -> int:
    try:
        return calendar.millis_of(value)
    except MongoError:
        raise fail(
            code, f"{name} requires {which} to be convertible to a date, found: {bson_type_name(value)}"
        ) from None


def _moved(name: str, start: int, unit: str, amount: int, where: datetime.tzinfo) -> int:
    try:
        if unit in _EXACT:
            return calendar.millis(calendar.local(start + amount * _EXACT[unit], datetime.UTC))
        moment = calendar.local(start, where)
        if unit in _DAYS:
            return calendar.millis(moment + datetime.timedelta(days=amount * _DAYS[unit]))
        return calendar.millis(_plus_months(moment, amount * _MONTHS[unit]))
    except (OverflowError, ValueError):
        raise fail(5166406, f"{name} overflowed") from None


def _plus_months(moment: datetime.datetime, count: int) -> datetime.datetime:
    """The same day ``count`` months on, or the month's last day if it has no such day."""
    total = moment.year * 12 + moment.month - 1 + count
    year, month = divmod(total, 12)
    last = months.monthrange(year, month + 1)[1] if 1 <= year <= 9999 else 0
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last))


_mover("$dateAdd", 1)
_mover("$dateSubtract", -1)


def _week_start(name: str, value: Any) -> int:
    """The number of the day a week starts with, Monday being 0; Sunday by default."""
    if value is _ABSENT:
        return 6
    if not isinstance(value, str):
        raise fail(5439015, f"{name} requires 'startOfWeek' to be a string, but got {bson_type_name(value)}")
    for number, day in enumerate(_WEEKDAYS):
        if value.lower() in (day, day[:3]):
            return number
    raise MongoError("FailedToParse", f"unknown day of week value: {value}")


@named_function(
    Named(
        "$dateDiff",
        {"startDate": 5166302, "endDate": 5166303, "unit": 5166304},
        ("timezone", "startOfWeek"),
        not_object=5166301,
        unknown=5166302,
    )
)
def date_diff(
    start_date: Any, end_date: Any, unit: Any, timezone: Any = _ABSENT, start_of_week: Any = _ABSENT
) -> Any:
    """How many boundaries of the unit lie between two dates."""
    if _nullish(start_date, end_date, unit, timezone) or (unit == "week" and _nullish(start_of_week)):
        return None
    start = _date("$dateDiff", "startDate", start_date, 5166307)
    end = _date("$dateDiff", "endDate", end_date, 5166307)
    which, where = _unit("$dateDiff", unit), _where("$dateDiff", timezone)
    first = _week_start("$dateDiff", start_of_week) if which == "week" else 0
    return Int64(_boundaries(end, which, where, first) - _boundaries(start, which, where, first))


def _boundaries(value: int, unit: str, where: datetime.tzinfo, first: int) -> int:
    """The running number of the unit that ``value`` lies in, by the clock of ``where``."""
    moment = calendar.local(value, where)
    if unit in _MONTHS:
        return (moment.year * 12 + moment.month - 1) // _MONTHS[unit]
    if unit in _DAYS:
        days = moment.toordinal() - 1
        return (days - first) // 7 if unit == "week" else days
    if unit == "millisecond":
        return value
    return (value + calendar.offset_minutes(moment) * 60_000) // _EXACT[unit]


@named_function(
    Named(
        "$dateTrunc",
        {"date": 5439009, "unit": 5439010},
        ("binSize", "timezone", "startOfWeek"),
        not_object=5439007,
        unknown=5439008,
    )
)
def date_trunc(
    date: Any, unit: Any, bin_size: Any = 1, timezone: Any = _ABSENT, start_of_week: Any = _ABSENT
) -> Any:
    """The start of the bin of ``bin_size`` units that the date lies in."""
    if _nullish(date, unit, bin_size, timezone) or (unit == "week" and _nullish(start_of_week)):
        return None
    value = _date("$dateTrunc", "date", date, 5439012)
    which, where = _unit("$dateTrunc", unit), _where("$dateTrunc", timezone)
    size = numbers.integral(bin_size)
    if size is None or size < 1 or size > numbers.INT64_MAX:
        raise fail(
            5439017,
            f"$dateTrunc requires 'binSize' to be a 64-bit integer above zero, but got value '{bin_size}'",
        )
    first = _week_start("$dateTrunc", start_of_week) if which == "week" else 0
    return DatetimeMS(_truncated(value, which, size, where, first))


def _truncated(value: int, unit: str, size: int, where: datetime.tzinfo, first: int) -> int:
    moment = calendar.local(value, where)
    try:
        if unit in _MONTHS:
            bins = _MONTHS[unit] * size
            since = (moment.year - 2000) * 12 + moment.month - 1
            start = _plus_months(_ORIGIN, since // bins * bins)
            return calendar.millis(start.replace(tzinfo=where))
        if unit in _DAYS:
            return calendar.millis(_day_bin(moment, _DAYS[unit] * size, first, unit).replace(tzinfo=where))
    except (OverflowError, ValueError):
        raise fail(5439005, "$dateTrunc overflowed") from None
    bins = _EXACT[unit] * size
    origin = calendar.millis(_ORIGIN.replace(tzinfo=where))
    return origin + (value - origin) // bins * bins


def _day_bin(moment: datetime.datetime, bins: int, first: int, unit: str) -> datetime.datetime:
    # 2000-01-01 was a Saturday, weekday 5: weeks are counted from the first start of a week after it.
    shift = (first - 5) % 7 if unit == "week" else 0
    origin = _ORIGIN + datetime.timedelta(days=shift)
    since = moment.toordinal() - origin.toordinal()
    return origin + datetime.timedelta(days=since // bins * bins)
