"""Real volumes in a temporary state directory, for integration tests."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator

from stilldb.domain.volumes import RestorePoint, SnapshotIntent, VolumeKey
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


def open_volumes(state: pathlib.Path, settings: VolumeSettings | None = None) -> LocalVolumes:
    """The volumes of a state directory, as a control plane opens them."""
    layout = Layout(state, identity.unprivileged())
    layout.prepare()
    found = programs.locate(None, layout.programs, layout.owner)
    return LocalVolumes(layout, found, settings)


@contextlib.asynccontextmanager
async def volumes(
    state: pathlib.Path, *keys: VolumeKey, settings: VolumeSettings | None = None
) -> AsyncIterator[LocalVolumes]:
    """Volumes that are stopped and removed at the end: those of ``keys``."""
    opened = open_volumes(state, settings)
    try:
        yield opened
    finally:
        for key in (KEY, *keys):
            await opened.destroy(key, retain_until=None)


async def take(volumes: LocalVolumes, snapshot_id: str, key: VolumeKey = KEY) -> RestorePoint:
    """A whole snapshot of a held volume."""
    point = await volumes.mark(key, f"point-{snapshot_id}")
    intent = SnapshotIntent(snapshot_id=snapshot_id, volume=key, point=point, attributes={"port": 27017})
    await volumes.draft(intent)
    await volumes.verify(intent)
    await volumes.publish(intent)
    return point
