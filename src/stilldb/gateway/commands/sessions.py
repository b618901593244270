"""Logical sessions: names that drivers give to what belongs together. Nothing is kept of them but what uses them.

There are no transactions, so ending one is answered as DocumentDB answers when there is none in progress.
"""

from __future__ import annotations

import uuid
from typing import Any

from bson import Binary

from stilldb.gateway.registry import command, ignored
from stilldb.gateway.request import Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document


@command("startSession")
async def start_session(request: Request, values: dict[str, Any]) -> Document:
    """A new session's id."""
    return {"id": {"id": Binary(uuid.uuid4().bytes, 4)}, "timeoutMinutes": 30, "ok": 1.0}


@command("endSessions", auth=False)
async def end_sessions(request: Request, values: dict[str, Any]) -> Document:
    """Drivers send it when they close."""
    return {"ok": 1.0}


@command("refreshSessions")
async def refresh_sessions(request: Request, values: dict[str, Any]) -> Document:
    """Sessions don't expire."""
    return {"ok": 1.0}


@command("killSessions")
async def kill_sessions(request: Request, values: dict[str, Any]) -> Document:
    """Nothing runs in a session that outlives its command."""
    return {"ok": 1.0}


@command("killAllSessions")
async def kill_all_sessions(request: Request, values: dict[str, Any]) -> Document:
    """The same, of every user."""
    return {"ok": 1.0}


_PARAMS = ignored("txnNumber", "autocommit", "recoveryToken")


def _none_in_progress(request: Request) -> MongoError:
    number = request.body.get("txnNumber", 0)
    return MongoError(
        "NoSuchTransaction", f"Given transaction number {number} does not match any in-progress transactions."
    )


@command("commitTransaction", params=_PARAMS, admin=True)
async def commit_transaction(request: Request, values: dict[str, Any]) -> Document:
    """There is none."""
    raise _none_in_progress(request)


@command("abortTransaction", params=_PARAMS, admin=True)
async def abort_transaction(request: Request, values: dict[str, Any]) -> Document:
    """There is none."""
    raise _none_in_progress(request)
