"""One volume on this host as it runs: PostgreSQL, the archive's slot, WAL receiver and shipper, the control connection."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import logging
import os
import pathlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import asyncpg

from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.volumes import Notice, RestorePoint, VolumeError, VolumeKey
from stilldb.postgres import UNREACHABLE, Programs, Server, config
from stilldb.util import processes
from stilldb.util.log import event
from stilldb.volume.archive import Archive
from stilldb.volume.keyring import Kms
from stilldb.volume.keys import ArchiveKeys
from stilldb.volume.layout import Layout
from stilldb.volume.manifest import WrappedKey
from stilldb.volume.moments import Moments
from stilldb.volume.objects.store import ObjectStore
from stilldb.volume.shipper import Shipper
from stilldb.volume.spool import Spool

log = logging.getLogger("stilldb.volume")

_MARK = """
SELECT pg_current_xact_id()::text AS xid,
       pg_create_restore_point($1) AS lsn,
       ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline,
       (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
       clock_timestamp() AS taken_at
"""
# Its commit comes after the moment it tells: recovery to that moment has a later commit to stop at.
_HEARTBEAT = "SELECT pg_current_xact_id()::text, clock_timestamp() AS moment"
_HEARTBEAT_WITHIN = 5.0  # seconds
_LAST_SHIPMENT_WITHIN = 10.0
_ARCHIVED = "SELECT coalesce(max(flush_lsn) >= $1::pg_lsn, false) FROM pg_stat_replication WHERE application_name = $2"
_SLOT = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1"


class Volume:
    """What this process keeps about one volume; all of it can be lost."""

    def __init__(
        self,
        key: VolumeKey,
        layout: Layout,
        programs: Programs,
        *,
        store: ObjectStore,
        kms: Kms | None,
        notify: Callable[[Notice], None],
        remote: bool,
        snapshots: set[str],
    ) -> None:
        self.key = key
        self.paths = layout.volume(key)
        self.spool = Spool(self.paths.spool)
        self.archive = Archive(
            store,
            ArchiveKeys(key),
            spool=self.paths.spool,
            kms=kms,
            local_root=None if remote else layout.archive_root,
            wrapped=wrapped_keys(self.paths.complete),
            snapshots=snapshots,
        )
        self.shipper = Shipper(self.archive, self.spool, self.tell)
        self.moments = Moments(self.paths)
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
        self.in_progress: set[str] = set()  # base backups and copies of snapshots that are being made
        self.holders: set[str] = set()
        self.tasks: list[asyncio.Task[None]] = []  # that run while PostgreSQL does
        self._layout = layout
        self._programs = programs
        self._notify = notify
        self._receiver_log = layout.log(f"{name}-receiver")
        self._speaking = asyncio.Lock()  # one at a time on the control connection
        self._connection: asyncpg.Connection | None = None
        self._beaten = 0.0  # monotonic time of the last archived commit that we know of

    def tell(self, category: str, message: str) -> None:
        """A line in the log and a notice."""
        level = logging.INFO if category in {"base backup", "store available"} else logging.WARNING
        log.log(level, event(category, volume=self.key.prefix, told=message))
        self._notify(Notice(self.key, category, message))

    # -- up and down; the caller holds ``lifecycle``

    async def start(self) -> None:
        """PostgreSQL first, then the slot, then the receiver on it; without these while a gap is open."""
        running = self.server.process()
        if running is None:
            await self._disconnect()
            self.server.configure()
        await self.server.start()
        self._layout.make(self.paths.spool)
        if self.moments.gap is None and (running is None or not self.receiving()):
            # A receiver that lost its server sleeps for seconds before it tries again: a new one is at once there.
            await self.end_receiver()
            if await self._slot_is_there():
                self.receive()

    async def stop(self) -> None:
        """A clean stop sends the receiver every byte before PostgreSQL ends; then the receiver ends."""
        if self.server.status() == "ready" and self.receiving() and self.paths.complete.exists():
            with contextlib.suppress(VolumeError):
                await self.beat(within=2.0)
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._disconnect()
        await self.server.stop()
        await self.end_receiver()
        if tasks:
            await self._last_shipment()

    async def _last_shipment(self) -> None:
        """What the store does not take now waits in the spool."""
        try:
            async with asyncio.timeout(_LAST_SHIPMENT_WITHIN):
                await self.shipper.ship()
        except (VolumeError, KMSKeyNotAccessibleFault, OSError, TimeoutError) as error:
            log.warning(event("WAL stays in the spool", volume=self.key.prefix, reason=error or "too slow"))

    def tend(self, *more: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the shipper and ``more`` for as long as PostgreSQL does, if they don't."""
        if not self.tasks:
            self.tasks = [asyncio.create_task(run()) for run in (self.shipper.run, *more)]

    async def reconfigure(self) -> None:
        """Give a running PostgreSQL this version's settings, as far as they need no restart."""
        self.server.configure()
        async with self._own_connection() as connection:
            await connection.execute("SELECT pg_reload_conf()")

    async def end_receiver(self) -> None:
        """Stop the WAL receiver."""
        await processes.terminate(processes.load(self.paths.receiver), grace=5)
        self.paths.receiver.unlink(missing_ok=True)

    def receiving(self) -> bool:
        """Whether the WAL receiver runs."""
        return processes.alive(processes.load(self.paths.receiver))

    async def _slot_is_there(self) -> bool:
        """Make the slot if there is none; False, and a gap is open, when it was lost."""
        # A connection of its own: a mark may wait on the control connection for the very receiver that this is for.
        async with self._own_connection() as connection:
            status: str | None = await connection.fetchval(_SLOT, config.SLOT)
            if status is None:
                await connection.execute("SELECT pg_create_physical_replication_slot($1, true)", config.SLOT)
        if status == "lost":
            self.open_gap("the replication slot was lost: the receiver was away for too long")
        return status != "lost"

    async def drop_slot(self) -> None:
        """PostgreSQL keeps no WAL for the archive any more."""
        async with self._own_connection() as connection:
            deadline = time.monotonic() + 5
            while True:
                try:
                    await connection.execute(
                        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1",
                        config.SLOT,
                    )
                    return
                except asyncpg.ObjectInUseError:  # its receiver has only just ended
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.05)

    def open_gap(self, reason: str) -> None:
        """WAL is missing from the last archived moment on; a new base backup will close the gap."""
        if self.moments.gap is None:
            gap = self.moments.open_gap(reason)
            self.tell("gap", f"The archive lacks WAL since {gap.since:%Y-%m-%d %H:%M:%S} UTC: {reason}")

    async def reconnect_archive(self) -> None:
        """Begin to receive anew, when the store has what the spool held; raises VolumeError while it does not take it."""
        async with self.lifecycle:
            if self.server.status() != "ready":
                raise VolumeError(f"PostgreSQL of {self.key.prefix} does not run")
            await self.end_receiver()
            await self.drop_slot()
            await self.shipper.drain(again=False)
            self.spool.clear()
            if await self._slot_is_there():
                self.receive()

    @contextlib.asynccontextmanager
    async def _own_connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await self.server.connect()
        try:
            yield connection
        except UNREACHABLE as error:
            raise self._unreachable(error) from error
        finally:
            connection.terminate()

    def receive(self) -> None:
        """Start the WAL receiver into the spool."""
        process = processes.spawn(
            [
                self._programs["pg_receivewal"],
                f"--host={self.sockets}",
                f"--port={config.PORT}",
                f"--username={config.USER}",
                f"--directory={self.paths.spool}",
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
        self._archived(row["taken_at"])
        return RestorePoint(
            name=name,
            lsn=row["lsn"],
            timeline=row["timeline"],
            system_identifier=row["system_identifier"],
            taken_at=row["taken_at"],
        )

    async def beat(self, within: float = _HEARTBEAT_WITHIN) -> None:
        """A commit that waits for the archive: the moment before it is restorable. Raises VolumeError."""
        async with self.connection() as connection:
            deadline = time.monotonic() + within
            try:
                async with asyncio.timeout(within):
                    row = await connection.fetchrow(_HEARTBEAT)
                    lsn = await connection.fetchval("SELECT pg_current_wal_flush_lsn()")
            except (TimeoutError, asyncpg.InternalClientError):
                raise self._silent() from None
            await self._require_archived(connection, lsn, deadline)
        self._archived(row["moment"])

    def _archived(self, moment: datetime.datetime) -> None:
        self._beaten = time.monotonic()
        self.moments.archived(moment)

    def silence(self) -> float:
        """Seconds since the last archived commit that we know of."""
        return time.monotonic() - self._beaten

    async def _marked(self, connection: asyncpg.Connection, name: str, within: float) -> asyncpg.Record:
        deadline = time.monotonic() + within
        try:
            async with asyncio.timeout(within):
                row = await connection.fetchrow(_MARK, name)
        except (TimeoutError, asyncpg.InternalClientError):
            # The latter when the cancelled wait commits all the same. The restore point is in the WAL then; the next
            # attempt writes another, with a name of its own.
            raise self._silent() from None
        await self._require_archived(connection, row["lsn"], deadline)
        return row

    async def _require_archived(self, connection: asyncpg.Connection, lsn: int, deadline: float) -> None:
        """A cancelled wait for replication commits all the same, with a warning: so look."""
        while not await connection.fetchval(_ARCHIVED, lsn, config.RECEIVER):
            if time.monotonic() > deadline:
                raise self._silent()
            await asyncio.sleep(0.005)

    def _silent(self) -> VolumeError:
        reason = _last_error(self._receiver_log)
        return VolumeError(f"the archive of {self.key.prefix} does not receive WAL: {reason}")


def _last_error(log_file: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        lines = log_file.read_text(errors="replace")[-4000:].strip().splitlines()
        return next((line for line in reversed(lines) if " error: " in line), "its receiver tells no reason")
    return "its receiver left no log"


def wrapped_keys(complete: pathlib.Path) -> Sequence[WrappedKey] | None:
    """The data keys that a volume's description has; None where there is no description."""
    try:
        return [WrappedKey(**key) for key in json.loads(complete.read_bytes()).get("keys", ())]
    except (OSError, ValueError, TypeError, AttributeError):
        return None
