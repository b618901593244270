"""Real volumes in a temporary state directory, for integration tests."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import pathlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg

from stilldb.domain.volumes import RestorePoint, RestoreTarget, SnapshotIntent, VolumeKey
from stilldb.node import identity
from stilldb.postgres import programs
from stilldb.volume.layout import Layout
from stilldb.volume.local import LocalVolumes
from stilldb.volume.settings import VolumeSettings

KEY = VolumeKey("cluster-SOURCE", 1)
DAY = datetime.timedelta(days=1)


@contextlib.contextmanager
def state_directory() -> Iterator[pathlib.Path]:
    """A short path that the servers' user can enter, unlike pytest's own temporary directories."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="stilldb-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def open_volumes(state: pathlib.Path, settings: VolumeSettings | None = None, **more: Any) -> LocalVolumes:
    """The volumes of a state directory, as a control plane opens them; ``more`` as LocalVolumes takes it."""
    layout = Layout(state, identity.unprivileged())
    layout.prepare()
    found = programs.locate(None, layout.programs, layout.owner)
    return LocalVolumes(layout, found, settings, **more)


@contextlib.asynccontextmanager
async def volumes(
    state: pathlib.Path, *keys: VolumeKey, settings: VolumeSettings | None = None, **more: Any
) -> AsyncIterator[LocalVolumes]:
    """Volumes that are stopped and removed at the end: those of ``keys``."""
    opened = open_volumes(state, settings, **more)
    try:
        yield opened
    finally:
        for key in (KEY, *keys):
            await opened.destroy(key, retain_until=None)


async def connected(volumes: LocalVolumes, key: VolumeKey = KEY, holder: str = "test") -> asyncpg.Connection:
    """A connection to the PostgreSQL of a volume that is held for it."""
    address = await volumes.hold(key, holder)
    return await asyncpg.connect(
        host=address.host, port=address.port, user=address.user, database=address.database
    )


async def restored(
    volumes: LocalVolumes, key: VolumeKey, target: RestoreTarget, source: VolumeKey = KEY
) -> None:
    """A volume made from a snapshot or a moment."""
    await volumes.restore(key, source=source, target=target, kms_key_arn=None, progress=lambda _: None)


async def numbers(volumes: LocalVolumes, key: VolumeKey = KEY) -> list[int]:
    """The column n of the table t, in order."""
    connection = await connected(volumes, key, "look")
    rows = await connection.fetch("SELECT n FROM t ORDER BY n")
    await connection.close()
    await volumes.release(key, "look")
    return [row["n"] for row in rows]


async def become(condition: Callable[[], Awaitable[Any]], what: str, seconds: float = 30.0) -> Any:
    """The first true answer; fails when none comes within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (answer := await condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        await asyncio.sleep(0.02)
    return answer


async def take(volumes: LocalVolumes, snapshot_id: str, key: VolumeKey = KEY) -> RestorePoint:
    """A whole snapshot of a held volume."""
    point = await volumes.mark(key, f"point-{snapshot_id}")
    intent = SnapshotIntent(snapshot_id=snapshot_id, volume=key, point=point, attributes={"port": 27017})
    await volumes.draft(intent)
    await volumes.verify(intent)
    await volumes.publish(intent)
    return point
