"""A snapshot that is served read only for as long as a command needs it."""

from __future__ import annotations

import contextlib
import signal
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pymongo

from stilldb.cli import output
from stilldb.cli.service import Service


def connection_string(look: dict[str, Any], bundle: str) -> str:
    """How a client gets to a look."""
    options = {
        "tls": "true",
        "tlsCAFile": bundle,
        "directConnection": "true",
        "readPreference": "secondaryPreferred",
        "retryWrites": "false",
    }
    who = f"{urllib.parse.quote_plus(look['username'])}:{urllib.parse.quote_plus(look['password'])}"
    return f"mongodb://{who}@{look['address']}:{look['port']}/?{urllib.parse.urlencode(options)}"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that what it opened is closed."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def browsed(service: Service, name: str, what: str, *, quiet: bool) -> Iterator[pymongo.MongoClient[Any]]:
    """A client of a snapshot, served as long as the ``with`` lasts."""
    with contextlib.ExitStack() as stack:
        bundle = stack.enter_context(service.ca_bundle())
        with output.progress(what, quiet=quiet) as progress:
            look = stack.enter_context(service.look(name, progress=progress))
        yield stack.enter_context(pymongo.MongoClient(connection_string(look, bundle)))
