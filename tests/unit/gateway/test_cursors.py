"""Cursors: batches of any size, ends, owners, limits; replies put together from bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.gateway import cursors, replies
from stilldb.gateway.cursors import Cursor, Cursors, continue_cursor, open_cursor
from stilldb.gateway.request import Request, Session
from stilldb.query.errors import MongoError


class Source:
    """Batches, a failure after them if there is one, and whether it was closed."""

    def __init__(self, batches: list[list[bytes]], failure: Exception | None = None) -> None:
        self.batches = batches
        self.failure = failure
        self.closed = False

    async def run(self) -> AsyncGenerator[list[bytes], None]:
        try:
            for batch in self.batches:
                yield list(batch)
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True


class FakeContext:
    def __init__(self) -> None:
        self.cursors = Cursors()


def request(context: FakeContext, user: str = "app", *, exhaust: bool = False) -> Request:
    session = Session(1, "", context, user)  # type: ignore[arg-type]
    return Request(session, "getMore", "db", {}, {}, exhaust)


def cursor_of(reply: replies.RawReply) -> dict[str, Any]:
    decoded = bson.decode(reply.document)
    assert decoded["ok"] == 1.0
    return dict(decoded["cursor"])


def numbered(count: int) -> list[bytes]:
    return [bson.encode({"_id": n}) for n in range(count)]


def error_of(caught: pytest.ExceptionInfo[MongoError]) -> str:
    return caught.value.name


@given(st.lists(st.integers(0, 5), max_size=6), st.lists(st.one_of(st.none(), st.integers(1, 9)), min_size=1))
def test_any_batch_sizes_give_every_document_once(parts: list[int], sizes: list[int | None]) -> None:
    documents = numbered(sum(parts))
    batches, at = [], 0
    for part in parts:
        batches.append(documents[at : at + part])
        at += part

    async def read() -> list[bytes]:
        cursor = Cursor("db.c", Source(batches).run())
        found: list[bytes] = []
        turn = 0
        while not cursor.finished:
            size = sizes[turn % len(sizes)]
            batch = await cursor.next_batch(size)
            assert size is None or len(batch) <= size
            assert batch or cursor.finished
            found += batch
            turn += 1
        return found

    assert asyncio.run(read()) == documents


async def test_a_batch_fits_a_reply() -> None:
    big = [b"x" * 7_000_000] * 5
    cursor = Cursor("db.c", Source([big]).run())
    assert [len(await cursor.next_batch(None)) for _ in range(3)] == [2, 2, 1]
    assert cursor.finished or await cursor.next_batch(None) == []
    huge = Cursor("db.c", Source([[b"x" * 17_000_000, b"y"]]).run())
    assert len(await huge.next_batch(None)) == 1
    assert await huge.next_batch(None) == [b"y"]


async def test_a_first_batch_and_the_rest() -> None:
    context = FakeContext()
    source = Source([numbered(200)])
    first = cursor_of(await open_cursor(request(context), "db.c", source.run(), None))
    assert (len(first["firstBatch"]), first["ns"]) == (cursors.FIRST_BATCH, "db.c")
    rest = cursor_of(await continue_cursor(request(context), first["id"], "c", None))
    assert (len(rest["nextBatch"]), rest["id"], len(context.cursors)) == (99, 0, 0)
    assert source.closed


async def test_a_single_batch_closes_its_source() -> None:
    context = FakeContext()
    source = Source([numbered(200)])
    first = cursor_of(await open_cursor(request(context), "db.c", source.run(), 5, single=True))
    assert (len(first["firstBatch"]), first["id"], len(context.cursors), source.closed) == (5, 0, 0, True)


async def test_an_empty_first_batch_reads_nothing() -> None:
    context = FakeContext()
    first = cursor_of(await open_cursor(request(context), "db.c", Source([], ValueError()).run(), 0))
    assert first["firstBatch"] == []
    assert len(context.cursors) == 1
    with pytest.raises(ValueError):
        await continue_cursor(request(context), first["id"], "c", None)
    assert len(context.cursors) == 0


async def test_a_source_that_fails_leaves_no_cursor() -> None:
    context = FakeContext()
    with pytest.raises(ValueError):
        await open_cursor(request(context), "db.c", Source([numbered(2)], ValueError()).run(), None)
    assert len(context.cursors) == 0


async def test_streams_go_on_until_the_end() -> None:
    context = FakeContext()
    first = cursor_of(await open_cursor(request(context), "db.c", Source([numbered(5)]).run(), 1))
    asked = request(context, exhaust=True)
    more = []
    for _ in range(2):
        await continue_cursor(asked, first["id"], "c", 2)
        more.append(asked.more)
    assert more == [True, False]


async def test_owners_namespaces_and_use() -> None:
    context = FakeContext()
    first = cursor_of(await open_cursor(request(context), "db.c", Source([numbered(5)]).run(), 1))
    kept = context.cursors
    with pytest.raises(MongoError) as caught:
        await continue_cursor(request(context, "other"), first["id"], "c", None)
    assert error_of(caught) == "CursorNotFound"
    with pytest.raises(MongoError) as caught:
        await continue_cursor(request(context), first["id"], "d", None)
    assert error_of(caught) == "Unauthorized"
    assert await kept.kill(first["id"], "other") is False
    kept.find(first["id"], "db.c", "app").busy = True
    with pytest.raises(MongoError) as caught:
        await continue_cursor(request(context), first["id"], "c", None)
    assert error_of(caught) == "CursorInUse"


async def test_one_killed_in_use_ends_with_the_batch_it_reads() -> None:
    context = FakeContext()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncGenerator[list[bytes], None]:
        yield numbered(2)
        reached.set()
        await go_on.wait()
        yield numbered(3)

    first = cursor_of(await open_cursor(request(context), "db.c", slow(), 1))
    reading = asyncio.create_task(continue_cursor(request(context), first["id"], "c", 3))
    await reached.wait()
    assert await context.cursors.kill(first["id"], "app") is True
    go_on.set()
    assert cursor_of(await reading)["id"] == 0


async def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "MOST_OPEN", 2)
    context = FakeContext()
    sources = [Source([numbered(5)]) for _ in range(3)]
    for source in sources[:2]:
        await open_cursor(request(context), "db.c", source.run(), 1)
    with pytest.raises(MongoError, match="too many cursors"):
        await open_cursor(request(context), "db.c", sources[2].run(), 1)
    assert sources[2].closed
    await context.cursors.close_all()
    assert [source.closed for source in sources] == [True] * 3


async def test_idle_ones_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    context = FakeContext()
    source = Source([numbered(5)])
    await open_cursor(request(context), "db.c", source.run(), 1)
    await context.cursors.close_idle()
    assert len(context.cursors) == 1
    monkeypatch.setattr(cursors, "IDLE_SECONDS", -1.0)
    await context.cursors.close_idle()
    assert len(context.cursors) == 0
    assert source.closed


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_replies_are_the_bytes_that_an_encoder_makes(count: int) -> None:
    documents = [{"_id": n, "a": [{"b": n}]} for n in range(count)]
    raws = [bson.encode(document) for document in documents]
    for first, field in ((True, "firstBatch"), (False, "nextBatch")):
        reply = replies.cursor_reply("db.ümlaut", 2**62, raws, first=first)
        cursor = {field: documents, "id": bson.Int64(2**62), "ns": "db.ümlaut"}
        assert reply.document == bson.encode({"cursor": cursor, "ok": 1.0})
    appended = replies.append_raw({"a": 1}, "value", raws[0] if raws else None)
    assert appended.document == bson.encode({"a": 1, "value": documents[0] if raws else None, "ok": 1.0})
