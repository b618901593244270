"""Events: which sources and categories there are, and what the request of a list may ask for. Pure.

Source: Developer Guide, DocumentDB event categories and messages. What is not Amazon's is in docs/differences.md.
"""

from __future__ import annotations

import datetime
from typing import Final

from stilldb.domain.faults import InvalidParameterCombination, InvalidParameterValue

KEPT_FOR: Final = datetime.timedelta(days=14)
DEFAULT_DURATION: Final = datetime.timedelta(minutes=60)

CATEGORIES: Final[dict[str, tuple[str, ...]]] = {
    "db-instance": (
        "notification",
        "failure",
        "creation",
        "maintenance",
        "deletion",
        "recovery",
        "restoration",
        "configuration change",
        "read replica",
        "backtrack",
        "low storage",
        "backup",
        "availability",
        "failover",
    ),
    "db-security-group": ("configuration change", "failure"),
    "db-parameter-group": ("configuration change",),
    "db-cluster": (
        "notification",
        "failure",
        "maintenance",
        "failover",
        "creation",
        "deletion",
        "configuration change",
        "backup",
    ),
    "db-cluster-snapshot": ("backup",),
}
"""Source type -> its categories."""

SOURCE_TYPES: Final = (*CATEGORIES, "db-snapshot")  # a type of other engines: nothing here has it


def source_type(name: str) -> str:
    """A source type of the service model; a fault for any other."""
    if name not in SOURCE_TYPES:
        raise InvalidParameterValue(
            f"Invalid source type: {name}. Valid types are {', '.join(sorted(SOURCE_TYPES))}."
        )
    return name


def span(
    now: datetime.datetime,
    start: datetime.datetime | None,
    end: datetime.datetime | None,
    duration: int | None,
) -> tuple[datetime.datetime, datetime.datetime]:
    """The first and last moment to list events of; ``duration`` in minutes. Without a start it reaches back from the end."""
    if duration is not None and duration < 1:
        raise InvalidParameterValue(f"Invalid duration: {duration}. It is a number of minutes from 1 on.")
    if start is not None and duration is not None:
        raise InvalidParameterCombination(
            "StartTime and Duration exclude each other. Give one of them, and EndTime if needed."
        )
    last = end or now
    length = DEFAULT_DURATION if duration is None else datetime.timedelta(minutes=duration)
    first = start or last - min(length, KEPT_FOR + DEFAULT_DURATION)
    if first > last:
        raise InvalidParameterCombination("The end time must not be before the start time.")
    return first, last
