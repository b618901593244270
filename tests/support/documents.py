"""Documents over a real PostgreSQL, for integration tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from stilldb.documents import Documents
from stilldb.domain.volumes import PostgresAddress
from support.volumes import KEY, open_volumes, state_directory


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresAddress]:
    """A volume's PostgreSQL, up until the end."""
    with state_directory() as state:
        volumes = open_volumes(state)

        async def start() -> PostgresAddress:
            await volumes.create(KEY, kms_key_arn=None)
            return await volumes.hold(KEY, "tests")

        with asyncio.Runner() as runner:
            try:
                yield runner.run(start())
            finally:
                runner.run(volumes.destroy(KEY, retain_until=None))


@contextlib.asynccontextmanager
async def opened(
    address: PostgresAddress, *, writer: bool = True, push: bool = True
) -> AsyncIterator[Documents]:
    """The documents of a running PostgreSQL."""
    documents = await Documents.open(
        host=address.host,
        port=address.port,
        user=address.user,
        database=address.database,
        writer=writer,
        push=push,
    )
    try:
        yield documents
    finally:
        await documents.close()
