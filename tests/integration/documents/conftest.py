"""One PostgreSQL for all tests of documents, and a database of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from stilldb.documents import Documents
from stilldb.documents.model import Namespace
from stilldb.domain.volumes import PostgresAddress
from support.documents import opened, running_postgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresAddress]:
    with running_postgres() as address:
        yield address


@pytest.fixture
async def documents(postgres: PostgresAddress) -> AsyncIterator[Documents]:
    async with opened(postgres) as found:
        yield found


@pytest.fixture
async def engine_only(postgres: PostgresAddress) -> AsyncIterator[Documents]:
    """The same volume to read from, without pushdown."""
    async with opened(postgres, writer=False, push=False) as found:
        yield found


@pytest.fixture
def namespace() -> Namespace:
    """A collection that no other test has."""
    return Namespace(f"db{next(_numbers)}", "things")
