"""One client connection: bytes become commands, answered one at a time and in order."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, cast

from stilldb.gateway.dispatch import Call, log_failed, log_unreadable
from stilldb.gateway.request import Session
from stilldb.wire import messages
from stilldb.wire.errors import ProtocolError
from stilldb.wire.frames import MAX_MESSAGE, Splitter

if TYPE_CHECKING:
    from stilldb.gateway.server import Server


# Where an OP_MSG has the name of its command's first field: after header, flags, kind, length and type.
_NAME = slice(26, 31)
_FIND = b"find\0"


class Connection(asyncio.BufferedProtocol):
    """The protocol of one connection, and the task that answers it.

    Reading stops while a command runs and another waits; the next command waits while the peer does not read.
    """

    __slots__ = (
        "_arrival",
        "_began",
        "_call",
        "_drained",
        "_lost",
        "_paused",
        "_queue",
        "_replies",
        "_server",
        "_splitter",
        "_stopping",
        "_touched",
        "_transport",
        "session",
        "task",
    )

    session: Session
    task: asyncio.Task[None] | None

    def __init__(self, server: Server) -> None:
        self._server = server
        self._splitter = Splitter(server.context.limits.unauthenticated_bytes)
        self._queue: collections.deque[bytes] = collections.deque()
        self._arrival: asyncio.Future[None] | None = None  # what an idle task waits for
        self._drained: asyncio.Future[None] | None = None  # what a task waits for that may not write
        self._call: Call | None = None
        self._paused = self._lost = self._stopping = False
        self._replies = 0
        self._began = self._touched = server.loop.time()
        self.task = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to answer, unless the gateway is full."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("?", 0)
        session = self._server.admit(self, f"{peer[0]}:{peer[1]}")
        if session is None:
            self._lost = True
            self._transport.abort()
            return
        self.session = session
        self.task = self._server.loop.create_task(self._serve())
        self.task.add_done_callback(self._ended)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport puts what it reads: one buffer for all, since it is emptied before anybody else reads.

        Without it each read would have a buffer of its own, so large that it is mapped and unmapped every time.
        """
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Queue what is whole and wake the task."""
        if self._stopping:
            return
        data = bytes(self._server.buffer[:nbytes])
        fresh = not self._splitter.partial
        try:
            self._queue.extend(self._splitter.feed(data))
        except ProtocolError as error:
            self._refuse(error)
            return
        self._touched = now = self._server.loop.time()
        if fresh or self._queue:
            self._began = now
        if self._queue:
            if self._arrival is not None:
                if self._answered_at_once():
                    return
                self._arrival.set_result(None)
                self._arrival = None
            elif not self._paused:
                self._paused = True
                self._transport.pause_reading()

    def _answered_at_once(self) -> bool:
        """Whether the one message that is there was answered here and now, without waking the task."""
        data = self._queue[0]
        if data[_NAME] != _FIND or len(self._queue) > 1 or self._drained is not None:
            return False
        try:
            message = messages.parse(data, self._splitter.limit)
        except ProtocolError:
            return False  # the task meets it again
        if message.flags or message.opcode != messages.OP_MSG:
            return False
        document = Call(self.session, message).answer_at_once()
        if document is None:
            return False
        self._queue.clear()
        self._write(document, message, message.request_id, more=False)
        return True

    def pause_writing(self) -> None:
        """The peer does not read as fast as it asks."""
        if self._drained is None:
            self._drained = self._server.loop.create_future()

    def resume_writing(self) -> None:
        """It has read."""
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for an answer any more: reads end, writes that were begun or sent without waiting finish."""
        if self._lost and self.task is None:
            return
        self._lost = True
        self.resume_writing()
        call = self._call
        if self.task is None or self.task.done():
            self._server.forget(self)
        elif (call is None or not call.writes) and not self._queue:
            self.task.cancel()

    # What the server calls.

    def check(self, now: float) -> None:
        """Close a peer that keeps the gateway waiting longer than it may."""
        limits = self._server.context.limits
        if self._call is not None or self._queue or self._lost:
            return
        if self.session.user is None:
            patience = limits.unauthenticated_idle
            if self._splitter.partial or self._replies == 0:
                patience = limits.first_message
            late = now - self._began > patience
        else:
            late = self._splitter.partial and now - self._touched > limits.stalled
        if late:
            self._refuse(ProtocolError("it took too long to send a message"))

    def stop(self) -> None:
        """Close after the command that runs; at once when there is none, or it only waits for news."""
        self._stopping = True
        if self.task is not None and (self._call is None or self._call.handshake):
            self.task.cancel()
            if self._transport.get_write_buffer_size() == 0:
                self._transport.abort()  # a TLS peer that does not read would not answer the end of the session

    def abort(self) -> None:
        """Close now."""
        if self.task is not None:
            self.task.cancel()
        self._transport.abort()

    # The task.

    async def _serve(self) -> None:
        try:
            while not self._stopping:
                data = await self._next()
                if data is None:
                    break
                await self._handle(messages.parse(data, self._splitter.limit))
        except ProtocolError as error:
            log_unreadable(self.session, error)
        finally:
            self._call = None
            self._transport.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._lost:
            self._server.forget(self)
        if not task.cancelled() and task.exception() is not None:
            log_failed(self.session, task.exception())

    async def _next(self) -> bytes | None:
        """The next message; None when there will be none."""
        if not self._queue:
            if self._lost:
                return None
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            self._arrival = self._server.loop.create_future()
            await self._arrival
        return self._queue.popleft()

    async def _handle(self, message: messages.Message) -> None:
        unanswered = bool(message.flags & messages.MORE_TO_COME)
        if message.compressor is not None and message.compressor not in self.session.compressors:
            raise ProtocolError(f"compression with {message.compressor} was not agreed on")
        if self._lost and not unanswered:
            return
        self._call = call = Call(self.session, message)
        response_to = message.request_id
        while True:
            document = await call.answer()
            if unanswered:
                break
            more = call.more and not self._stopping
            response_to = self._write(document, message, response_to, more=more)
            if self._drained is not None:
                await self._drained
            if not more:
                break
        self._call = None
        self._began = self._server.loop.time()
        if self._splitter.limit != MAX_MESSAGE and self.session.user is not None:
            self._splitter.limit = MAX_MESSAGE

    def _write(self, document: bytes, message: messages.Message, response_to: int, *, more: bool) -> int:
        """Send a reply; its id, which the next one of a stream answers."""
        self._replies += 1
        number = self._replies & 0x7FFFFFFF
        data = messages.reply(document, message.opcode, response_to, number, more_to_come=more)
        if message.compressor is not None and self._call is not None and self._call.compressible:
            data = messages.compressed(data, message.compressor)
        if not self._lost:
            self._transport.write(data)
        return number

    def _refuse(self, error: ProtocolError) -> None:
        log_unreadable(self.session, error)
        self._stopping = True
        self.abort()
