"""Throw-away PostgreSQLs of snapshots below the state directory's ``scratch``: restored, read only, removed.

What a trial restore looks at is in trial.py.
"""

from __future__ import annotations

import asyncio
import datetime
import errno
import hashlib
import logging
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Final

from stilldb.domain.proofs import Proof
from stilldb.domain.volumes import PostgresAddress, VolumeError, VolumeKey
from stilldb.postgres import Programs, Server, lsn
from stilldb.util import files
from stilldb.util.log import event
from stilldb.volume import fetch, recover, trial
from stilldb.volume.archive import Archive
from stilldb.volume.layout import Layout, VolumePaths

log = logging.getLogger("stilldb.volume")

_LOOK: Final = "look-"
_TRIAL: Final = "trial-"
_NICE: Final = 10  # of trials: nobody waits for most of them
# Above the floor at which volumes protect themselves (``VolumeSettings.free_floor_bytes``): a look must not cost an archive.
_FREE: Final = 1 << 30  # bytes
_WRITTEN_WITHIN: Final = 10.0  # seconds
_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "autovacuum": "off",
    "fsync": "off",  # nothing of it outlives a crash
    "summarize_wal": "off",
    "synchronous_standby_names": "''",
}

Progress = Callable[[int], None]


class Scratch:
    """The throw-away PostgreSQLs of a region: ``looks.Trials``. They are found where they lie.

    Everything raises VolumeError, and KMSKeyNotAccessibleFault where an encrypted snapshot's key is closed.
    """

    def __init__(
        self, layout: Layout, programs: Programs, archive_of: Callable[[VolumeKey], Archive]
    ) -> None:
        self._layout = layout
        self._programs = programs
        self._archive_of = archive_of
        self._turn = asyncio.Lock()  # one trial at a time
        self._coming: dict[str, int] = {}  # bytes that the restores under way will take

    async def prove(
        self, source: VolumeKey, snapshot_id: str, *, expected: Mapping[str, int] | None, progress: Progress
    ) -> Proof:
        """Restore it and look at every page, index and document; what is wrong is in the proof.

        VolumeError: it could not be tried, for want of disk or because the store is away.
        """
        async with self._turn:
            began = time.monotonic()
            name = _name(_TRIAL, source, snapshot_id)
            found = trial.Findings()
            reason = ""
            try:
                server = await self._restored(
                    name, source, snapshot_id, nice=_NICE, progress=lambda done: progress(done * 7 // 10)
                )
                await trial.examine(server, expected, found, lambda done: progress(70 + done * 3 // 10))
            except trial.Flaw as flaw:
                reason = str(flaw)
            except OSError as error:
                raise VolumeError(f"snapshot {snapshot_id} could not be tried: {error}") from error
            finally:
                await self._remove(name)
            return Proof(
                snapshot_id=snapshot_id,
                proven_at=datetime.datetime.now(datetime.UTC),
                seconds=time.monotonic() - began,
                size=found.size,
                documents=found.documents,
                ok=not reason,
                reason=reason,
            )

    async def open_snapshot(
        self, source: VolumeKey, snapshot_id: str, *, progress: Progress
    ) -> PostgresAddress:
        """Restore it and keep it up, read only."""
        name = _name(_LOOK, source, snapshot_id)
        try:
            server = await self._restored(name, source, snapshot_id, nice=0, progress=progress)
            await server.start()
        except OSError as error:
            await self._remove(name)
            raise VolumeError(f"snapshot {snapshot_id} could not be restored: {error}") from error
        except BaseException:
            await self._remove(name)
            raise
        return server.address

    async def close_snapshot(self, source: VolumeKey, snapshot_id: str) -> None:
        """Stop and remove it; nothing to do when it is not open."""
        await self._remove(_name(_LOOK, source, snapshot_id))

    async def clear(self) -> None:
        """Stop and remove all that an earlier process left."""
        for path in self._layout.scratch.iterdir():
            if path.name.startswith((_LOOK, _TRIAL)):
                try:
                    await self._remove(path.name)
                except (OSError, VolumeError) as error:  # the service is not to wait for it
                    log.warning(event("a throw-away PostgreSQL stays", path=path, reason=error))

    async def _restored(
        self, name: str, source: VolumeKey, snapshot_id: str, *, nice: int, progress: Progress
    ) -> Server:
        """Restore it under ``name``; its server is stopped. The caller removes it, whatever happens. Raises Flaw for what is damaged."""
        archive = self._archive_of(source)
        await self._remove(name)  # which an earlier process may have left after all
        paths, server = self._place(name, nice)
        try:
            manifest = await archive.manifest(snapshot_id)
            wal = len(manifest.segments) * lsn.SEGMENT_BYTES
            self._coming[name] = fetch.space_of(manifest.chain, wal)
            fetch.require_space(self._layout.scratch, sum(self._coming.values()), _FREE)
            await recover.recover(self._layout, archive, manifest, paths, server, progress, keep=False)
        except VolumeError as error:
            hindrance = trial.hindrance(error, server)
            if not hindrance:
                raise trial.Flaw(str(error)) from error
            raise VolumeError(hindrance) from error
        finally:
            self._coming.pop(name, None)
        return server

    def _place(self, name: str, nice: int = 0) -> tuple[VolumePaths, Server]:
        paths = VolumePaths(self._layout.scratch / name)
        server = Server(
            data=paths.data,
            sockets=self._layout.sockets(name),
            log=self._layout.log(name),
            programs=self._programs,
            settings=_SETTINGS,
            nice=nice,
        )
        return paths, server

    async def _remove(self, name: str) -> None:
        paths, server = self._place(name)
        await server.kill()
        for leftover in (paths.root, server.sockets):
            await _thrown_away(leftover)
        server.log.unlink(missing_ok=True)


def _name(prefix: str, source: VolumeKey, snapshot_id: str) -> str:
    return prefix + hashlib.sha256(f"{source.prefix}/{snapshot_id}".encode()).hexdigest()[:20]


async def _thrown_away(directory: pathlib.Path) -> None:
    """Remove it, though a program of a killed process may write into it for a moment yet."""
    deadline = time.monotonic() + _WRITTEN_WITHIN
    while True:
        try:
            await asyncio.to_thread(files.remove_tree, directory)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
