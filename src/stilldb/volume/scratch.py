"""Throw-away PostgreSQLs of snapshots below the state directory's ``scratch``: restored, read only, removed."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Callable

from stilldb.domain.volumes import PostgresAddress, VolumeKey
from stilldb.postgres import Programs, Server, config
from stilldb.util import files, processes
from stilldb.volume import recover
from stilldb.volume.archive import Archive
from stilldb.volume.layout import Layout, VolumePaths

_PREFIX = "look-"
_STOP_WITHIN = 5.0  # seconds


class Scratch:
    """The throw-away PostgreSQLs of a region. Nothing is remembered: they are found where they lie."""

    def __init__(
        self, layout: Layout, programs: Programs, archive_of: Callable[[VolumeKey], Archive]
    ) -> None:
        self._layout = layout
        self._programs = programs
        self._archive_of = archive_of

    def _place(self, name: str) -> tuple[VolumePaths, Server]:
        paths = VolumePaths(self._layout.scratch / name)
        server = Server(
            data=paths.data,
            sockets=self._layout.sockets(name),
            log=self._layout.log(name),
            programs=self._programs,
        )
        return paths, server

    @staticmethod
    def _name(source: VolumeKey, snapshot_id: str) -> str:
        return _PREFIX + hashlib.sha256(f"{source.prefix}/{snapshot_id}".encode()).hexdigest()[:20]

    async def open_snapshot(
        self, source: VolumeKey, snapshot_id: str, *, progress: Callable[[int], None]
    ) -> PostgresAddress:
        """Restore it and keep it up, read only; raises VolumeError and KMSKeyNotAccessibleFault."""
        name = self._name(source, snapshot_id)
        archive = self._archive_of(source)
        manifest = await archive.manifest(snapshot_id)
        paths, server = self._place(name)
        try:
            await recover.recover(self._layout, archive, manifest, paths, server, progress)
            connection = await server.connect()
            try:
                await connection.execute(
                    f"ALTER DATABASE {config.DATABASE} SET default_transaction_read_only = on"
                )
            finally:
                await connection.close()
        except BaseException:
            await self._remove(name)
            raise
        return PostgresAddress(
            host=str(server.sockets), port=config.PORT, user=config.USER, database=config.DATABASE
        )

    async def close_snapshot(self, source: VolumeKey, snapshot_id: str) -> None:
        """Stop and remove it; nothing to do when it is not open."""
        await self._remove(self._name(source, snapshot_id))

    async def clear(self) -> None:
        """Stop and remove all that an earlier process left."""
        for path in self._layout.scratch.glob(f"{_PREFIX}*"):
            await self._remove(path.name)

    async def _remove(self, name: str) -> None:
        paths, server = self._place(name)
        # At once, without a checkpoint: nothing of it is kept.
        await processes.terminate(server.process(), grace=_STOP_WITHIN, first=signal.SIGQUIT)
        for leftover in (paths.root, server.sockets):
            await asyncio.to_thread(files.remove_tree, leftover)
        server.log.unlink(missing_ok=True)
