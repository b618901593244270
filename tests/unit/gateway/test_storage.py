"""The gateway's way to its storage: tried until it opens, asked each time."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from stilldb.gateway import storage
from stilldb.gateway.context import Context, Limits
from stilldb.gateway.ports import DocumentStore
from stilldb.gateway.storage import Storage
from stilldb.query.errors import MongoError
from support.documents_twin import MemoryDocuments
from support.gateway import USER, endpoint


class Flaky:
    """Opens at the third attempt."""

    def __init__(self) -> None:
        self.attempts = 0
        self.documents = MemoryDocuments()

    async def __call__(self) -> DocumentStore:
        self.attempts += 1
        if self.attempts == 1:
            raise ConnectionRefusedError("nobody there")
        if self.attempts == 2:
            raise MongoError("HostUnreachable", "starting up")
        return self.documents


async def test_it_is_tried_until_it_opens_and_the_master_user_is_there(tmp_path: pathlib.Path) -> None:
    context, opener = Context(endpoint(tmp_path)), Flaky()
    opened = Storage(context, opener)
    assert await opened.trouble() == "its storage was not reached yet"
    with pytest.raises(MongoError) as caught:
        _ = context.documents
    assert caught.value.name == "HostUnreachable"
    async with asyncio.timeout(5):
        await opened.open()
    assert opener.attempts == 3
    assert await opened.trouble() is None
    assert USER in opener.documents.users


async def test_a_reader_and_a_restored_cluster_leave_the_users_as_they_are(tmp_path: pathlib.Path) -> None:
    for changes in ({"writer": False}, {"master_user": None}):
        context, opener = Context(endpoint(tmp_path, **changes)), Flaky()
        await Storage(context, opener).open()
        assert opener.documents.users == {}


async def test_one_that_hangs_is_trouble(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_PING_WITHIN", 0.01)
    context, opener = Context(endpoint(tmp_path)), Flaky()
    opened = Storage(context, opener)
    await opened.open()
    opener.documents.gates["ping"] = asyncio.Event()
    assert "TimeoutError" in str(await opened.trouble())
    opener.documents.gates.clear()
    opener.documents.failing["ping"] = MongoError("HostUnreachable", "away")
    assert "away" in str(await opened.trouble())


async def test_a_writer_removes_what_is_expired_even_after_a_failure(tmp_path: pathlib.Path) -> None:
    context, opener = Context(endpoint(tmp_path), Limits(expiry=0.001)), Flaky()
    opened = Storage(context, opener)
    opener.documents.failing["delete_expired"] = MongoError("HostUnreachable", "away")
    expiring = asyncio.create_task(opened.expire())
    await opened.open()
    async with asyncio.timeout(5):
        while not opener.documents.failed:
            await asyncio.sleep(0.001)
        opener.documents.failing.clear()
        while opener.documents.looks < 2:
            await asyncio.sleep(0.001)
    expiring.cancel()


async def test_a_reader_removes_nothing(tmp_path: pathlib.Path) -> None:
    opened = Storage(Context(endpoint(tmp_path, writer=False), Limits(expiry=0.001)), Flaky())
    async with asyncio.timeout(5):
        await opened.expire()
