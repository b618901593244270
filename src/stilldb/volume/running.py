"""One volume on this host as it runs: PostgreSQL, the archive's slot and WAL receiver, and the control connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pathlib
import time
from collections.abc import AsyncIterator

import asyncpg

from stilldb.domain.volumes import RestorePoint, VolumeError, VolumeKey
from stilldb.postgres import UNREACHABLE, Programs, Server, config
from stilldb.util import processes
from stilldb.util.log import event
from stilldb.volume.layout import Layout
from stilldb.volume.plain import Archive, sweep

log = logging.getLogger("stilldb.volume")

_MARK = """
SELECT pg_current_xact_id()::text AS xid,
       pg_create_restore_point($1) AS lsn,
       ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline,
       (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
       clock_timestamp() AS taken_at
"""
_ARCHIVED = "SELECT coalesce(max(flush_lsn) >= $1::pg_lsn, false) FROM pg_stat_replication WHERE application_name = $2"
_SLOT = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1"


class Volume:
    """What this process keeps about one volume; all of it can be lost."""

    def __init__(self, key: VolumeKey, layout: Layout, programs: Programs) -> None:
        self.key = key
        self.paths = layout.volume(key)
        self.archive = Archive(layout, layout.archive(key))
        self.sockets = layout.sockets(key.prefix)
        name = key.prefix.replace("/", "-")
        self.server = Server(
            data=self.paths.data,
            sockets=self.sockets,
            log=layout.log(f"{name}-postgresql"),
            programs=programs,
        )
        self.lifecycle = asyncio.Lock()  # start, stop, make, remove
        self.archive_lock = asyncio.Lock()  # choosing what to pin against expiring it
        self.backing_up = asyncio.Lock()
        self.holders: set[str] = set()
        self._programs = programs
        self._receiver_log = layout.log(f"{name}-receiver")
        self._speaking = asyncio.Lock()  # one at a time on the control connection
        self._connection: asyncpg.Connection | None = None
        self._swept = False

    # -- up and down; the caller holds ``lifecycle``

    async def start(self) -> None:
        """PostgreSQL first, then the slot, then the receiver on it."""
        running = self.server.process()
        if running is None:
            await self._disconnect()
            self.server.configure()
        await self.server.start()
        self.archive.prepare()
        if not self._swept:  # what a crash left; no backup of this process runs yet
            self._swept = True
            await asyncio.to_thread(sweep, self.archive.leftovers())
        if running is None or not self.receiving():
            # A receiver that lost its server sleeps for seconds before it tries again: a new one is at once there.
            await processes.terminate(processes.load(self.paths.receiver), grace=2)
            await self._ensure_slot()
            self._receive()

    async def stop(self) -> None:
        """A clean stop sends the receiver every byte before PostgreSQL ends; then the receiver ends."""
        await self._disconnect()
        await self.server.stop()
        await processes.terminate(processes.load(self.paths.receiver), grace=5)
        self.paths.receiver.unlink(missing_ok=True)

    def receiving(self) -> bool:
        """Whether the WAL receiver runs."""
        return processes.alive(processes.load(self.paths.receiver))

    async def _ensure_slot(self) -> None:
        # A connection of its own: a mark may wait on the control connection for the very receiver that this is for.
        connection = await self.server.connect()
        try:
            status = await connection.fetchval(_SLOT, config.SLOT)
            if status == "lost":
                log.error(
                    event("archive gap: the slot was lost; a new base backup follows", volume=self.key.prefix)
                )
                self.archive.note_gap()
                await connection.execute("SELECT pg_drop_replication_slot($1)", config.SLOT)
            if status is None or status == "lost":
                await connection.execute("SELECT pg_create_physical_replication_slot($1, true)", config.SLOT)
        except UNREACHABLE as error:
            raise self._unreachable(error) from error
        finally:
            connection.terminate()

    def _receive(self) -> None:
        process = processes.spawn(
            [
                self._programs["pg_receivewal"],
                f"--host={self.sockets}",
                f"--port={config.PORT}",
                f"--username={config.USER}",
                f"--directory={self.archive.paths.wal}",
                f"--slot={config.SLOT}",
                "--synchronous",
                "--no-password",
                "--status-interval=1",
            ],
            log=self._receiver_log,
            run_as=self._programs.run_as,
            environment={**os.environ, "PGAPPNAME": config.RECEIVER},
        )
        processes.save(self.paths.receiver, process)

    # -- the control connection

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """The volume's control connection for one user at a time, opened when there is none; a failure on it closes it."""
        async with self._speaking:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self.server.connect()
                    # This session's commits wait for the archive; everybody else's for the local disk.
                    await self._connection.execute("SET synchronous_commit = on")
                yield self._connection
            except UNREACHABLE as error:
                await self._disconnect()
                raise self._unreachable(error) from error
            except BaseException:
                await self._disconnect()  # a query that was broken off leaves a session that nobody can use
                raise

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*UNREACHABLE):
                await connection.close(timeout=1)

    def _unreachable(self, error: BaseException) -> VolumeError:
        return VolumeError(f"PostgreSQL of {self.key.prefix}: {error or type(error).__name__}")

    async def mark(self, name: str, within: float) -> RestorePoint:
        """Write a restore point; returns when the archive durably holds it, raises VolumeError after ``within`` seconds.

        The commit of the transaction that writes it waits for the archive's receiver by synchronous replication.
        """
        async with self.connection() as connection:
            row = await self._marked(connection, name, within)
        return RestorePoint(
            name=name,
            lsn=row["lsn"],
            timeline=row["timeline"],
            system_identifier=row["system_identifier"],
            taken_at=row["taken_at"],
        )

    async def _marked(self, connection: asyncpg.Connection, name: str, within: float) -> asyncpg.Record:
        deadline = time.monotonic() + within
        try:
            async with asyncio.timeout(within):
                row = await connection.fetchrow(_MARK, name)
        except (TimeoutError, asyncpg.InternalClientError):
            # The latter when the cancelled wait commits all the same. The restore point is in the WAL then; the next
            # attempt writes another, with a name of its own.
            raise self._silent() from None
        # A cancelled wait for replication commits all the same, with a warning: so look.
        while not await connection.fetchval(_ARCHIVED, row["lsn"], config.RECEIVER):
            if time.monotonic() > deadline:
                raise self._silent()
            await asyncio.sleep(0.005)
        return row

    def _silent(self) -> VolumeError:
        reason = _last_error(self._receiver_log)
        return VolumeError(f"the archive of {self.key.prefix} does not receive WAL: {reason}")


def _last_error(log_file: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        lines = log_file.read_text(errors="replace")[-4000:].strip().splitlines()
        return next((line for line in reversed(lines) if " error: " in line), "its receiver tells no reason")
    return "its receiver left no log"
