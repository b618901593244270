"""One PostgreSQL server over one data directory: configure, start, watch, stop. What is in the data is not its business."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import time
from collections.abc import Mapping

import asyncpg

from stilldb.domain.volumes import PostgresAddress, VolumeError
from stilldb.postgres import config
from stilldb.postgres.programs import Programs
from stilldb.util import processes
from stilldb.util.processes import Process

START_WITHIN = 300.0  # seconds; crash recovery of much WAL takes its time
STOP_WITHIN = 60.0
_QUIT_WITHIN = 10.0
UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)  # what a connection may raise when its server goes away
_POLL = 0.005
_STATUS_LINE = 7  # of postmaster.pid, counted from 0 (PostgreSQL's utils/pidfile.h)
_LOG_TAIL = 2000


class Server:
    """A PostgreSQL server. Nothing is remembered: every answer comes from the processes and files as they are."""

    def __init__(
        self,
        *,
        data: pathlib.Path,
        sockets: pathlib.Path,
        log: pathlib.Path,
        programs: Programs,
        settings: Mapping[str, str] | None = None,
        nice: int = 0,
    ) -> None:
        """``settings``: over those that every server has, in the syntax of postgresql.conf; ``nice`` of its processes."""
        self.data = data
        self.sockets = sockets
        self.log = log
        self.programs = programs
        self._settings = settings or {}
        self.nice = nice

    @property
    def address(self) -> PostgresAddress:
        """How to reach it on this host."""
        return PostgresAddress(
            host=str(self.sockets), port=config.PORT, user=config.USER, database=config.DATABASE
        )

    def configure(self) -> None:
        """Write the configuration files; they take hold at the next start."""
        for name, text in (
            ("postgresql.conf", config.render(self.sockets)),
            ("pg_hba.conf", config.HBA),
            (
                "postgresql.auto.conf",
                "".join(f"{name} = {value}\n" for name, value in self._settings.items()),
            ),
        ):
            path = self.data / name
            path.write_text(text)
            path.chmod(0o600)
            if self.programs.run_as is not None:
                os.chown(path, *self.programs.run_as)

    def process(self) -> Process | None:
        """The postmaster that runs on this data directory, by its own pid file."""
        lines = self._pid_file()
        if not lines or not lines[0].strip().lstrip("-").isdigit():
            return None
        found = processes.identify(abs(int(lines[0])))
        if found is None or processes.working_directory(found.pid) != str(self.data):
            return None  # a recycled pid
        return found

    def status(self) -> str | None:
        """``starting``, ``ready`` or ``stopping`` as the postmaster says; None when it does not run.

        ``ready`` is said as soon as connections are taken: in a recovery that is before it ends.
        """
        if self.process() is None:
            return None
        lines = self._pid_file()
        return lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else "starting"

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return []

    async def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Start, unless it runs, and wait until it takes connections; raises VolumeError with the log's last lines."""
        spawned = None
        if self.process() is None:
            await self._clear_leftovers()
            options = [part for name, value in (extra or {}).items() for part in ("-c", f"{name}={value}")]
            spawned = processes.spawn(
                [self.programs["postgres"], "-D", str(self.data), *options],
                log=self.log,
                run_as=self.programs.run_as,
                nice=self.nice,
            )
        await self._wait_ready(spawned)

    async def _wait_ready(self, spawned: Process | None) -> None:
        """Wait for the end of start-up, or of the process that was spawned for it."""
        deadline = time.monotonic() + START_WITHIN
        missing_since: float | None = None
        while (status := self.status()) != "ready":
            now = time.monotonic()
            # A moment passes before a new postmaster has written its pid file.
            missing_since = None if status is not None else missing_since or now
            ended = spawned is not None and not processes.alive(spawned)
            if now > deadline or ended or (missing_since is not None and now > missing_since + 2.0):
                raise VolumeError(f"PostgreSQL in {self.data} did not start: {self.log_tail()}")
            await asyncio.sleep(_POLL)

    def log_tail(self) -> str:
        """The last lines that the server logged."""
        with contextlib.suppress(FileNotFoundError):
            return self.log.read_text(errors="replace")[-_LOG_TAIL:].strip()
        return "it left no log"

    async def _clear_leftovers(self) -> None:
        """After a kill -9: fence orphaned backends, then remove the lock files that would forbid a start."""
        if orphans := await processes.evict(self.data):
            raise VolumeError(f"processes {orphans} of an earlier PostgreSQL in {self.data} do not end")
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for leftover in self.sockets.glob(".s.PGSQL.*"):
            leftover.unlink()

    async def stop(self) -> None:
        """Stop cleanly: sessions end, a checkpoint is written, the receivers get every byte."""
        await processes.terminate(self.process(), grace=STOP_WITHIN, first=signal.SIGINT)

    async def kill(self) -> None:
        """End it at once, without a checkpoint, with every process that stands in its data: for what is thrown away."""
        await processes.terminate(self.process(), grace=_QUIT_WITHIN, first=signal.SIGQUIT)
        await self._clear_leftovers()

    async def connect(self, database: str = config.DATABASE) -> asyncpg.Connection:
        """A control connection; raises VolumeError when the server can't be reached."""
        try:
            return await asyncpg.connect(
                host=str(self.sockets),
                port=config.PORT,
                user=config.USER,
                database=database,
                timeout=10,
                statement_cache_size=0,
            )
        except UNREACHABLE as error:
            raise VolumeError(f"PostgreSQL in {self.data} can't be reached: {error}") from error
