"""Base backups, full and incremental: pg_basebackup's tar stream cut into parts that go straight into the store.

Its memory is a few parts. Failpoints: backup.part (after each part), backup.copied (every part is there), backup.flushed
(the description too: the backup exists).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import pathlib
import secrets
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Iterator
from typing import IO

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import Programs, config, lsn
from stilldb.util import failpoints, processes
from stilldb.volume.archive import Archive
from stilldb.volume.manifest import Base
from stilldb.volume.objects.store import retried
from stilldb.volume.tarstream import TarWatch

PART_BYTES = 16 << 20  # raw
_PUT_WITHIN = 60.0  # seconds that a backup bears a store that is unavailable
_NICE = 10


class Refused(VolumeError):
    """pg_basebackup failed; the message is its own."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A base backup to take of the running server on ``sockets``.

    ``gently``: at low priority, one part at a time.
    """

    base_id: str
    sockets: pathlib.Path
    scratch: pathlib.Path  # a directory that the server's user can enter
    parent: Base | None
    gently: bool


def new_id() -> str:
    """An id for a base backup."""
    return f"{_now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


async def take(archive: Archive, programs: Programs, request: Request) -> Base:
    """Take the base backup; raises VolumeError, and what it put is no backup then, but left for expiry to remove."""
    started = _now()
    watch = TarWatch()
    data_key = await (await archive.secrets()).sealing()
    stored, parts = 0, 0
    with _parent_manifest(programs, request, await _manifest_of(archive, request.parent)) as parent_file:
        puts: set[asyncio.Task[int]] = set()
        try:
            async with contextlib.aclosing(
                _stream(_command(programs, request, parent_file), programs)
            ) as stream:
                async for raw in stream:
                    await asyncio.to_thread(watch.feed, raw)
                    while len(puts) >= (1 if request.gently else 2):
                        done, puts = await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
                        stored += sum(task.result() for task in done)
                    key = archive.keys.part(request.base_id, parts)
                    puts.add(asyncio.create_task(_put(archive, key, raw)))
                    parts += 1
                    await failpoints.reach("backup.part")
            stored += sum(await asyncio.gather(*puts))
        finally:
            for task in puts:
                task.cancel()
            await asyncio.gather(*puts, return_exceptions=True)
    manifest = watch.checked()
    stored += await _put(archive, archive.keys.backup_manifest(request.base_id), bytes(watch.manifest))
    await failpoints.reach("backup.copied")
    ranges = manifest["WAL-Ranges"]
    base = Base(
        base_id=request.base_id,
        form="tar",
        parent=None if request.parent is None else request.parent.base_id,
        timeline=int(ranges[-1]["Timeline"]),
        system_identifier=int(manifest["System-Identifier"]),
        start_lsn=lsn.parse(ranges[0]["Start-LSN"]),
        end_lsn=lsn.parse(ranges[-1]["End-LSN"]),
        size=watch.size,
        stored=stored,
        parts=parts,
        started_at=started.isoformat(),
        finished_at=_now().isoformat(),
        data_key_id=None if data_key is None else data_key.id,
    )
    await retried(lambda: archive.add_base(base), within=_PUT_WITHIN)
    await failpoints.reach("backup.flushed")
    return base


async def _put(archive: Archive, key: str, raw: bytes) -> int:
    content = await archive.contained(key, raw)
    await retried(lambda: archive.store.put(key, content), within=_PUT_WITHIN)
    return len(content)


async def _manifest_of(archive: Archive, parent: Base | None) -> bytes | None:
    return None if parent is None else await archive.backup_manifest(parent)


@contextlib.contextmanager
def _parent_manifest(
    programs: Programs, request: Request, content: bytes | None
) -> Iterator[pathlib.Path | None]:
    """The file that pg_basebackup reads as the parent's manifest."""
    if content is None:
        yield None
        return
    descriptor, name = tempfile.mkstemp(prefix=f"{request.base_id}-", dir=request.scratch)
    path = pathlib.Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if programs.run_as is not None:
            os.chown(path, *programs.run_as)
        yield path
    finally:
        path.unlink()


def _command(programs: Programs, request: Request, parent: pathlib.Path | None) -> list[str]:
    return [
        *(["nice", "-n", str(_NICE)] if request.gently else []),
        programs["pg_basebackup"],
        f"--host={request.sockets}",
        f"--port={config.PORT}",
        f"--username={config.USER}",
        "--pgdata=-",
        "--format=tar",
        "--wal-method=none",  # the archive has the WAL
        "--checkpoint=fast",  # a spread one takes minutes, in which the WAL to replay grows beyond its limit
        "--manifest-checksums=CRC32C",
        "--no-sync",
        "--no-password",
        *([f"--incremental={parent}"] if parent is not None else []),
    ]


async def _stream(command: list[str], programs: Programs) -> AsyncGenerator[bytes, None]:
    """What the program writes, in parts of PART_BYTES; raises VolumeError when it fails."""
    uid, gid = programs.run_as or (None, None)
    with tempfile.TemporaryFile() as complaints:
        # A plain Popen: event loops differ in what they can do about users.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            user=uid,
            group=gid,
            extra_groups=[] if programs.run_as else None,
            cwd="/",
            process_group=0,
        )
        assert child.stdout is not None
        ended = False
        try:
            while raw := await _read(child.stdout):
                yield raw
            code = await asyncio.to_thread(child.wait)
            ended = True
        finally:
            if not ended:
                child.kill()
                child.wait()
            child.stdout.close()
        if code != 0:
            complaints.seek(0)
            told = complaints.read().decode(errors="replace").strip()
            raise Refused(f"pg_basebackup failed: {told}")


async def _read(stream: IO[bytes]) -> bytes:
    # Shielded: a read that goes on in its thread must end before the stream is closed.
    reading = asyncio.ensure_future(asyncio.to_thread(stream.read, PART_BYTES))
    return await asyncio.shield(reading)


async def verify(programs: Programs, data: pathlib.Path) -> None:
    """Compare every file of a base backup's directory with the checksums in its manifest; raises VolumeError."""
    command = [programs["pg_verifybackup"], "--no-parse-wal", "--quiet", str(data)]
    code, output = await processes.run(command, run_as=programs.run_as)
    if code != 0:
        raise VolumeError(f"the base backup {data} is damaged: {output.strip()}")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
