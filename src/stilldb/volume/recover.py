"""Recovery of a snapshot into a new data directory: copy the base backup, replay to the restore point, promote."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shlex
from collections.abc import Callable

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import UNREACHABLE, Server
from stilldb.util import failpoints, files
from stilldb.volume import backup
from stilldb.volume.layout import Layout, VolumePaths
from stilldb.volume.manifest import Manifest
from stilldb.volume.plain import Archive

_CONTROL = pathlib.Path("global/pg_control")
_COPIED = 80  # percent of the progress that the copy stands for; replay is the rest
_LOOK_EVERY = 0.02  # seconds between looks at the replayed LSN
_RECOVERY = "SELECT pg_is_in_recovery() AS recovering, pg_last_wal_replay_lsn() AS replayed"


async def recover(
    layout: Layout,
    source: Archive,
    manifest: Manifest,
    target: VolumePaths,
    server: Server,
    progress: Callable[[int], None],
) -> None:
    """Make ``target`` from ``source``'s snapshot and leave its server running, promoted, writable.

    A target that an earlier attempt left is thrown away first. The source is only read.
    """
    source.check_objects(manifest)
    files.remove_tree(target.draft)
    files.remove_tree(target.data)
    layout.make(target.root)
    base = source.paths.base(manifest.base.base_id)
    # A restore never trusts the backup's bytes: they are checked while they are copied.
    checking = asyncio.create_task(backup.verify(server.programs, base.data))
    try:
        await _copy(layout, base.data, target, manifest.base.size, progress)
        await checking
    finally:
        checking.cancel()
        with contextlib.suppress(asyncio.CancelledError, VolumeError):
            await checking
    await failpoints.reach("restore.copied")
    _lay_out_wal(layout, source, manifest, target)
    files.copy_file(base.data / _CONTROL, target.draft / _CONTROL, layout.owner)
    target.draft.rename(target.data)
    await failpoints.reach("restore.placed")
    await _replay(manifest, target, server, progress)
    files.remove_tree(target.recovery_wal)


async def _copy(
    layout: Layout, base: pathlib.Path, target: VolumePaths, size: int, progress: Callable[[int], None]
) -> None:
    """Everything but pg_control: without it, a copy that was broken off can't be started."""
    await asyncio.to_thread(
        files.copy_tree,
        base,
        target.draft,
        owner=layout.owner,
        without=(_CONTROL, pathlib.Path("backup_manifest")),
        progress=lambda done: progress(min(_COPIED, done * _COPIED // max(size, 1))),
    )


def _lay_out_wal(layout: Layout, source: Archive, manifest: Manifest, target: VolumePaths) -> None:
    """Complete segments by symbolic links (a hard link would be recycled and overwritten); the last one as a copy,
    since the receiver may still write to it or rename it."""
    files.remove_tree(target.recovery_wal)
    files.make_directory(target.recovery_wal, 0o700, layout.owner)
    history = source.history_file(manifest)
    if history is not None:
        files.copy_file(history, target.recovery_wal / history.name, layout.owner)
    segments = source.segment_files(manifest)
    for path in segments[:-1]:
        (target.recovery_wal / path.name).symlink_to(path)
    name = segments[-1].name.removesuffix(".partial")
    try:
        files.copy_file(segments[-1], target.recovery_wal / name, layout.owner)
    except FileNotFoundError:  # renamed since we looked
        files.copy_file(source.paths.wal / name, target.recovery_wal / name, layout.owner)


async def _replay(
    manifest: Manifest, target: VolumePaths, server: Server, progress: Callable[[int], None]
) -> None:
    server.configure()
    signal_file = target.data / "recovery.signal"
    signal_file.touch(mode=0o600)
    if server.programs.run_as is not None:
        os.chown(signal_file, *server.programs.run_as)
    folder = shlex.quote(str(target.recovery_wal)).replace("%", "%%")
    await server.start(
        {
            "restore_command": f"test -e {folder}/%f && ln -s {folder}/%f %p",
            # By name: recovery to the LSN of the very last record fails. Never "latest": the timeline is the snapshot's.
            "recovery_target_name": manifest.point.name,
            "recovery_target_timeline": str(manifest.point.timeline),
            "recovery_target_action": "promote",
        }
    )
    await _until_promoted(manifest, server, progress)


async def _until_promoted(manifest: Manifest, server: Server, progress: Callable[[int], None]) -> None:
    """Wait for the end of recovery, telling how far replay is by the LSN replayed against the restore point's."""
    total = max(manifest.point.lsn - manifest.base.start_lsn, 1)
    connection = await server.connect()  # read-only as soon as the data is consistent
    try:
        while True:
            row = await connection.fetchrow(_RECOVERY)
            if not row["recovering"]:
                return
            if row["replayed"] is not None:
                done = int(row["replayed"]) - manifest.base.start_lsn
                progress(min(99, _COPIED + done * (99 - _COPIED) // total))
            await asyncio.sleep(_LOOK_EVERY)
    except UNREACHABLE as error:
        raise VolumeError(f"recovery to {manifest.point.name} broke off: {server.log_tail()}") from error
    finally:
        connection.terminate()
