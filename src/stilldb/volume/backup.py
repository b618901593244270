"""Base backups: taken with pg_basebackup, checked, flushed, and only then counted."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import pathlib
import secrets

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import Programs, config, lsn
from stilldb.util import failpoints, files, processes
from stilldb.volume.layout import BasePaths, Layout
from stilldb.volume.manifest import Base, dump_base
from stilldb.volume.plain import Archive

_NICE = 10


async def take(
    layout: Layout, archive: Archive, programs: Programs, sockets: pathlib.Path, *, gently: bool
) -> Base:
    """Take a full base backup of the running server on ``sockets``; raises VolumeError.

    ``gently``: at low priority, flushed file by file, since the flush of a gigabyte at once is what writers feel.
    """
    base_id = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    final = archive.paths.base(base_id)
    draft = BasePaths(final.root.with_name(f"{base_id}.draft"))
    layout.make(draft.root)
    await _copy(programs, sockets, draft, nice=_NICE if gently else 0)
    await failpoints.reach("backup.copied")
    await verify(programs, draft.data)
    base = _describe(base_id, draft)
    await asyncio.to_thread(files.flush_tree if gently else files.flush_filesystem, draft.root)
    files.write_durably(draft.complete, dump_base(base))
    await failpoints.reach("backup.flushed")
    draft.root.rename(final.root)
    files.flush_directory(archive.paths.bases)
    return base


async def _copy(programs: Programs, sockets: pathlib.Path, draft: BasePaths, *, nice: int) -> None:
    command = [
        programs["pg_basebackup"],
        f"--host={sockets}",
        f"--port={config.PORT}",
        f"--username={config.USER}",
        f"--pgdata={draft.data}",
        "--wal-method=none",  # the archive has the WAL
        "--checkpoint=fast",
        "--manifest-checksums=CRC32C",
        "--no-sync",
        "--no-password",
    ]
    code, output = await processes.run(command, run_as=programs.run_as, nice=nice)
    if code != 0:
        raise VolumeError(f"pg_basebackup failed: {output.strip()}")


async def verify(programs: Programs, data: pathlib.Path) -> None:
    """Compare every file of a base backup with the checksums in its manifest; raises VolumeError."""
    command = [programs["pg_verifybackup"], "--no-parse-wal", "--quiet", str(data)]
    code, output = await processes.run(command, run_as=programs.run_as)
    if code != 0:
        raise VolumeError(f"the base backup {data} is damaged: {output.strip()}")


def _describe(base_id: str, draft: BasePaths) -> Base:
    manifest = json.loads((draft.data / "backup_manifest").read_bytes())
    ranges = manifest["WAL-Ranges"]
    size = sum(int(file["Size"]) for file in manifest["Files"])
    now = datetime.datetime.now(datetime.UTC).isoformat()
    return Base(
        base_id=base_id,
        form="directory",
        parent=None,
        stored=size,
        parts=0,
        started_at=now,
        data_key_id=None,
        timeline=int(ranges[-1]["Timeline"]),
        system_identifier=int(manifest["System-Identifier"]),
        start_lsn=lsn.parse(ranges[0]["Start-LSN"]),
        end_lsn=lsn.parse(ranges[-1]["End-LSN"]),
        size=size,
        finished_at=now,
    )


def data_size(data: pathlib.Path) -> int:
    """Bytes of a data directory without its WAL; files may vanish while it is counted."""
    total = 0
    for root, folders, names in os.walk(data):
        if "pg_wal" in folders:
            folders.remove("pg_wal")
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total
