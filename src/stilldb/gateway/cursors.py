"""Open cursors of a gateway, and replies that carry raw documents."""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from collections.abc import AsyncGenerator

import bson

from stilldb.gateway.request import RawReply
from stilldb.query.errors import MongoError

IDLE_SECONDS = 600.0
MOST_OPEN = 450  # DocumentDB's limit for its smaller instance classes
MAX_BATCH_BYTES = 16 * 1024 * 1024
FIRST_BATCH = 101  # documents, where the client names no batch size
_INT = struct.Struct("<i")
_KEYS = [b"\x03" + str(number).encode() + b"\x00" for number in range(1000)]

Source = AsyncGenerator[list[bytes], None]


class Cursor:
    """Documents still to be sent: what was read ahead, and the source of the rest."""

    def __init__(self, namespace: str, source: Source) -> None:
        self.id = secrets.randbits(63) | 1
        self.namespace = namespace
        self.used = time.monotonic()
        self.owner: str | None = None
        self.busy = False
        self._source = source
        self._ahead: list[bytes] = []
        self.exhausted = False

    async def next_batch(self, size: int | None) -> list[bytes]:
        """At most ``size`` documents (None: as many as fit) that together fit a reply; at least one if there is one."""
        batch: list[bytes] = []
        total = 0
        while size is None or len(batch) < size:
            if not self._ahead and not await self._read():
                break
            taken = 0
            for document in self._ahead:
                if (batch and total + len(document) > MAX_BATCH_BYTES) or (
                    size is not None and len(batch) >= size
                ):
                    break
                batch.append(document)
                total += len(document) + 16
                taken += 1
            full = taken < len(self._ahead)
            del self._ahead[:taken]
            if full:
                break
        if size is not None and len(batch) == size and not self._ahead and not self.exhausted:
            await self._read()  # so that a finished cursor says so with its last documents
        return batch

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

    def add(self, cursor: Cursor, owner: str | None) -> int:
        """Keep a cursor for its owner; its id."""
        if len(self._open) >= MOST_OPEN:
            raise MongoError(
                "OperationFailed",
                f"Cannot open a new cursor since too many cursors are already opened: {MOST_OPEN}",
            )
        cursor.owner = owner
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
        """Close a cursor; False when there is none of that user."""
        cursor = self._open.get(cursor_id)
        if cursor is None or cursor.owner != owner:
            return False
        del self._open[cursor_id]
        await cursor.close()
        return True

    def drop(self, cursor_id: int) -> None:
        """Forget a cursor that is finished."""
        self._open.pop(cursor_id, None)

    async def close_idle(self) -> None:
        """Close what nobody has asked for lately."""
        limit = time.monotonic() - IDLE_SECONDS
        for cursor in [c for c in self._open.values() if c.used < limit and not c.busy]:
            self.drop(cursor.id)
            await cursor.close()

    async def close_all(self) -> None:
        """Close every cursor."""
        cursors = list(self._open.values())
        self._open.clear()
        await asyncio.gather(*(cursor.close() for cursor in cursors), return_exceptions=True)


def _array(documents: list[bytes]) -> bytes:
    """A BSON array of raw documents."""
    parts: list[bytes] = []
    for number, document in enumerate(documents):
        parts.append(_KEYS[number] if number < len(_KEYS) else b"\x03" + str(number).encode() + b"\x00")
        parts.append(document)
    content = b"".join(parts)
    return b"".join((_INT.pack(len(content) + 5), content, b"\x00"))


def find_reply(namespace: str, cursor_id: int, batch: list[bytes], *, first: bool) -> RawReply:
    """``{cursor: {firstBatch | nextBatch, id, ns}, ok: 1}`` put together from bytes: no document is decoded."""
    array = _array(batch)
    tail = bson.encode({"id": bson.Int64(cursor_id), "ns": namespace})[4:]  # elements and the closing zero
    name = b"\x04firstBatch\x00" if first else b"\x04nextBatch\x00"
    cursor = b"".join((_INT.pack(4 + len(name) + len(array) + len(tail)), name, array, tail))
    content = b"".join((b"\x03cursor\x00", cursor, _OK))
    return RawReply(b"".join((_INT.pack(len(content) + 5), content, b"\x00")))


_OK = b"\x01ok\x00" + struct.pack("<d", 1.0)
