"""A real gateway server on a loopback address, in a thread of its own, on documents in memory."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pymongo
import pymongo.errors
import pytest
import uvloop

from stilldb.endpoint import GatewayEndpoint, MasterUser, ScramVerifier
from stilldb.gateway import commands, listen
from stilldb.gateway.context import Context, Limits
from stilldb.gateway.server import Server
from stilldb.gateway.storage import Storage
from stilldb.util import scram
from support.documents_twin import MemoryDocuments

USER, PASSWORD = "app", "secret123"
PATIENCE = 10.0  # seconds
_VERIFIERS = tuple(ScramVerifier(**verifier) for verifier in scram.verifiers(USER, PASSWORD))
_T = TypeVar("_T")
assert commands.COMMANDS


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def endpoint(directory: pathlib.Path, **changes: Any) -> GatewayEndpoint:
    """An endpoint on a free port."""
    port = free_port()
    made = GatewayEndpoint(
        cluster_resource_id="cluster-A",
        incarnation=1,
        instance_id="db-A",
        writer=True,
        engine_version="5.0.0",
        postgres_host=str(directory),
        postgres_port=1,
        postgres_user="nobody",
        postgres_database="none",
        listen=(("127.0.0.1", port),),
        replica_set="rs0",
        hosts=(f"127.0.0.1:{port}",),
        me=f"127.0.0.1:{port}",
        primary=f"127.0.0.1:{port}",
        tls_certificate=None,
        tls_key=None,
        health_socket=str(directory / "health.sock"),
        max_connections=50,
        master_user=MasterUser(name=USER, version=1, verifiers=_VERIFIERS),
        run_as=None,
    )
    return dataclasses.replace(made, **changes)


class RunningGateway:
    """What a test has of it."""

    def __init__(self, served: GatewayEndpoint, limits: Limits) -> None:
        self.endpoint = served
        self.port = served.listen[0][1]
        self.documents = MemoryDocuments()
        self.context = Context(served, limits)
        self.server: Server
        self.loop = uvloop.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def client(self, **options: Any) -> pymongo.MongoClient[dict[str, Any]]:
        """A driver connected as the master user; close it, best in a ``with``."""
        defaults: dict[str, Any] = {
            "username": USER,
            "password": PASSWORD,
            "directConnection": True,
            "retryWrites": False,
            "serverSelectionTimeoutMS": 5000,
        }
        return pymongo.MongoClient("127.0.0.1", self.port, **{**defaults, **options})

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds in the server's loop."""

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await asyncio.sleep(0.002)

        self.run(wait())

    def gate(self, method: str) -> Callable[[], None]:
        """Hold up a method of the documents; call what is given back to let it go on."""
        gate = asyncio.Event()
        self.documents.gates[method] = gate

        def let_go() -> None:
            self.documents.gates.pop(method, None)
            self.loop.call_soon_threadsafe(gate.set)

        return let_go

    def stop_server(self) -> None:
        """What a signal does to the process."""
        self.run(self.server.stop())

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            self.loop.close()

    async def _serve(self) -> None:
        async def opener() -> MemoryDocuments:
            return self.documents

        storage = Storage(self.context, opener)
        await storage.open()
        self.server = Server(self.context)
        await self.server.start(listen.bind(self.endpoint), listen.tls_context(self.endpoint))
        self._ready.set()
        await self._stop.wait()
        await self.server.stop()


@contextlib.contextmanager
def gateway(
    directory: pathlib.Path, limits: Limits | None = None, **changes: Any
) -> Iterator[RunningGateway]:
    """A gateway for as long as the ``with`` lasts."""
    made = RunningGateway(endpoint(directory, **changes), limits or Limits(drain=1.0))
    made.start()
    try:
        yield made
    finally:
        made.end()


def refused(
    client: pymongo.MongoClient[dict[str, Any]], code: int, command: dict[str, Any], database: str = "test"
) -> dict[str, Any]:
    """The error reply to a command that must fail with this code."""
    with pytest.raises(pymongo.errors.OperationFailure) as caught:
        client[database].command(command)
    assert caught.value.code == code, caught.value.details
    return dict(caught.value.details or {})
