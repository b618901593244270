"""Open cursors of a gateway."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator

from stilldb.gateway.replies import cursor_reply
from stilldb.gateway.request import RawReply, Request
from stilldb.query.errors import MongoError

IDLE_SECONDS = 600.0
MOST_OPEN = 450  # DocumentDB's limit for its smaller instance classes
MAX_BATCH_BYTES = 16 * 1024 * 1024
FIRST_BATCH = 101  # documents, where the client names no batch size

Source = AsyncGenerator[list[bytes], None]


class Cursor:
    """Documents still to be sent: what was read ahead, and the source of the rest."""

    __slots__ = ("_ahead", "_source", "busy", "exhausted", "id", "namespace", "owner", "used")

    def __init__(self, namespace: str, source: Source, owner: str | None = None) -> None:
        self.id = 0  # until it is kept
        self.namespace = namespace
        self.owner = owner
        self.used = 0.0
        self.busy = False
        self.exhausted = False
        self._source = source
        self._ahead: list[bytes] = []

    async def next_batch(self, size: int | None) -> list[bytes]:
        """At most ``size`` documents (None: as many as fit) that together fit a reply; at least one if there is one."""
        batch: list[bytes] = []
        room = MAX_BATCH_BYTES
        while size is None or len(batch) < size:
            if not self._ahead and not await self._read():
                return batch
            taken, room = self._fitting(size, len(batch), room)
            batch += self._ahead[:taken]
            del self._ahead[:taken]
            if self._ahead:
                return batch
        if size and not self._ahead:
            await self._read()  # so that a finished cursor says so with its last documents
        return batch

    def _fitting(self, size: int | None, have: int, room: int) -> tuple[int, int]:
        """How many of the documents at hand fit beside ``have`` others, and the room that is left then."""
        wanted = len(self._ahead) if size is None else min(size - have, len(self._ahead))
        total = sum(map(len, self._ahead[:wanted])) + 16 * wanted
        if total <= room:
            return wanted, room - total
        taken = 0
        for document in self._ahead[:wanted]:
            if (have or taken) and len(document) + 16 > room:
                break
            room -= len(document) + 16
            taken += 1
        return taken, room

    async def _read(self) -> bool:
        """Read ahead; False at the end."""
        while not self.exhausted and not self._ahead:
            try:
                self._ahead = await anext(self._source)
            except StopAsyncIteration:
                self.exhausted = True
        return bool(self._ahead)

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return self.exhausted and not self._ahead

    async def close(self) -> None:
        """Let go of the source."""
        self.exhausted = True
        self._ahead = []
        await self._source.aclose()


class Cursors:
    """Every open cursor of a gateway."""

    def __init__(self) -> None:
        self._open: dict[int, Cursor] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, cursor: Cursor) -> int:
        """Keep a cursor; its id."""
        if len(self._open) >= MOST_OPEN:
            raise MongoError(
                "OperationFailed",
                f"Cannot open a new cursor since too many cursors are already opened: {MOST_OPEN}",
            )
        cursor.id = secrets.randbits(63) | 1
        cursor.used = time.monotonic()
        self._open[cursor.id] = cursor
        return cursor.id

    def find(self, cursor_id: int, namespace: str, owner: str | None) -> Cursor:
        """The cursor, if it is of that namespace and user; raises CursorNotFound."""
        cursor = self._open.get(cursor_id)
        if cursor is None or cursor.owner != owner:
            raise MongoError("CursorNotFound", f"cursor id {cursor_id} not found")
        if cursor.namespace != namespace:
            raise MongoError(
                "Unauthorized",
                f"Requested getMore on namespace '{namespace}', but cursor belongs to '{cursor.namespace}'",
            )
        if cursor.busy:
            raise MongoError("CursorInUse", f"cursor id {cursor_id} is already in use")
        cursor.used = time.monotonic()
        return cursor

    async def kill(self, cursor_id: int, owner: str | None) -> bool:
        """Close a cursor; False when there is none of that user. One in use ends when it is done."""
        cursor = self._open.get(cursor_id)
        if cursor is None or cursor.owner != owner:
            return False
        del self._open[cursor_id]
        if not cursor.busy:
            await cursor.close()
        return True

    def holds(self, cursor: Cursor) -> bool:
        """Whether it is still open."""
        return cursor.id in self._open

    async def drop(self, cursor: Cursor) -> None:
        """Close and forget a cursor."""
        self._open.pop(cursor.id, None)
        await cursor.close()

    async def close_idle(self) -> None:
        """Close what nobody has asked for lately."""
        limit = time.monotonic() - IDLE_SECONDS
        for cursor in [c for c in self._open.values() if c.used < limit and not c.busy]:
            await self.drop(cursor)

    async def close_all(self) -> None:
        """Close every cursor that is not in use."""
        idle = [cursor for cursor in self._open.values() if not cursor.busy]
        self._open.clear()
        await asyncio.gather(*(cursor.close() for cursor in idle), return_exceptions=True)


async def open_cursor(
    request: Request, namespace: str, source: Source, size: int | None, *, single: bool = False
) -> RawReply:
    """The reply with a new cursor's first documents; ``size`` is how many at most, ``single`` wants no others."""
    cursor = Cursor(namespace, source, request.session.user)
    try:
        batch = await cursor.next_batch(FIRST_BATCH if size is None else size)
        if single or cursor.finished:
            await cursor.close()
        else:
            request.session.context.cursors.add(cursor)
    except BaseException:
        await cursor.close()
        raise
    return cursor_reply(namespace, cursor.id, batch, first=True)


async def continue_cursor(request: Request, cursor_id: int, collection: str, size: int | None) -> RawReply:
    """The reply with the next documents of a cursor. Where the client takes a stream, there is more until it ends."""
    cursors = request.session.context.cursors
    namespace = f"{request.database}.{collection}"
    request.more = False
    cursor = cursors.find(cursor_id, namespace, request.session.user)
    cursor.busy = True
    try:
        batch = await cursor.next_batch(size)
    except BaseException:  # whatever ended the source, there is nothing more to be had from it
        await cursors.drop(cursor)
        raise
    finally:
        cursor.busy = False
    if cursor.finished or not cursors.holds(cursor):  # the other way to end: it was killed meanwhile
        await cursors.drop(cursor)
        return cursor_reply(namespace, 0, batch, first=False)
    cursor.used = time.monotonic()
    request.more = request.exhaust
    return cursor_reply(namespace, cursor_id, batch, first=False)
