"""The processes of a service or of a cluster, found in /proc by what they carry in their command or stand in."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Collection


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """A running process."""

    pid: int
    parent: int
    command: str
    directory: str


def _read(pid: int) -> Process | None:
    place = pathlib.Path(f"/proc/{pid}")
    try:
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        directory = os.readlink(place / "cwd")
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[1]), command, directory)


def belonging(words: Collection[str]) -> list[Process]:
    """Processes whose command or working directory holds one of ``words``, and all their descendants."""
    running = [found for name in os.listdir("/proc") if name.isdigit() and (found := _read(int(name)))]
    chosen = {
        process.pid: process
        for process in running
        if process.pid != os.getpid()
        and any(word in process.command or word in process.directory for word in words)
    }
    grown = True
    while grown:
        children = [process for process in running if process.parent in chosen and process.pid not in chosen]
        chosen.update((process.pid, process) for process in children)
        grown = bool(children)
    return list(chosen.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: ``proportional`` divides shared pages among those that map them, ``private`` leaves them out."""

    proportional: int
    private: int

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.proportional + other.proportional, self.private + other.private)


def memory(pid: int) -> Memory:
    """The memory of a process; nothing once it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return Memory(0, 0)
    values = {line.split()[0]: int(line.split()[1]) * 1024 for line in text.splitlines()[1:]}
    return Memory(values["Pss:"], values["Private_Clean:"] + values["Private_Dirty:"])


def end_all(word: str, seconds: float = 5) -> list[Process]:
    """Kill what still belongs to ``word``, a directory of ours; returns what was found at first."""
    found = left = belonging([word])
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
        left = belonging([word])
    return found
