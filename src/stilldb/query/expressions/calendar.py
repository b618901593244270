"""Dates as milliseconds since 1970 taken apart and put together, in time zones; formats and parsing.

Owns the calendar for the date operators. Years outside 1 to 9999, which 64-bit dates can name, are refused.
"""

from __future__ import annotations

import datetime
import functools
import re
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

from bson import ObjectId, Timestamp
from bson.datetime_ms import DatetimeMS

from stilldb.query.errors import MongoError
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING

EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND: Final = datetime.timedelta(milliseconds=1)
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})?")


def millis_of(value: Any) -> int:
    """The milliseconds of a date, timestamp or ObjectId; raises MongoError 16006 for other types."""
    if isinstance(value, DatetimeMS):
        return int(value)
    if isinstance(value, Timestamp):
        return value.time * 1000
    if isinstance(value, ObjectId):
        return int.from_bytes(value.binary[:4], "big") * 1000
    raise MongoError("Location16006", f"can't convert from BSON type {bson_type_name(value)} to Date")


@functools.lru_cache(maxsize=256)
def zone(name: str) -> datetime.tzinfo:
    """The zone called ``name``: an Olson name or an offset such as +05:30; raises MongoError 40485."""
    found = _OFFSET.fullmatch(name)
    if found:
        minutes = int(found[2]) * 60 + int(found[3] or 0)
        if minutes < 24 * 60:
            return datetime.timezone(datetime.timedelta(minutes=-minutes if found[1] == "-" else minutes))
    elif name in {"Z", "UTC", "GMT"}:
        return datetime.UTC
    elif name in zoneinfo.available_timezones():
        return zoneinfo.ZoneInfo(name)
    raise MongoError("Location40485", f'unrecognized time zone identifier: "{name}"')


def zone_argument(operator: str, value: Any) -> datetime.tzinfo | None:
    """The zone an operator's ``timezone`` names: UTC if not given, None for null."""
    if value is MISSING:
        return datetime.UTC
    if value is None:
        return None
    if not isinstance(value, str):
        found = bson_type_name(value)
        raise MongoError(
            "Location40517",
            f"{operator} requires a string for the timezone argument, but was given a {found}",
        )
    return zone(value)


def local(millis: int, where: datetime.tzinfo) -> datetime.datetime:
    """The moment in ``where``."""
    try:
        return (EPOCH + datetime.timedelta(milliseconds=millis)).astimezone(where)
    except OverflowError:
        raise MongoError("Overflow", f"date {millis} is outside the years 1 to 9999") from None


def millis(moment: datetime.datetime) -> int:
    """The milliseconds since 1970 of ``moment``."""
    return (moment - EPOCH) // _MILLISECOND


def iso_text(value: int) -> str:
    """The UTC ISO text with milliseconds, as ``2024-01-31T10:00:00.000Z``."""
    return format_date(local(value, datetime.UTC), "%Y-%m-%dT%H:%M:%S.%LZ")


def week_of_year(moment: datetime.datetime) -> int:
    """Weeks begin on Sundays; days before the first Sunday are in week 0."""
    return int(moment.strftime("%U"))


