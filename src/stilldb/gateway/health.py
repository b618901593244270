"""The health socket: one JSON line to everybody who connects, then the end."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib

from stilldb.gateway.server import Server
from stilldb.gateway.storage import Storage


class Health:
    """Answers on a unix socket whether clients can be served right now."""

    def __init__(self, server: Server, storage: Storage) -> None:
        self._server = server
        self._storage = storage
        self._listener: asyncio.Server | None = None
        self._path = pathlib.Path()

    async def start(self, path: str) -> None:
        """Listen at ``path``, in place of a socket that a dead gateway left there."""
        self._path = pathlib.Path(path)
        self._path.unlink(missing_ok=True)
        self._listener = await asyncio.start_unix_server(self._answer, path)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            self._listener.close()
            self._path.unlink(missing_ok=True)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reason = None if self._server.listening else "it does not listen yet"
        reason = reason or await self._storage.trouble()
        answer = {
            "ready": reason is None,
            "reason": reason or "",
            "pid": os.getpid(),
            "connections": self._server.context.connections,
        }
        try:
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except OSError:
            pass  # whoever asked has gone
        finally:
            writer.close()
