"""WAL for a recovery: fetched in parallel ahead of replay into a directory that ``restore_command`` takes it from.

The command waits for a segment that is still to come. What it finds in the directory, besides segments: ``end`` (no more will
come), ``failed`` (recovery must stop), ``asked`` (the segment it waits for, or took last).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import lsn
from stilldb.util import files

_PARALLEL: Final = 3  # segments fetched at a time
_POLL: Final = 0.02
_END, _FAILED, _ASKED = "end", "failed", "asked"

# Exit codes above 125 end the recovery; 1 says that there is no such file. A hard link: the directory and its files are ours
# alone, and PostgreSQL may take a file for itself when it is done with it. Nobody waits longer than the directory is there.
_COMMAND: Final = (
    'f={folder}/%f; case %f in *.history) test -e "$f" && exec ln -f "$f" %p; exit 1;; esac; '
    "echo %f > {folder}/asked || exit 255; "
    'while :; do test -e "$f" && exec ln -f "$f" %p; test -e {folder}/failed && exit 255; test -d {folder} || exit 255; '
    'if test -e {folder}/end; then test -e "$f" && exec ln -f "$f" %p; exit 1; fi; sleep 0.02; done'
)

Fetch = Callable[
    [int], Awaitable[bytes | None]
]  # a segment by its number; None: there is none, and none after it


class Prefetch:
    """The segments of one timeline from ``first`` on, into ``folder``, which is made anew.

    ``last`` is the number of the last one needed, which must be there; None: as far as there are any, ``ahead`` of replay.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        owner: tuple[int, int] | None,
        *,
        timeline: int,
        first: int,
        last: int | None,
        fetch: Fetch,
        ahead: int = 32,
    ) -> None:
        self.failure: BaseException | None = None
        self.ended_at: int | None = None  # the number of the first segment that there is not
        self._folder = folder
        self._owner = owner
        self._timeline = timeline
        self._first = first
        self._last = last
        self._fetch = fetch
        self._ahead = ahead
        files.remove_tree(folder)
        files.make_directory(folder, 0o700, owner)
        for mark in (_END, _FAILED):
            (folder / f"{mark}.draft").touch()

    @property
    def command(self) -> str:
        """The value of restore_command."""
        return _COMMAND.replace("{folder}", shlex.quote(str(self._folder)).replace("%", "%%"))

    def add(self, name: str, content: bytes) -> None:
        """Give a file that is not a segment, such as a history."""
        self._write(name, content)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetch meanwhile."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        gate = asyncio.Semaphore(_PARALLEL)
        tasks: set[asyncio.Task[None]] = set()
        number = self._first
        try:
            while (
                self.ended_at is None
                and self.failure is None
                and (self._last is None or number <= self._last)
            ):
                if self._last is None and number > self._asked() + self._ahead:
                    await asyncio.sleep(_POLL)
                    continue
                await gate.acquire()
                task = asyncio.create_task(self._place(number))
                task.add_done_callback(lambda _: gate.release())
                task.add_done_callback(tasks.discard)
                tasks.add(task)
                number += 1
            await asyncio.gather(*tasks)
            if self.failure is None:
                self._say(_END)
        except Exception as error:  # noqa: BLE001 - as in _place
            self._fail(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _place(self, number: int) -> None:
        name = lsn.segment_name(self._timeline, number)
        try:
            content = await self._fetch(number)
            if content is not None:
                await asyncio.to_thread(self._write, name, content)
            elif self._last is None:
                self.ended_at = number if self.ended_at is None else min(self.ended_at, number)
            else:
                raise VolumeError(f"the archive lacks WAL segment {name}")
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, recovery must not wait for it
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            self._say(_FAILED)

    def _say(self, mark: str) -> None:
        """The file is there already: the disk may be full, and PostgreSQL would wait for ever."""
        (self._folder / f"{mark}.draft").rename(self._folder / mark)

    def _asked(self) -> int:
        """The number of the segment that was asked for last."""
        try:
            parsed = lsn.parse_segment((self._folder / _ASKED).read_text().strip())
        except (FileNotFoundError, UnicodeDecodeError):
            parsed = None
        return self._first if parsed is None else max(parsed[1], self._first)

    def _write(self, name: str, content: bytes) -> None:
        draft = self._folder / f"{name}.draft"
        draft.write_bytes(content)
        draft.chmod(0o600)
        if self._owner is not None:
            os.chown(draft, *self._owner)
        draft.rename(self._folder / name)
