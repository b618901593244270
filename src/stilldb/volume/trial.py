"""What a trial restore looks at in a restored data directory that is thrown away: every page, every index, every document.

Where it lies, and that it goes away, is the business of scratch.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
from collections.abc import Callable, Mapping
from typing import Final

import asyncpg
import bson.errors

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import UNREACHABLE, Server, config
from stilldb.util import files, processes
from stilldb.volume import contents
from stilldb.volume.objects.store import Unavailable

_SHOWN: Final = 3  # collections and lines that a reason names
_BROKEN_PAGE: Final = ("checksum verification failed", "could not read block")  # of pg_checksums
_CORRUPT: Final = 2  # pg_amcheck's exit code
# What this host lacks says nothing about a snapshot.
_HOST: Final = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EROFS,
    errno.EACCES,
}
_HOST_SAID: Final = (
    "No space left on device",
    "Cannot allocate memory",
    "could not create shared memory",
    "was terminated by signal 9",  # the kernel was out of memory
)
# Classes of SQLSTATE: connection exception, insufficient resources, operator intervention (PostgreSQL's Appendix A).
_PASSING: Final = ("08", "53", "57")


class Flaw(VolumeError):
    """What is restored is not what was there, or can't be read; the message says what."""


def hindrance(error: BaseException, server: Server) -> str:
    """Why a restore failed, where that says something of this host, its disk or the store; empty where it says something
    of the snapshot.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Unavailable) or (isinstance(seen, OSError) and seen.errno in _HOST):
            return str(error)
        seen = seen.__cause__
    said = _said_of_host(f"{error} {server.log_tail()}")
    return said and f"{said}: {error}"


def _said_of_host(text: str) -> str:
    return next((said for said in _HOST_SAID if said in text), "")


@dataclasses.dataclass(slots=True)
class Findings:
    """What a trial has found so far."""

    size: int = 0  # bytes of the data directory
    documents: dict[str, int] = dataclasses.field(default_factory=dict)  # by database.collection


async def examine(
    server: Server, expected: Mapping[str, int] | None, found: Findings, progress: Callable[[int], None]
) -> None:
    """Look at everything in the data of a restored server, which is stopped and started; raises Flaw. Tells the percentage done."""
    await server.stop()
    found.size = await asyncio.to_thread(files.tree_size, server.data)
    await _check_pages(server)
    progress(20)
    await server.start()
    await _check_relations(server)
    progress(60)
    found.documents = await _count_documents(server, lambda done: progress(60 + done * 4 // 10))
    if expected is not None:
        _require_same(expected, found.documents)


async def _check_pages(server: Server) -> None:
    """The checksum of every page of a stopped server's files; raises Flaw."""
    programs = server.programs
    command = [programs["pg_checksums"], "--check", f"--pgdata={server.data}"]
    code, output = await processes.run(command, run_as=programs.run_as, nice=server.nice)
    if code == 0:
        return
    broken = [line for line in output.splitlines() if any(told in line for told in _BROKEN_PAGE)]
    if broken:
        raise Flaw(f"{len(broken)} pages are damaged: {_some(broken)}")
    raise VolumeError(f"pg_checksums failed: {output.strip()}")


async def _check_relations(server: Server) -> None:
    """Tables and indexes agree with themselves and each other, by pg_amcheck on a running server; raises Flaw."""
    connection = await server.connect()
    try:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
    except UNREACHABLE as error:  # such as a PostgreSQL that was installed without its extensions
        raise VolumeError(f"amcheck can't be used: {error}") from error
    finally:
        await connection.close()
    programs = server.programs
    command = [
        programs["pg_amcheck"],
        f"--host={server.sockets}",
        f"--port={config.PORT}",
        f"--username={config.USER}",
        "--heapallindexed",  # an index that lacks a document hides it from finds
        "--no-password",
        config.DATABASE,
    ]
    code, output = await processes.run(command, run_as=programs.run_as, nice=server.nice)
    if code == _CORRUPT and not _said_of_host(output):
        raise Flaw(f"pg_amcheck found damage: {_some(output.splitlines())}")
    if code != 0:
        raise VolumeError(f"pg_amcheck failed: {output.strip()}")


async def _count_documents(server: Server, progress: Callable[[int], None]) -> dict[str, int]:
    """Exactly, by database.collection, reading every table; raises Flaw. Tells the percentage of the collections."""
    connection = await contents.connect(server.address)
    counted: dict[str, int] = {}
    try:
        collections = (await contents.read(connection)).collections
        for name, collection in collections.items():
            counted[name] = await contents.count(connection, collection)
            progress(100 * len(counted) // len(collections))
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith(_PASSING):
            raise VolumeError(f"the documents could not be counted: {error}") from error
        raise Flaw(f"the documents can't be read: {error}") from error
    except bson.errors.BSONError as error:
        raise Flaw(f"the catalog of the collections can't be read: {error}") from error
    except UNREACHABLE as error:
        raise VolumeError(f"the documents could not be counted: {error}") from error
    finally:
        connection.terminate()
    return counted


def _require_same(expected: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Raises Flaw when the counts are not those of the last proof: a snapshot does not change."""
    differing = [
        f"{name} has {found.get(name, 0)} documents, the last proof counted {expected.get(name, 0)}"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    ]
    if differing:
        raise Flaw(_some(differing))


def _some(lines: list[str]) -> str:
    told = [line.strip() for line in lines if line.strip()]
    more = len(told) - _SHOWN
    return "; ".join(told[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
