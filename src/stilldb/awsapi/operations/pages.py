"""A page of a Describe operation: the rows asked for and, where there are more, the Marker of the next page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from stilldb.awsapi import paging

Row = TypeVar("Row")


def cut(rows: Sequence[Row], limit: int, key: Callable[[Row], str]) -> tuple[Sequence[Row], dict[str, str]]:
    """The first ``limit`` rows, and ``{"Marker": ...}`` when there was one row more."""
    if len(rows) <= limit:
        return rows, {}
    return rows[:limit], {"Marker": paging.marker_for(key(rows[limit - 1]))}
