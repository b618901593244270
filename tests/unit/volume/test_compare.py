"""Merging two ordered streams: every difference is found, whatever the batches are, with bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from stilldb.documents import catalog
from stilldb.volume import compare, contents
from stilldb.volume.contents import Row

SIDES = st.dictionaries(st.binary(min_size=1, max_size=2), st.sampled_from([b"a", b"b"]), max_size=40)
SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=5)


async def batches(rows: dict[bytes, bytes], sizes: list[int]) -> AsyncIterator[list[Row]]:
    left = sorted(rows.items())
    turn = 0
    while left:
        size = sizes[turn % len(sizes)]
        yield left[:size]
        left, turn = left[size:], turn + 1


@given(SIDES, SIDES, SIZES, SIZES, st.integers(0, 5))
def test_the_merge_finds_what_two_dictionaries_tell(
    old: dict[bytes, bytes], new: dict[bytes, bytes], sizes: list[int], others: list[int], examples: int
) -> None:
    found = asyncio.run(compare.merge(batches(old, sizes), batches(new, others), examples=examples))
    wanted = {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(key for key in old.keys() & new.keys() if old[key] != new[key]),
    }
    assert found.counts == {kind: len(keys) for kind, keys in wanted.items()}
    assert found.keys == {kind: keys[:examples] for kind, keys in wanted.items()}
    assert found.unchanged == len(old.keys() & new.keys()) - len(wanted["changed"])


def test_no_more_than_two_batches_are_read_ahead() -> None:
    taken = {"old": 0, "new": 0}
    worst = 0

    async def counted(side: str) -> AsyncIterator[list[Row]]:
        nonlocal worst
        for number in range(200):
            taken[side] += 1
            worst = max(worst, abs(taken["old"] - taken["new"]))
            yield [(b"%04d" % (10 * number + step), b"x") for step in range(10)]

    found = asyncio.run(compare.merge(counted("old"), counted("new"), examples=1))
    assert found.unchanged == 2000
    assert worst <= 1


def test_the_order_of_an_indexs_fields_counts() -> None:
    old = {"i": {"key": {"a": 1, "b": 1}}, "same": {"key": {"a": 1}}}
    new = {"i": {"key": {"b": 1, "a": 1}}, "same": {"key": {"a": 1}}, "more": {}}
    assert compare.names(old, new) == {"added": ["more"], "removed": [], "changed": ["i"]}


def test_the_format_is_the_one_that_the_documents_have() -> None:
    assert contents.FORMAT == catalog.FORMAT
