"""Date parts, $dateToString, $dateFromString, $dateToParts, $dateFromParts.

Rules: MongoDB manual, "Date Expression Operators". Moving and comparing dates is in date_steps.py.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from bson import Int64
from bson.datetime_ms import DatetimeMS

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.expressions import calendar
from stilldb.query.expressions.core import (
    EMPTY,
    Constant,
    Context,
    Evaluator,
    Named,
    Scope,
    compile_in,
    fail,
    named_function,
    operator,
)
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING

_PARTS: dict[str, Callable[[datetime.datetime], int]] = {
    "$year": lambda moment: moment.year,
    "$month": lambda moment: moment.month,
    "$dayOfMonth": lambda moment: moment.day,
    "$hour": lambda moment: moment.hour,
    "$minute": lambda moment: moment.minute,
    "$second": lambda moment: moment.second,
    "$millisecond": lambda moment: moment.microsecond // 1000,
    "$dayOfWeek": lambda moment: moment.isoweekday() % 7 + 1,
    "$dayOfYear": lambda moment: moment.timetuple().tm_yday,
    "$week": calendar.week_of_year,
    "$isoWeek": lambda moment: moment.isocalendar().week,
    "$isoWeekYear": lambda moment: Int64(moment.isocalendar().year),
    "$isoDayOfWeek": lambda moment: moment.isoweekday(),
}


def _part_operator(name: str, part: Callable[[datetime.datetime], int]) -> None:
    @operator(name)
    def parse(spec: Any, context: Context) -> Evaluator:
        date, where = _date_and_zone(name, spec, context)

        def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
            value, zone = date(document, scope), calendar.zone_argument(name, where(document, scope))
            if value is None or value is MISSING or zone is None:
                return None
            return part(calendar.local(calendar.millis_of(value), zone))

        return evaluate


def _date_and_zone(name: str, spec: Any, context: Context) -> tuple[Evaluator, Evaluator]:
    if isinstance(spec, dict) and not next(iter(spec), "$").startswith("$"):
        for key in spec:
            if key not in {"date", "timezone"}:
                raise fail(40535, f'unrecognized option to {name}: "{key}"')
        if "date" not in spec:
            raise fail(40539, f"missing 'date' argument to {name}, provided: {spec!r}")
        where = compile_in(spec["timezone"], context) if "timezone" in spec else Constant(MISSING)
        return compile_in(spec["date"], context), _null_when_missing(where)
    if isinstance(spec, list):
        if len(spec) != 1:
            raise fail(
                40536, f"{name} accepts exactly one argument if given an array, but was given {len(spec)}"
            )
        return compile_in(spec[0], context), Constant(MISSING)
    return compile_in(spec, context), Constant(MISSING)


def _null_when_missing(where: Evaluator) -> Evaluator:
    """A zone that was given but is not there is null, unlike one that was not given."""
    if isinstance(where, Constant):
        return where

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        value = where(document, scope)
        return None if value is MISSING else value

    return evaluate


for _name, _part in _PARTS.items():
    _part_operator(_name, _part)

_ABSENT: Any = object()


def _zone(name: str, value: Any) -> datetime.tzinfo | None:
    if value is _ABSENT:
        return datetime.UTC
    return calendar.zone_argument(name, None if value is MISSING else value)


@named_function(
    Named("$dateToString", {"date": 18628}, ("format", "timezone", "onNull"), not_object=18629, unknown=18534)
)
def date_to_string(date: Any, format_: Any = _ABSENT, timezone: Any = _ABSENT, on_null: Any = None) -> Any:
    """The date by a format, ISO by default; ``on_null`` stands for a null date."""
    where = _zone("$dateToString", timezone)
    if date is None or date is MISSING:
        return on_null
    if where is None or format_ is None or format_ is MISSING:
        return None
    if format_ is not _ABSENT and not isinstance(format_, str):
        found = bson_type_name(format_)
        raise fail(
            18533, f"$dateToString requires that 'format' be a string, found: {found} with value {format_!r}"
        )
    ending = "Z" if timezone is _ABSENT else ""
    pattern = f"%Y-%m-%dT%H:%M:%S.%L{ending}" if format_ is _ABSENT else format_
    return calendar.format_date(calendar.local(calendar.millis_of(date), where), pattern)


@named_function(
    Named(
        "$dateFromString",
        {"dateString": 40542},
        ("format", "timezone", "onNull", "onError"),
        not_object=40540,
        unknown=40541,
    )
)
def date_from_string(
    date_string: Any,
    format_: Any = _ABSENT,
    timezone: Any = _ABSENT,
    on_null: Any = None,
    on_error: Any = _ABSENT,
) -> Any:
    """The date a string names; ``on_null`` for a null string, ``on_error`` for one that is no date."""
    where = _zone("$dateFromString", timezone)
    if date_string is None or date_string is MISSING:
        return on_null
    if where is None or format_ is None or format_ is MISSING:
        return None
    try:
        return DatetimeMS(_parsed(date_string, format_, where, timezone is not _ABSENT))
    except MongoError as problem:
        if on_error is _ABSENT or problem.name != "ConversionFailure":
            raise
        return on_error


def _parsed(text: Any, pattern: Any, where: datetime.tzinfo, zone_given: bool) -> int:
    if not isinstance(text, str):
        found = bson_type_name(text)
        words = f"$dateFromString requires that 'dateString' be a string, found: {found} with value {text!r}"
        raise MongoError("ConversionFailure", words)
    if pattern is not _ABSENT and not isinstance(pattern, str):
        raise fail(
            40684, f"$dateFromString requires that 'format' be a string, found: {bson_type_name(pattern)}"
        )
    return calendar.parse_date(text, None if pattern is _ABSENT else pattern, where, zone_given)


@named_function(
    Named("$dateToParts", {"date": 40522}, ("timezone", "iso8601"), not_object=40524, unknown=40520)
)
def date_to_parts(date: Any, timezone: Any = _ABSENT, iso8601: Any = False) -> Any:
    """The parts of a date as a document."""
    where = _zone("$dateToParts", timezone)
    if date is None or date is MISSING or where is None or iso8601 is None or iso8601 is MISSING:
        return None
    if not isinstance(iso8601, bool):
        raise fail(40521, f"iso8601 must evaluate to a bool, found {bson_type_name(iso8601)}")
    moment = calendar.local(calendar.millis_of(date), where)
    day = moment.isocalendar()
    head = (
        {"isoWeekYear": day.year, "isoWeek": day.week, "isoDayOfWeek": day.weekday}
        if iso8601
        else {"year": moment.year, "month": moment.month, "day": moment.day}
    )
    clock = {"hour": moment.hour, "minute": moment.minute, "second": moment.second}
    return {**head, **clock, "millisecond": moment.microsecond // 1000}


_CLOCK = ("hour", "minute", "second", "millisecond")
_CIVIL = ("year", "month", "day", *_CLOCK)
_ISO_DAY = ("iso_week_year", "iso_week", "iso_day_of_week")
_ISO = ("isoWeekYear", "isoWeek", "isoDayOfWeek", *_CLOCK)


@named_function(
    Named(
        "$dateFromParts",
        {},
        tuple(dict.fromkeys((*_CIVIL, *_ISO, "timezone"))),
        not_object=40519,
        unknown=40518,
    )
)
def date_from_parts(timezone: Any = _ABSENT, **parts: Any) -> Any:
    """The date of civil or ISO week parts; parts outside their range carry over."""
    if "year" not in parts and "iso_week_year" not in parts:
        raise fail(40516, "$dateFromParts requires either 'year' or 'isoWeekYear' to be present")
    if "year" in parts and any(key in parts for key in _ISO_DAY):
        raise fail(40489, "$dateFromParts does not allow mixing natural dates with ISO dates")
    where = _zone("$dateFromParts", timezone)
    if where is None or any(value is None or value is MISSING for value in parts.values()):
        return None
    exact = {key: _part_value(key, value) for key, value in parts.items()}
    try:
        return DatetimeMS(calendar.millis(_assembled(exact).replace(tzinfo=where)))
    except (ValueError, OverflowError):
        raise fail(40523, "$dateFromParts: the parts are outside the years 1 to 9999") from None


def _part_value(key: str, value: Any) -> int:
    exact = numbers.integral(value)
    if exact is None:
        raise fail(
            40515, f"'{key}' must evaluate to an integer, found {bson_type_name(value)} with value {value!r}"
        )
    if key in {"year", "iso_week_year"} and not 1 <= exact <= 9999:
        raise fail(40523, f"'{key}' must evaluate to an integer in the range 1 to 9999, found {exact}")
    if abs(exact) > 32768 and key not in {"second", "millisecond"}:
        raise fail(
            31034,
            f"'{key}' must evaluate to a value in the range [-32768, 32767]; value {exact} is not in range",
        )
    return exact


def _assembled(parts: dict[str, int]) -> datetime.datetime:
    clock = datetime.timedelta(
        hours=parts.get("hour", 0),
        minutes=parts.get("minute", 0),
        seconds=parts.get("second", 0),
        milliseconds=parts.get("millisecond", 0),
    )
    if "year" in parts:
        months = parts["year"] * 12 + parts.get("month", 1) - 1
        first = datetime.datetime(months // 12, months % 12 + 1, 1)
        return first + datetime.timedelta(days=parts.get("day", 1) - 1) + clock
    monday = datetime.datetime.fromisocalendar(parts["iso_week_year"], 1, 1)
    days = (parts.get("iso_week", 1) - 1) * 7 + parts.get("iso_day_of_week", 1) - 1
    return monday + datetime.timedelta(days=days) + clock
