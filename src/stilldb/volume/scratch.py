"""Throw-away PostgreSQLs of snapshots below the state directory's ``scratch``: restored, read only, removed."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import signal
import time
from collections.abc import Callable, Mapping

from stilldb.domain.proofs import Proof
from stilldb.domain.volumes import PostgresAddress, VolumeError, VolumeKey
from stilldb.postgres import Programs, Server, config
from stilldb.util import files, processes
from stilldb.volume import contents, fetch, recover
from stilldb.volume.archive import Archive
from stilldb.volume.layout import Layout, VolumePaths
from stilldb.volume.objects.store import Unavailable

_PREFIX, _TRIAL = "look-", "trial-"
_NICE = 10
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

    async def prove(
        self,
        source: VolumeKey,
        snapshot_id: str,
        *,
        expected: Mapping[str, int] | None,
        progress: Callable[[int], None],
    ) -> Proof:
        """Restore it, check every table and index, count every collection; what is wrong is in the proof.

        VolumeError: it could not be tried, for want of disk or because the store is away.
        """
        started = time.monotonic()
        archive = self._archive_of(source)
        name = _TRIAL + self._name(source, snapshot_id).removeprefix(_PREFIX)
        paths, server = self._place(name)
        documents: dict[str, int] = {}
        size, reason = 0, ""
        try:
            manifest = await archive.manifest(snapshot_id)
            fetch.require_space(self._layout.scratch, 2 * sum(base.size for base in manifest.chain))
            try:
                await recover.recover(
                    self._layout, archive, manifest, paths, server, lambda done: progress(done * 8 // 10)
                )
                size = await asyncio.to_thread(files.tree_size, paths.data)
                await self._check_structure(server)
                progress(90)
                documents = await _counted(server)
                reason = _missing(documents, expected)
            except Unavailable:
                raise
            except VolumeError as error:
                reason = str(error)
        finally:
            await self._remove(name)
        return Proof(
            snapshot_id=snapshot_id,
            proven_at=datetime.datetime.now(datetime.UTC),
            seconds=time.monotonic() - started,
            size=size,
            documents={} if reason else documents,
            ok=not reason,
            reason=reason,
        )

    async def _check_structure(self, server: Server) -> None:
        """Every table against its data checksums, every index against its table (amcheck)."""
        connection = await server.connect()
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        finally:
            await connection.close()
        code, output = await processes.run(
            [
                self._programs["pg_amcheck"],
                f"--host={server.sockets}",
                f"--port={config.PORT}",
                f"--username={config.USER}",
                "--heapallindexed",
                "--on-error-stop",
                config.DATABASE,
            ],
            run_as=self._programs.run_as,
            nice=_NICE,
        )
        if code != 0:
            raise VolumeError(f"its tables or indexes are damaged: {output.strip()[-500:]}")

    async def close_snapshot(self, source: VolumeKey, snapshot_id: str) -> None:
        """Stop and remove it; nothing to do when it is not open."""
        await self._remove(self._name(source, snapshot_id))

    async def clear(self) -> None:
        """Stop and remove all that an earlier process left."""
        for path in self._layout.scratch.iterdir():
            if path.name.startswith((_PREFIX, _TRIAL)):
                await self._remove(path.name)

    async def _remove(self, name: str) -> None:
        paths, server = self._place(name)
        # At once, without a checkpoint: nothing of it is kept.
        await processes.terminate(server.process(), grace=_STOP_WITHIN, first=signal.SIGQUIT)
        for leftover in (paths.root, server.sockets):
            await asyncio.to_thread(files.remove_tree, leftover)
        server.log.unlink(missing_ok=True)


async def _counted(server: Server) -> dict[str, int]:
    """The documents of each collection, exactly."""
    connection = await server.connect()
    try:
        found = await contents.read(connection)
        return {name: await contents.count(connection, one) for name, one in found.collections.items()}
    finally:
        await connection.close()


def _missing(documents: Mapping[str, int], expected: Mapping[str, int] | None) -> str:
    """What differs from an earlier count; empty when nothing does."""
    if expected is None or documents == expected:
        return ""
    names = sorted(
        name for name in documents.keys() | expected.keys() if documents.get(name) != expected.get(name)
    )
    said = [
        f"{name} has {documents.get(name, 0)} documents, an earlier proof counted {expected.get(name, 0)}"
        for name in names
    ]
    return "; ".join(said[:5])
