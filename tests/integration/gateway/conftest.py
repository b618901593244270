"""Gateways for the tests of this directory."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from support.gateway import RunningGateway, gateway


@pytest.fixture
def served(tmp_path: pathlib.Path) -> Iterator[RunningGateway]:
    with gateway(tmp_path) as running:
        yield running


@pytest.fixture
def client(served: RunningGateway) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
    with served.client() as connected:
        yield connected
