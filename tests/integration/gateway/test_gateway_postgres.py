"""The gateway in front of a real PostgreSQL: it waits for it, tells when it is away, and comes back with it."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient, errors

from stilldb.endpoint import GatewayEndpoint
from stilldb.gateway import listen, process
from stilldb.gateway.context import Context, Limits
from stilldb.gateway.server import Server
from stilldb.gateway.storage import Storage
from stilldb.volume.local import LocalVolumes
from support.gateway import PASSWORD, USER, endpoint
from support.volumes import KEY, open_volumes, state_directory

PATIENCE = 20.0


@pytest.fixture
async def volumes() -> AsyncIterator[LocalVolumes]:
    with state_directory() as state:
        opened = open_volumes(state)
        await opened.create(KEY, kms_key_arn=None)
        try:
            yield opened
        finally:
            await opened.destroy(KEY, retain_until=None)


async def until_ready(storage: Storage, *, ready: bool = True) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await storage.trouble() is None) is not ready:
            await asyncio.sleep(0.01)


def client(served: GatewayEndpoint) -> AsyncMongoClient[dict[str, Any]]:
    host, port = served.listen[0]
    return AsyncMongoClient(
        host, port, username=USER, password=PASSWORD, retryWrites=False, directConnection=True
    )


async def test_it_waits_for_postgresql_and_comes_back_with_it(
    volumes: LocalVolumes, tmp_path: pathlib.Path
) -> None:
    address = await volumes.hold(KEY, "test")
    await volumes.release(KEY, "test")  # down, but where it will be is known
    served = endpoint(
        tmp_path,
        postgres_host=address.host,
        postgres_port=address.port,
        postgres_user=address.user,
        postgres_database=address.database,
    )
    context = Context(served, Limits(drain=0.5))
    storage = Storage(context, process.postgres_opener(served))
    server = Server(context)
    opening = asyncio.create_task(storage.open())
    await server.start(listen.bind(served), None)
    try:
        assert await storage.trouble() is not None
        await volumes.hold(KEY, "test")
        async with asyncio.timeout(PATIENCE):
            await opening
        await until_ready(storage)
        async with client(served) as driver:
            things = driver.test.things
            await things.insert_many([{"_id": n, "n": n} for n in range(300)])
            assert await things.count_documents({"n": {"$gte": 290}}) == 10
            found = things.find({}, batch_size=10)
            assert (await anext(found))["_id"] == 0
            await volumes.release(KEY, "test")
            await until_ready(storage, ready=False)
            for attempt in range(3):
                with pytest.raises(errors.OperationFailure) as caught:
                    await things.insert_one({"_id": f"lost {attempt}"})
                assert caught.value.code == 6
            await volumes.hold(KEY, "test")
            await until_ready(storage)
            assert len([one async for one in found]) == 299  # no cursor depends on a connection
            assert (await things.insert_one({"_id": "back"})).inserted_id == "back"
            assert await things.count_documents({}) == 301
    finally:
        opening.cancel()
        await server.stop()
        await storage.close()
