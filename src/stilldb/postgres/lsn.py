"""Positions in the WAL: their text form and the segment files that hold them. Pure (PostgreSQL chapter 'WAL Internals')."""

from __future__ import annotations

import re

SEGMENT_BYTES = 16 * 1024 * 1024
_PER_ID = 0x1_0000_0000 // SEGMENT_BYTES
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})", re.ASCII)

_HISTORY = re.compile(r"([0-9A-F]{8})\.history", re.ASCII)


def parse(text: str) -> int:
    """``0/16B3748`` as a byte position; raises ValueError."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"not an LSN: {text!r}")
    return int(high, 16) << 32 | int(low, 16)


def text(position: int) -> str:
    """A byte position as PostgreSQL prints it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def segment_number(position: int) -> int:
    """The number of the segment that holds the byte at ``position``."""
    return position // SEGMENT_BYTES


def segment_name(timeline: int, number: int) -> str:
    """The file name of a segment."""
    return f"{timeline:08X}{number // _PER_ID:08X}{number % _PER_ID:08X}"


def history_name(timeline: int) -> str:
    """The file name of a timeline's history."""
    return f"{timeline:08X}.history"


def parse_history(name: str) -> int | None:
    """The timeline of a history file's name; None for other files."""
    match = _HISTORY.fullmatch(name)
    return None if match is None else int(match[1], 16)


def parse_segment(name: str) -> tuple[int, int] | None:
    """Timeline and number of a segment file, complete or ``.partial``; None for other files."""
    match = _SEGMENT.fullmatch(name.removesuffix(".partial"))
    if match is None:
        return None
    return int(match[1], 16), int(match[2], 16) * _PER_ID + int(match[3], 16)
