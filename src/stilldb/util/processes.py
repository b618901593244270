"""Server processes that outlive the control plane: started detached, recognised again, stopped.

A process is known by its pid, its start time and the machine's boot id, so a recycled pid is never taken for it. A
zombie counts as dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

_POLL = 0.01  # seconds
_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")

_children: dict[int, subprocess.Popen[bytes]] = {}  # kept so that the dead among them are reaped


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """The identity of a process, for as long as the machine is up."""

    pid: int
    started: int  # clock ticks after boot
    boot_id: str


def identify(pid: int) -> Process | None:
    """The running process with this pid, None when there is none or it is a zombie."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
        return None
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the command's name may hold anything, blanks and brackets too
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]), _BOOT_ID.read_text().strip())


def alive(process: Process | None) -> bool:
    """Whether that very process runs."""
    return process is not None and identify(process.pid) == process


def spawn(
    command: Sequence[str | os.PathLike[str]],
    *,
    log: pathlib.Path,
    run_as: tuple[int, int] | None = None,
    environment: Mapping[str, str] | None = None,
    nice: int = 0,
) -> Process:
    """Start ``command`` in a session of its own, its output appended to ``log``; as another user when given."""
    uid, gid = run_as or (None, None)
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["nice", "-n", str(nice), *command] if nice else list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(environment) if environment is not None else None,
            user=uid,
            group=gid,
            extra_groups=[] if run_as else None,
            cwd="/",
        )
    _children[child.pid] = child
    found = identify(child.pid)
    return found if found is not None else Process(child.pid, -1, "")


def save(path: pathlib.Path, process: Process) -> None:
    """Keep the identity in a file, for the next control plane."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(dataclasses.asdict(process)))
    temporary.replace(path)


def load(path: pathlib.Path) -> Process | None:
    """The process that was kept, None when there is no file or it is unreadable."""
    try:
        return Process(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


async def wait_end(process: Process, seconds: float) -> bool:
    """Whether the process ended within ``seconds``."""
    deadline = time.monotonic() + seconds
    while alive(process):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True


async def terminate(process: Process | None, *, grace: float, first: signal.Signals = signal.SIGTERM) -> None:
    """Ask with ``first``, wait up to ``grace`` seconds, then kill its process group."""
    if process is None or not alive(process):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, first)
    if await wait_end(process, grace):
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await wait_end(process, 5)


def working_directory(pid: int) -> str | None:
    """Where the process stands, None when it is gone or somebody else's."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None


def with_working_directory(directory: pathlib.Path) -> list[int]:
    """Pids of the processes that stand in ``directory``: how PostgreSQL's children are found without their parent."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if working_directory(pid) == str(directory)]


async def evict(directory: pathlib.Path, within: float = 10.0) -> list[int]:
    """Kill whatever stands in ``directory``; returns the pids that would not end within so many seconds."""
    deadline = time.monotonic() + within
    while standing := with_working_directory(directory):
        for pid in standing:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(_POLL)
    return standing


async def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    run_as: tuple[int, int] | None = None,
    nice: int = 0,
    directory: pathlib.Path = pathlib.Path("/"),
) -> tuple[int, str]:
    """Run a program to its end: exit code, and what it printed. Cancelled, it is killed first.

    ``directory``: where it stands, by which ``evict`` finds it when this process was killed.
    """
    uid, gid = run_as or (None, None)
    # A plain Popen: event loops differ in what they can do about users.
    child = subprocess.Popen(
        ["nice", "-n", str(nice), *command] if nice else list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=uid,
        group=gid,
        extra_groups=[] if run_as else None,
        cwd=directory,
    )
    talking = asyncio.get_running_loop().run_in_executor(None, child.communicate)
    try:
        output, _ = await asyncio.shield(talking)
    except asyncio.CancelledError:
        child.kill()
        await talking
        raise
    return child.returncode, output.decode(errors="replace")
