"""The connections of one gateway: admitted, looked after, ended."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

from stilldb.gateway.connection import Connection
from stilldb.gateway.context import Context
from stilldb.gateway.request import Session
from stilldb.util.log import event

log = logging.getLogger("stilldb.gateway")

_BACKLOG = 1024
_HANDSHAKE_SECONDS = 10.0
_SHUTDOWN_SECONDS = 2.0
_ABORT_SECONDS = 1.0


READ_BYTES = 256 * 1024


class Server:
    """Serves the wire protocol on sockets that are bound already."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(READ_BYTES))  # what every connection reads into
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._empty: asyncio.Future[None] | None = None
        self._full_told = 0.0

    @property
    def listening(self) -> bool:
        """Whether every listener is up."""
        return bool(self._listeners) and all(listener.is_serving() for listener in self._listeners)

    async def start(self, sockets: list[socket.socket], tls: ssl.SSLContext | None) -> None:
        """Accept connections on ``sockets``."""
        for bound in sockets:
            listener = await self.loop.create_server(
                lambda: Connection(self),
                sock=bound,
                ssl=tls,
                backlog=_BACKLOG,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if tls else None,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS if tls else None,
            )
            self._listeners.append(listener)
        self._sweeper = self.loop.create_task(self._sweep())

    async def stop(self) -> None:
        """Accept nothing more, let commands that run finish for a while, then end."""
        for listener in self._listeners:
            listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._connections):
            connection.stop()
        if not await self._emptied(self.context.limits.drain):
            for connection in list(self._connections):
                connection.abort()
            await self._emptied(_ABORT_SECONDS)
        await self.context.cursors.close_all()

    async def _emptied(self, seconds: float) -> bool:
        """Whether every connection has ended within that time."""
        if self._connections:
            self._empty = self.loop.create_future()
            await asyncio.wait([self._empty], timeout=seconds)
        return not self._connections

    def admit(self, connection: Connection, remote: str) -> Session | None:
        """A session for a new connection; None when there are as many as there may be."""
        context = self.context
        if len(self._connections) >= context.endpoint.max_connections:
            now = self.loop.time()
            if now - self._full_told > 1:  # one line a second is enough to know
                self._full_told = now
                log.warning(event("connection refused: too many", remote=remote, open=len(self._connections)))
            return None
        self._connections.add(connection)
        context.connections_made += 1
        context.connections = len(self._connections)
        return Session(context.connections_made, remote, context)

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        self.context.connections = len(self._connections)
        if self._empty is not None and not self._connections and not self._empty.done():
            self._empty.set_result(None)

    async def _sweep(self) -> None:
        """Look after connections and cursors that nobody uses."""
        while True:
            await asyncio.sleep(self.context.limits.sweep)
            now = self.loop.time()
            for connection in list(self._connections):
                connection.check(now)
            await self.context.cursors.close_idle()
