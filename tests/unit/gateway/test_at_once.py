"""What is answered at once is answered as the awaited way answers it, and everything else is left to that way."""

from __future__ import annotations

import pathlib
import struct
from typing import Any

import bson
import pytest

from stilldb.documents.model import Namespace
from stilldb.gateway import commands
from stilldb.gateway.context import Context
from stilldb.gateway.dispatch import Call
from stilldb.gateway.request import Session
from stilldb.wire import messages
from support.documents_twin import MemoryDocuments
from support.gateway import endpoint

assert commands.COMMANDS  # importing registers them


@pytest.fixture
async def session(tmp_path: pathlib.Path) -> Session:
    context = Context(endpoint(tmp_path))
    twin = MemoryDocuments()
    await twin.insert(Namespace("db", "c"), [bson.encode({"_id": n, "v": n}) for n in (1, 2)], ordered=True)
    twin.kept = [1]
    context.documents = twin
    return Session(1, "here", context, user="keeper")


def call(session: Session, command: dict[str, Any]) -> Call:
    body = bson.encode({**command, "$db": "db"})
    head = struct.pack("<iiiiIB", 21 + len(body), 1, 0, 2013, 0, 0)
    return Call(session, messages.parse(head + body, 1 << 20))


async def test_the_same_answer(session: Session) -> None:
    command = {"find": "c", "filter": {"_id": 1}, "limit": 1, "singleBatch": True, "lsid": {"id": b"x"}}
    at_once = call(session, command).answer_at_once()
    assert at_once == await call(session, command).answer()
    assert bson.decode(at_once or b"")["cursor"] == {
        "firstBatch": [{"_id": 1, "v": 1}],
        "id": 0,
        "ns": "db.c",
    }


@pytest.mark.parametrize(
    "command",
    [
        {"find": "c", "filter": {"_id": 2}},
        {"find": "c", "filter": {"_id": {"$gt": 0}}},
        {"find": "c", "filter": {"_id": 1, "v": 1}},
        {"find": "c", "filter": {"_id": 1}, "projection": {"v": 1}},
        {"find": "c", "filter": {"_id": 1}, "sort": {"$natural": -1}},
        {"find": "c", "filter": {"_id": 1}, "skip": 1},
        {"find": "c", "filter": {"_id": 1}, "batchSize": 0},
        {"find": "c", "filter": {"_id": 1}, "hint": "none"},
        {"find": "c", "filter": {"_id": 1}, "unknown": 1},
        {"find": "c", "filter": {"_id": 1}, "txnNumber": 1},
        {"find": "a$b", "filter": {"_id": 1}},
        {"find": "c"},
        {"ping": 1},
        {"nonsense": 1},
    ],
)
async def test_what_is_left_to_the_awaited_way(session: Session, command: dict[str, Any]) -> None:
    assert call(session, command).answer_at_once() is None


async def test_who_may_not_ask_gets_nothing(session: Session) -> None:
    session.user = None
    asked = call(session, {"find": "c", "filter": {"_id": 1}})
    assert asked.answer_at_once() is None
    assert bson.decode(await asked.answer())["codeName"] == "Unauthorized"
