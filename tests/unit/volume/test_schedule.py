"""When a base backup is due, of which kind, and why."""

from __future__ import annotations

import dataclasses

import pytest

from stilldb.postgres import lsn
from stilldb.volume import schedule
from stilldb.volume.manifest import Base
from support.manifests import base

AFTER = 4 * lsn.SEGMENT_BYTES
FULL = base("full", 1, stored=1000)


def chain(*stored: int) -> list[Base]:
    """A full base backup and incrementals of these sizes, one a segment."""
    bases = [FULL]
    for number, size in enumerate(stored):
        bases.append(base(f"i{number}", 2 + number, parent=bases[-1].base_id, stored=size))
    return bases


def at(segment: int) -> int:
    return segment * lsn.SEGMENT_BYTES


@pytest.mark.parametrize(
    ("bases", "position", "parent", "reason"),
    [
        ([], 0, None, "there is none"),
        (chain(), at(6), "full", "of WAL since the last one"),
        (chain(1, 2), at(9), "i1", "of WAL since the last one"),
        (chain(600, 401), at(9), None, "larger than the full one"),
        (chain(*[1] * 14), at(40), "i13", "of WAL since the last one"),
        (chain(*[1] * 15), at(40), None, "16 links"),
        (chain(1, 2)[1:], at(9), None, "chain is broken"),
        ([dataclasses.replace(FULL, form="directory")], at(9), None, "format 1"),
    ],
)
def test_what_is_due(bases: list[Base], position: int, parent: str | None, reason: str) -> None:
    found = schedule.due(bases, position=position, after_bytes=AFTER)
    assert found is not None
    assert (found.parent and found.parent.base_id) == parent
    assert reason in found.reason


def test_nothing_is_due_until_there_is_enough_wal() -> None:
    assert schedule.due([FULL], position=FULL.start_lsn + AFTER, after_bytes=AFTER) is None
    assert schedule.due([FULL], position=FULL.start_lsn + AFTER + 1, after_bytes=AFTER) is not None


def test_after_a_gap_a_full_one_is_due_at_once() -> None:
    found = schedule.due(chain(1), position=0, after_bytes=AFTER, gap=True)
    assert found is not None
    assert found.parent is None
