"""The base backups of a chain out of the store into one data directory: parts in parallel, unpacked as they come, combined.

Every byte is verified by its container (see ``Archive``), so the directory is what PostgreSQL gave when it was backed up.
Failpoints: restore.fetched (every part is there, unpacked), restore.combined (of a chain: one data directory).
"""

from __future__ import annotations

import asyncio
import collections
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import Programs
from stilldb.util import failpoints, files, processes
from stilldb.volume.archive import Archive
from stilldb.volume.container import Opened
from stilldb.volume.manifest import Base
from stilldb.volume.objects.store import Unavailable
from stilldb.volume.unpack import Unpacker

_AHEAD: Final = 3  # parts that are fetched and decrypted while one is unpacked
_AT_ONCE: Final = 2  # base backups of a chain that are unpacked
_FLOOR: Final = 256 << 20  # bytes of the disk that a restore leaves free
_MANIFEST: Final = "backup_manifest"
_LINKS: Final = 18  # the first PostgreSQL whose pg_combinebackup can link


class TooLittleSpace(Unavailable):
    """The disk of this host has no room for what is to be restored."""


def require_space(place: pathlib.Path, needed: int, floor: int = _FLOOR) -> None:
    """Raise TooLittleSpace where the disk has not so many bytes to spare: better now than when PostgreSQL starts."""
    free = shutil.disk_usage(place).free
    if free < needed + floor:
        raise TooLittleSpace(
            f"the disk of {place} has {free >> 20} MiB free; this needs {needed >> 20} MiB, and {floor >> 20} MiB stay free"
        )


def space_of(chain: Sequence[Base], wal: int) -> int:
    """Bytes of disk that a restore takes: the base backups, what they are combined to, so many bytes of WAL."""
    sizes = [base.size for base in chain]
    return sum(sizes) + (max(sizes) if len(sizes) > 1 else 0) + wal


def parts_of(target: pathlib.Path) -> pathlib.Path:
    """Where the base backups of a chain are unpacked that ``target`` is made of."""
    return target.with_name(target.name + ".parts")


async def clear(target: pathlib.Path) -> None:
    """Remove what an earlier attempt left of ``target`` and beside it, whose programs may still write."""
    parts = parts_of(target)
    if busy := await processes.evict(parts):
        raise VolumeError(f"processes {busy} of an earlier restore into {target} do not end")
    for leftover in (parts, target):
        await asyncio.to_thread(files.remove_tree, leftover)


async def fetch(
    archive: Archive,
    chain: Sequence[Base],
    target: pathlib.Path,
    programs: Programs,
    progress: Callable[[int, int], None],
    *,
    nice: int = 0,
) -> None:
    """Make ``target``, which must not be there, of a full base backup and the incremental ones on it.

    Tells the bytes done and their sum. Raises VolumeError.
    """
    total, done = max(sum(base.size for base in chain), 1), 0

    def fetched(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    try:
        if len(chain) == 1:
            await _unpack(archive, chain[0], target, programs, fetched)
            await failpoints.reach("restore.fetched")
        else:
            await _combine(archive, chain, target, programs, fetched, nice)
    except OSError as error:
        raise VolumeError(f"the base backup could not be unpacked: {error}") from error
    (target / _MANIFEST).unlink(missing_ok=True)


async def _unpack(
    archive: Archive, base: Base, folder: pathlib.Path, programs: Programs, fetched: Callable[[int], None]
) -> None:
    unpacker = Unpacker(folder, programs.run_as)
    coming: collections.deque[asyncio.Task[Opened]] = collections.deque()
    numbers = iter(range(base.parts))
    try:
        while True:
            while len(coming) <= _AHEAD and (number := next(numbers, None)) is not None:
                coming.append(asyncio.create_task(archive.part(base, number)))
            if not coming:
                break
            part = await coming[0]
            coming.popleft()
            # Shielded: the thread must have ended before its file is closed.
            await _undisturbed(asyncio.create_task(asyncio.to_thread(_feed, unpacker, part)))
            fetched(part.header.raw_size)
        unpacker.finish()
    finally:
        unpacker.close()
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)


def _feed(unpacker: Unpacker, part: Opened) -> None:
    for piece in part.pieces():
        unpacker.feed(piece)


async def _undisturbed(task: asyncio.Task[None]) -> None:
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _unpack_all(
    archive: Archive,
    bases: Mapping[pathlib.Path, Base],
    programs: Programs,
    fetched: Callable[[int], None],
) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(base: Base, folder: pathlib.Path) -> None:
        async with gate:
            await _unpack(archive, base, folder, programs, fetched)

    tasks = [asyncio.create_task(one(base, folder)) for folder, base in bases.items()]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _combine(
    archive: Archive,
    chain: Sequence[Base],
    target: pathlib.Path,
    programs: Programs,
    fetched: Callable[[int], None],
    nice: int,
) -> None:
    parts = parts_of(target)
    files.make_directory(parts, 0o700, programs.run_as)
    try:
        folders = [parts / base.base_id for base in chain]
        await _unpack_all(archive, dict(zip(folders, chain, strict=True)), programs, fetched)
        await failpoints.reach("restore.fetched")
        # The inputs are thrown away, so that the output may share their files.
        linked = int(programs.version.partition(".")[0]) >= _LINKS
        command = [
            programs["pg_combinebackup"],
            *map(str, folders),
            f"--output={target}",
            "--no-sync",
            "--manifest-checksums=NONE",
            *(["--link"] if linked else []),
        ]
        code, output = await processes.run(command, run_as=programs.run_as, nice=nice, directory=parts)
        if code != 0:
            raise VolumeError(f"pg_combinebackup failed: {output.strip()}")
        await failpoints.reach("restore.combined")
    finally:
        await asyncio.to_thread(files.remove_tree, parts)
