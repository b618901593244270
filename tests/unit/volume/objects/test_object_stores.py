"""What every object store does, on a directory, in memory and through obstore; S3 runs the same in tests/integration/volume/objects."""

from __future__ import annotations

import pathlib

import obstore.store
import pytest

from stilldb.volume.objects.local import LocalStore
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.objects.remote import RemoteStore
from stilldb.volume.objects.store import ObjectStore
from support.object_store_contract import *  # noqa: F403


@pytest.fixture(params=["local", "memory", "obstore"])
def store(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> ObjectStore:
    if request.param == "local":
        return LocalStore(tmp_path / "archive")
    return MemoryStore() if request.param == "memory" else RemoteStore(obstore.store.MemoryStore(), "obstore")