def offset_minutes(moment: datetime.datetime) -> int:
    """Minutes east of UTC."""
    offset = moment.utcoffset()
    return 0 if offset is None else int(offset.total_seconds() // 60)


def _offset_text(moment: datetime.datetime) -> str:
    minutes = offset_minutes(moment)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


MONTHS: Final[list[str]] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
FORMATS: Final[dict[str, Callable[[datetime.datetime], str]]] = {
    "Y": lambda moment: f"{moment.year:04}",
    "m": lambda moment: f"{moment.month:02}",
    "d": lambda moment: f"{moment.day:02}",
    "H": lambda moment: f"{moment.hour:02}",
    "M": lambda moment: f"{moment.minute:02}",
    "S": lambda moment: f"{moment.second:02}",
    "L": lambda moment: f"{moment.microsecond // 1000:03}",
    "j": lambda moment: f"{moment.timetuple().tm_yday:03}",
    "w": lambda moment: str(moment.isoweekday() % 7 + 1),
    "u": lambda moment: str(moment.isoweekday()),
    "U": lambda moment: f"{week_of_year(moment):02}",
    "V": lambda moment: f"{moment.isocalendar().week:02}",
    "G": lambda moment: f"{moment.isocalendar().year:04}",
    "z": _offset_text,
    "Z": lambda moment: str(offset_minutes(moment)),
    "b": lambda moment: MONTHS[moment.month - 1][:3].title(),
    "B": lambda moment: MONTHS[moment.month - 1].title(),
    "%": lambda moment: "%",
}


def format_date(moment: datetime.datetime, pattern: str) -> str:
    """``moment`` by MongoDB's format specifiers; raises MongoError 18535 and 18536 for others."""
    parts = pattern.split("%")
    made = [parts[0]]
    index = 1
    while index < len(parts):
        letter, rest = parts[index][:1], parts[index][1:]
        if not letter:
            index, letter, rest = index + 1, "%", parts[index + 1] if index + 1 < len(parts) else ""
            if index >= len(parts):
                raise MongoError("Location18535", "Unmatched '%' at end of format string")
        if letter not in FORMATS:
            raise MongoError("Location18536", f"Invalid format character '%{letter}' in format string")
        made.append(FORMATS[letter](moment) + rest)
        index += 1
    return "".join(made)


_READ: Final[dict[str, str]] = {
    "Y": r"(?P<Y>\d{4})",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "H": r"(?P<H>\d{1,2})",
    "M": r"(?P<M>\d{1,2})",
    "S": r"(?P<S>\d{1,2})",
    "L": r"(?P<L>\d{1,3})",
    "j": r"(?P<j>\d{1,3})",
    "u": r"(?P<u>[1-7])",
    "V": r"(?P<V>\d{1,2})",
    "G": r"(?P<G>\d{4})",
    "z": r"(?P<z>Z|[+-]\d{2}:?\d{2}|[A-Za-z_]+(?:/[A-Za-z_]+)*)",
    "Z": r"(?P<Z>[+-]\d+)",
    "b": r"(?P<b>[A-Za-z]{3})",
    "B": r"(?P<B>[A-Za-z]+)",
    "%": "%",
}
_ISO = re.compile(
    r"\s*(?P<Y>\d{4})-(?P<m>\d{1,2})(?:-(?P<d>\d{1,2}))?"
    r"(?:[T\s]\s*(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<L>\d{1,9}))?)?"
    r"\s*(?P<z>Z|[+-]\d{2}(?::?\d{2})?)?)?\s*",
    re.IGNORECASE,
)


@functools.lru_cache(maxsize=128)
def _reader(pattern: str) -> re.Pattern[str]:
    made, letters = "", re.split(r"%(.)", pattern, flags=re.DOTALL)
    for index, piece in enumerate(letters):
        if index % 2 == 0:
            made += re.escape(piece)
        elif piece in _READ and f"(?P<{piece}>" not in made:
            made += _READ[piece]
        else:
            raise MongoError("Location18536", f"Invalid format character '%{piece}' in format string")
    return re.compile(made)


def parse_date(text: str, pattern: str | None, where: datetime.tzinfo, zone_given: bool) -> int:
    """The milliseconds that ``text`` names (ISO if there is no ``pattern``); raises ConversionFailure."""
    found = (_ISO if pattern is None else _reader(pattern)).fullmatch(text)
    if found is None:
        raise MongoError("ConversionFailure", f"Error parsing date string '{text}'")
    fields = {key: value for key, value in found.groupdict().items() if value is not None}
    named = _zone_of(fields)
    if named is not None and zone_given:
        raise MongoError(
            "ConversionFailure",
            f"you cannot pass in a date/time string with time zone information ('{text}') together with a timezone argument",
        )
    try:
        return millis(_moment(fields).replace(tzinfo=where if named is None else named))
    except (ValueError, OverflowError) as problem:
        raise MongoError("ConversionFailure", f"Error parsing date string '{text}'; {problem}") from None


def _zone_of(fields: dict[str, str]) -> datetime.tzinfo | None:
    if "z" in fields:
        return zone(fields["z"].upper() if len(fields["z"]) == 1 else fields["z"])
    if "Z" in fields:
        return datetime.timezone(datetime.timedelta(minutes=int(fields["Z"])))
    return None


def _moment(fields: dict[str, str]) -> datetime.datetime:
    day = _day(fields)
    fraction = int(fields.get("L", "0").ljust(3, "0")[:3])
    hour, minute, second = (int(fields.get(key, "0")) for key in "HMS")
    return datetime.datetime(day.year, day.month, day.day, hour, minute, second, fraction * 1000)


def _day(fields: dict[str, str]) -> datetime.date:
    if "G" in fields:
        return datetime.date.fromisocalendar(
            int(fields["G"]), int(fields.get("V", "1")), int(fields.get("u", "1"))
        )
    year = int(fields.get("Y", "1970"))
    if "j" in fields:
        return datetime.date(year, 1, 1) + datetime.timedelta(days=int(fields["j"]) - 1)
    return datetime.date(year, _month(fields), int(fields.get("d", "1")))


def _month(fields: dict[str, str]) -> int:
    name = fields.get("B", fields.get("b", "")).lower()
    for number, month in enumerate(MONTHS, 1):
        if name and name in (month, month[:3]):
            return number
    if name:
        raise ValueError("unknown month")
    return int(fields.get("m", "1"))
