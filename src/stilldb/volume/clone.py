"""A volume made from the present state of another one on the same file system, sharing its blocks until either writes.

A running source is copied as the PostgreSQL manual's chapter "Making a Base Backup Using the Low Level API" has it; what it
wrote meanwhile is replayed from its archive. A stopped one is just copied. The source is only read.
Failpoints: clone.linked (every file is there), clone.placed (as the data directory).
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import secrets
from collections.abc import Callable
from typing import Final

from stilldb.domain.volumes import RestorePoint, VolumeError
from stilldb.postgres import UNREACHABLE
from stilldb.util import failpoints, files, processes
from stilldb.volume import recover
from stilldb.volume.layout import Layout, VolumePaths
from stilldb.volume.running import Volume

_LINKED: Final = 80  # percent of the progress that the files stand for, as in a restore; replay is the rest
_BATCH: Final = 64  # files shared at a time; a clone that is cancelled ends with the batch
_WAL: Final = "pg_wal"
# What the manual lists under "Backing Up the Data Directory": of these only the directory itself.
_EMPTIED: Final = frozenset(
    {"pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"}
)
_LEFT_OUT: Final = frozenset(
    {"postmaster.pid", "postmaster.opts", "pg_internal.init", "backup_label", "tablespace_map"}
)
_TEMPORARY: Final = "pgsql_tmp"
_TABLESPACES: Final = "pg_tblspc"
_START = "SELECT pg_backup_start('clone', fast => true)"
_STOP = "SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)"


async def require_shared_blocks(layout: Layout, source: VolumePaths, target: VolumePaths) -> None:
    """Share one small file; raises VolumeError, and leaves no file, where that can't be."""
    if not source.complete.exists():
        raise VolumeError(f"the volume in {source.root} is not there, so it can't be cloned")
    layout.make(target.root)
    probe = target.root / "clone-probe"
    try:
        await asyncio.to_thread(files.share_file, source.data / "PG_VERSION", probe, layout.owner)
    except files.CannotShare as error:
        raise VolumeError(
            f"the file system of {layout.state} can't share blocks between files, so nothing can be cloned there. "
            "Restore with RestoreType full-copy, or keep the state directory on XFS (reflink=1) or btrfs."
        ) from error
    except OSError as error:
        raise VolumeError(f"nothing can be cloned into {target.root}: {error}") from error
    finally:
        probe.unlink(missing_ok=True)


async def make(
    layout: Layout, source: Volume, target: Volume, within: float, progress: Callable[[int], None]
) -> None:
    """Make ``target``'s data, flushed; its server is stopped afterwards.

    ``within``: seconds that the archive may take to hold the clone point. What an earlier attempt left is thrown away.
    """
    paths = target.paths
    for leftover in (paths.draft, paths.data, paths.spool):
        await asyncio.to_thread(files.remove_tree, leftover)
    layout.make(paths.root)
    try:
        async with source.lifecycle:  # it neither starts nor stops meanwhile
            running = _runs(source)
            if running:
                start, point = await _copy_running(layout, source, paths.draft, within, progress)
            else:
                await _share(layout, source.paths.data, paths.draft, progress, with_wal=True)
                # Nothing is replayed, so PostgreSQL would not do this as it starts.
                await asyncio.to_thread(files.flush_filesystem, paths.draft)
                await failpoints.reach("clone.linked")
        paths.draft.rename(paths.data)
    except UNREACHABLE as error:
        raise VolumeError(
            f"{source.key.prefix} could not be cloned: {error or type(error).__name__}"
        ) from error
    await failpoints.reach("clone.placed")
    if running:
        await recover.replay(layout, source.archive, start, point, paths, target.server, progress)


def _runs(source: Volume) -> bool:
    """Whether it runs, or stands still; raises VolumeError when it does neither."""
    status = source.server.status()
    if status is None:
        if processes.with_working_directory(source.paths.data):
            raise VolumeError(f"processes of a PostgreSQL that is gone still use {source.paths.data}")
        return False
    if status != "ready":
        raise VolumeError(f"PostgreSQL of {source.key.prefix} is {status}: it is cloned when it runs")
    if source.moments.gap is not None:
        raise VolumeError(
            f"the archive of {source.key.prefix} lacks WAL ({source.moments.gap.reason}): it is cloned when that is mended"
        )
    return True


async def _copy_running(
    layout: Layout, source: Volume, draft: pathlib.Path, within: float, progress: Callable[[int], None]
) -> tuple[int, RestorePoint]:
    """The files of a running volume; returns the LSN that replay starts from, and the point that it goes to."""
    connection = await source.server.connect()  # the backup ends with its session, however that ends
    try:
        start: int = await connection.fetchval(_START)
        await _share(layout, source.paths.data, draft, progress, with_wal=False)
        label: str = await connection.fetchval(_STOP)
    finally:
        connection.terminate()
    path = draft / "backup_label"
    files.write_durably(path, label.encode(), 0o600)
    if layout.owner is not None:
        os.chown(path, *layout.owner)
    await failpoints.reach("clone.linked")
    return start, await source.mark(f"clone-{secrets.token_hex(16)}", within)


async def _share(
    layout: Layout,
    data: pathlib.Path,
    draft: pathlib.Path,
    progress: Callable[[int], None],
    *,
    with_wal: bool,
) -> None:
    folders, names = await asyncio.to_thread(_listed, data, with_wal=with_wal)
    for folder in folders:
        files.make_directory(draft / folder, 0o700, layout.owner)
    for done in range(0, len(names), _BATCH):
        await asyncio.to_thread(_share_some, data, draft, names[done : done + _BATCH], layout.owner)
        progress(_LINKED * min(done + _BATCH, len(names)) // len(names))


def _listed(data: pathlib.Path, *, with_wal: bool) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The directories, parents first, and files that belong to a copy, relative to ``data``."""
    emptied = _EMPTIED if with_wal else _EMPTIED | {_WAL}
    found: tuple[list[pathlib.Path], list[pathlib.Path]] = ([], [])
    for root, folders, names in os.walk(data, onerror=_require_gone):
        place = pathlib.Path(root).relative_to(data)
        if str(place) == _TABLESPACES and (folders or names):
            raise VolumeError(f"{data} has tablespaces, which lie elsewhere: it can't be cloned")
        found[0].append(place)
        if str(place) in emptied:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(_TEMPORARY)]
        found[1].extend(
            place / name for name in names if name not in _LEFT_OUT and not name.startswith(_TEMPORARY)
        )
    return found


def _require_gone(error: OSError) -> None:
    """A directory that can't be read must not look empty; that of a database that was dropped meanwhile is gone."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _share_some(
    data: pathlib.Path, draft: pathlib.Path, names: list[pathlib.Path], owner: tuple[int, int] | None
) -> None:
    for name in names:
        try:
            files.share_file(data / name, draft / name, owner)
        except FileNotFoundError as error:
            # A table that was dropped meanwhile: its files go, and replay knows.
            if error.filename != os.fspath(data / name):
                raise
