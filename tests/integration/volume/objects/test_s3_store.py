"""The object stores' contract on a real S3 server, and what a service can do wrong."""

from __future__ import annotations

import pytest

from stilldb.volume.objects.store import ObjectStore
from support.object_store_contract import *  # noqa: F403
from support.s3 import s3_store


@pytest.fixture
def store(endpoint: str) -> ObjectStore:
    return s3_store(endpoint)
