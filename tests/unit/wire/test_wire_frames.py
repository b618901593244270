"""The splitter gives back the messages that went in, however the bytes are cut, and refuses lengths that can't be."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.wire.errors import ProtocolError
from stilldb.wire.frames import MAX_MESSAGE, Splitter
from support.wire import frame


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_any_cut_gives_the_same_messages(contents: list[bytes], cuts: list[int]) -> None:
    sent = [frame(content, 2013) for content in contents]
    stream = b"".join(sent)
    splitter = Splitter()
    found: list[bytes] = []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found += splitter.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == sent
    assert not splitter.partial


def test_a_message_that_has_begun_is_partial() -> None:
    splitter = Splitter()
    assert splitter.feed(frame(b"abc", 2013)[:-1]) == []
    assert splitter.partial


@pytest.mark.parametrize("length", [-1, 0, 15, MAX_MESSAGE + 1, 2**31 - 1])
def test_a_length_that_no_message_has_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError, match="can't be"):
        Splitter().feed(struct.pack("<i", length) + b"\0" * 12)


def test_the_limit_may_be_lower() -> None:
    with pytest.raises(ProtocolError, match="can't be"):
        Splitter(64).feed(frame(b"x" * 64, 2013))


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    splitter = Splitter()
    try:
        for at in range(0, len(data), 7):
            splitter.feed(data[at : at + 7])
    except ProtocolError:
        pass
