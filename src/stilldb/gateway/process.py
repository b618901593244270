"""A gateway process from its start to its end."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import signal
import socket
import ssl

from stilldb.endpoint import GatewayEndpoint
from stilldb.gateway import listen
from stilldb.gateway.context import Context, Limits
from stilldb.gateway.health import Health
from stilldb.gateway.ports import DocumentStore
from stilldb.gateway.server import Server
from stilldb.gateway.storage import Opener, Storage
from stilldb.util.log import event

log = logging.getLogger("stilldb.gateway")

_OWN = ("stilldb.documents", "stilldb.gateway.commands")
_LAZY = (
    "concurrent.futures.thread",
    "encodings.idna",
    "encodings.unicode_escape",
    "linecache",
    "stringprep",
    "traceback",
)


def run(endpoint: GatewayEndpoint, opener: Opener | None = None, limits: Limits | None = None) -> None:
    """Serve the endpoint until SIGTERM or SIGINT. ``opener`` makes the documents, PostgreSQL's unless given."""
    tls = listen.tls_context(endpoint)
    sockets = listen.bind(endpoint)
    # Everything is loaded before privileges go: Python may lie where only root can read it.
    _load()
    import uvloop  # noqa: PLC0415 - loaded while the addresses are bound already

    listen.drop_privileges(endpoint)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(endpoint, opener or postgres_opener(endpoint), sockets, tls, limits))


def _load() -> None:
    """Import what is otherwise imported at its first use, by us and by the libraries."""
    for name in (*_OWN, *_LAZY):
        importlib.import_module(name)


def postgres_opener(endpoint: GatewayEndpoint) -> Opener:
    """Opens the documents in the endpoint's PostgreSQL."""

    async def opener() -> DocumentStore:
        from stilldb.documents import Documents  # noqa: PLC0415 - tests serve without it

        return await Documents.open(
            host=endpoint.postgres_host,
            port=endpoint.postgres_port,
            user=endpoint.postgres_user,
            database=endpoint.postgres_database,
            writer=endpoint.writer,
        )

    return opener


async def serve(
    endpoint: GatewayEndpoint,
    opener: Opener,
    sockets: list[socket.socket],
    tls: ssl.SSLContext | None,
    limits: Limits | None = None,
) -> None:
    """Serve until a signal asks to stop."""
    from stilldb.gateway import commands  # noqa: PLC0415 - registers them

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    context = Context(endpoint, limits)
    storage = Storage(context, opener)
    server = Server(context)
    health = Health(server, storage)
    background = [loop.create_task(storage.open()), loop.create_task(storage.expire())]
    await server.start(sockets, tls)
    await health.start(endpoint.health_socket)
    log.info(
        event(
            "serving",
            instance=endpoint.instance_id,
            addresses=endpoint.listen,
            commands=len(commands.COMMANDS),
        )
    )
    _settle()
    try:
        await stop.wait()
    finally:
        log.info(event("stopping", connections=context.connections))
        await health.stop()
        await server.stop()
        for task in background:
            task.cancel()
        await storage.close()


def _settle() -> None:
    """What was loaded stays: the collector need not look at it again, and seldom at the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 50)
