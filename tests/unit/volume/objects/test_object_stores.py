"""What every object store does, on a directory and in memory; S3 runs the same in tests/integration/volume/objects."""

from __future__ import annotations

import pathlib

import pytest

from stilldb.volume.objects.local import LocalStore
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.objects.store import ObjectStore
from support.object_store_contract import *  # noqa: F403


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> ObjectStore:
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "archive")
