"""WAL ahead of replay: the shell command that PostgreSQL runs, against segments that come late, fail or are not there."""

from __future__ import annotations

import asyncio
import errno
import os
import pathlib
import shutil

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import lsn
from stilldb.volume.prefetch import Fetch, Prefetch


def of(folder: pathlib.Path, fetch: Fetch, *, last: int | None, ahead: int = 32) -> Prefetch:
    return Prefetch(folder, None, timeline=1, first=5, last=last, fetch=fetch, ahead=ahead)


async def asked(prefetch: Prefetch, place: pathlib.Path, name: str) -> int:
    """What PostgreSQL gets for restore_command."""
    command = prefetch.command.replace("%f", name).replace("%p", "RECOVERYXLOG").replace("%%", "%")
    shell = await asyncio.create_subprocess_exec("/bin/sh", "-c", command, cwd=place)
    return await shell.wait()


def name_of(number: int) -> str:
    return lsn.segment_name(1, number)


async def test_a_segment_that_comes_late_is_waited_for(tmp_path: pathlib.Path) -> None:
    gate = asyncio.Event()

    async def fetch(number: int) -> bytes:
        await gate.wait()
        return b"wal %d" % number

    prefetch = of(tmp_path / "it's 100% wal", fetch, last=6)
    prefetch.add("00000002.history", b"history")
    async with prefetch.running():
        waiting = asyncio.create_task(asked(prefetch, tmp_path, name_of(6)))
        assert await asked(prefetch, tmp_path, "00000002.history") == 0
        assert (tmp_path / "RECOVERYXLOG").read_bytes() == b"history"
        assert await asked(prefetch, tmp_path, "00000003.history") == 1
        assert not waiting.done()
        gate.set()
        assert await waiting == 0
        assert (tmp_path / "RECOVERYXLOG").read_bytes() == b"wal 6"
        assert await asked(prefetch, tmp_path, name_of(7)) == 1


async def test_a_needed_segment_that_is_not_there_ends_the_recovery(tmp_path: pathlib.Path) -> None:
    async def fetch(number: int) -> bytes | None:
        return b"wal" if number == 5 else None

    prefetch = of(tmp_path / "wal", fetch, last=6)
    async with prefetch.running():
        assert await asked(prefetch, tmp_path, name_of(6)) == 255
    assert isinstance(prefetch.failure, VolumeError)
    assert name_of(6) in str(prefetch.failure)


async def test_nobody_waits_when_nothing_more_can_be_written(tmp_path: pathlib.Path) -> None:
    """Not for a segment that can't be placed, nor for one that can't be asked for, nor where there is no place any more."""

    async def fetch(number: int) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    prefetch = of(tmp_path / "wal", fetch, last=6)
    async with asyncio.timeout(5), prefetch.running():
        assert await asked(prefetch, tmp_path, name_of(5)) == 255
    assert isinstance(prefetch.failure, OSError)

    prefetch = of(tmp_path / "wal", fetch, last=6)
    (tmp_path / "wal" / "asked").mkdir()
    async with asyncio.timeout(5):
        assert await asked(prefetch, tmp_path, name_of(5)) == 255
        prefetch = of(tmp_path / "wal", fetch, last=6)
        waiting = asyncio.create_task(asked(prefetch, tmp_path, name_of(5)))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        shutil.rmtree(tmp_path / "wal")
        assert await waiting == 255


async def test_the_end_of_the_archive_ends_a_search_for_a_moment(tmp_path: pathlib.Path) -> None:
    async def fetch(number: int) -> bytes | None:
        return b"wal" if number < 8 else None

    prefetch = of(tmp_path / "wal", fetch, last=None)
    async with prefetch.running():
        assert [await asked(prefetch, tmp_path, name_of(number)) for number in (5, 7, 8)] == [0, 0, 1]
    assert prefetch.failure is None
    assert prefetch.ended_at == 8


async def test_it_keeps_so_far_ahead_of_replay_and_no_farther(tmp_path: pathlib.Path) -> None:
    fetched: list[int] = []

    async def fetch(number: int) -> bytes:
        fetched.append(number)
        return b"wal"

    prefetch = of(tmp_path / "wal", fetch, last=None, ahead=2)
    async with prefetch.running():
        assert await asked(prefetch, tmp_path, name_of(5)) == 0
        await asyncio.sleep(0.2)
        assert max(fetched) == 7
        assert await asked(prefetch, tmp_path, name_of(9)) == 0
        assert await asked(prefetch, tmp_path, name_of(5)) == 0  # again: it is still there
        await asyncio.sleep(0.2)
        assert max(fetched) <= 11
