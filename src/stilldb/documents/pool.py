"""Connections to the volume's PostgreSQL: a few, kept open, handed out for one statement or one transaction."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import types
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import asyncpg

from stilldb.query.errors import MongoError

MOST_CONNECTIONS: Final = 16
APPLICATION: Final = "stilldb-gateway"  # how PostgreSQL shows these connections
_CONNECT_WITHIN: Final = 5.0  # seconds
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server's farewell came in just as the connection was used
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    OSError,
)
_TOLD: Final[tuple[tuple[tuple[type[BaseException], ...], str, str], ...]] = (
    (_LOST, "HostUnreachable", "the storage of this instance does not answer; try again"),
    ((asyncpg.DiskFullError,), "OutOfDiskSpace", "the disk of the cluster volume is full"),
    ((asyncpg.ReadOnlySQLTransactionError,), "NotWritablePrimary", "not primary"),
    (
        (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError),
        "WriteConflict",
        "the write conflicted with another one; try again",
    ),
    (
        (asyncpg.ProgramLimitExceededError,),
        "Location17280",
        "an index key or a document is too large to be stored",
    ),
)


def as_mongo(error: BaseException) -> MongoError | None:
    """What a client is told about an error of PostgreSQL that no statement expected; None for what nobody expected."""
    for kinds, name, message in _TOLD:
        if isinstance(error, kinds):
            return MongoError(name, message)
    return None


class Pool:
    """At most ``size`` connections, opened when they are needed; a broken one is thrown away.

    ``lost`` is called when one has ended: a new writer may have taken the volume over.
    """

    def __init__(
        self, *, host: str, port: int, user: str, database: str, size: int = MOST_CONNECTIONS
    ) -> None:
        self._where: dict[str, Any] = {"host": host, "port": port, "user": user, "database": database}
        self._size = size
        self._open = 0
        self._idle: list[asyncpg.Connection] = []
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._closed = False
        self.lost: Callable[[], None] | None = None

    def connection(self) -> Lease:
        """``async with`` it: one connection, errors of the connection told as MongoError."""
        return Lease(self)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection in a transaction of its own."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def take(self) -> asyncpg.Connection:
        """A connection that nobody else uses; give it back."""
        while True:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return connection
                self._open -= 1  # it was lost while nobody used it
            if self._closed:
                raise MongoError("ShutdownInProgress", "the instance is stopping")
            if self._open < self._size:
                return await self._connect()
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._call_next()
                raise

    async def _connect(self) -> asyncpg.Connection:
        self._open += 1
        try:
            connection = await asyncpg.connect(
                **self._where,
                timeout=_CONNECT_WITHIN,
                statement_cache_size=500,
                server_settings={"application_name": APPLICATION},
            )
            await _teach(connection)
            connection.add_termination_listener(self._ended)
        except BaseException as error:
            self._open -= 1
            self._call_next()
            if isinstance(error, (*_LOST, TimeoutError)):
                raise MongoError(_TOLD[0][1], _TOLD[0][2]) from error
            raise
        return connection

    def _ended(self, _: object) -> None:
        if self.lost is not None:
            self.lost()

    def give_back(self, connection: asyncpg.Connection) -> None:
        """Return a connection; a broken one is forgotten."""
        if connection.is_closed() or connection.is_in_transaction() or self._closed:
            connection.terminate()
            self._open -= 1
        else:
            self._idle.append(connection)
        self._call_next()

    def _call_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            self._open -= 1
            with contextlib.suppress(*_LOST, TimeoutError):
                await connection.close(timeout=2)


async def _teach(connection: asyncpg.Connection) -> None:
    """jsonb goes in as the bytes of its text; it comes out the same way."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda text: b"\x01" + text,
        decoder=lambda data: data[1:],
        format="binary",
    )


class Lease:
    """One use of a connection. Plain methods instead of a generator: this stands in every command's way."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await self._pool.take()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        if self._connection is not None:
            if isinstance(error, asyncpg.InternalClientError):
                self._connection.terminate()
            self._pool.give_back(self._connection)
        told = as_mongo(error) if error is not None else None
        if told is not None:
            raise told from error
