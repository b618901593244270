"""The spool: the local directory into which WAL is received, durable there, until the store has it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib

from stilldb.postgres import lsn
from stilldb.util import files

PARTIAL = ".partial"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class SpooledSegment:
    """A segment's file."""

    timeline: int
    number: int
    path: pathlib.Path = dataclasses.field(compare=False)
    partial: bool = dataclasses.field(compare=False)
    modified: float = dataclasses.field(compare=False)  # seconds since the epoch

    @property
    def key(self) -> tuple[int, int]:
        """Timeline and number."""
        return self.timeline, self.number


class Spool:
    """The WAL files of a directory that pg_receivewal writes. Nothing is remembered."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def segments(self) -> list[SpooledSegment]:
        """Every segment in order, the newest perhaps partial."""
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                parsed = lsn.parse_segment(entry.name)
                if parsed is not None:
                    with contextlib.suppress(FileNotFoundError):  # renamed since
                        partial = entry.name.endswith(PARTIAL)
                        modified = entry.stat().st_mtime
                        found.append(SpooledSegment(*parsed, pathlib.Path(entry.path), partial, modified))
        return sorted(found)

    def complete(self) -> list[SpooledSegment]:
        """The segments that will not change."""
        return [segment for segment in self.segments() if not segment.partial]

    def histories(self) -> list[tuple[int, pathlib.Path]]:
        """Timelines and their history files."""
        names = os.listdir(self.path) if self.path.exists() else []
        parsed = [(lsn.parse_history(name), self.path / name) for name in sorted(names)]
        return [(timeline, path) for timeline, path in parsed if timeline is not None]

    def has(self, timeline: int, number: int) -> bool:
        """Whether the segment is here, complete or not."""
        name = lsn.segment_name(timeline, number)
        # Renamed when it is complete, between two looks: so the final name is looked at twice.
        return any(_whole(self.path / candidate) for candidate in (name, name + PARTIAL, name))

    def reached(self) -> int:
        """The LSN at which the newest segment begins; 0 while there is none."""
        segments = self.segments()
        return segments[-1].number * lsn.SEGMENT_BYTES if segments else 0

    def clear(self) -> None:
        """Remove every file, durably."""
        if self.path.exists():
            for path in self.path.iterdir():
                path.unlink()
            files.flush_directory(self.path)


def _whole(path: pathlib.Path) -> bool:
    try:
        return path.stat().st_size == lsn.SEGMENT_BYTES
    except FileNotFoundError:
        return False
