"""The gateway processes of this host: ``control.ports.Gateways``. The gateway itself is another program."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import sys

from stilldb.domain.volumes import GatewayState
from stilldb.endpoint import GatewayEndpoint
from stilldb.util import files, processes

_STOP_WITHIN = 8.0  # seconds: the gateway lets running commands finish
_ANSWER_WITHIN = 5.0
_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    # glibc: few arenas, and no mapping and unmapping of memory for each larger buffer.
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 20),
}


class LocalGateways:
    """Gateways started from the endpoint files in ``directory``, logging to ``logs``."""

    def __init__(self, directory: pathlib.Path, logs: pathlib.Path) -> None:
        self._directory = files.make_directory(directory, 0o700, None)
        self._logs = logs
        self._locks: dict[str, asyncio.Lock] = {}

    def _endpoint(self, instance_id: str) -> pathlib.Path:
        return self._directory / f"{instance_id}.endpoint.json"

    def _record(self, instance_id: str) -> pathlib.Path:
        return self._directory / f"{instance_id}.process.json"

    def _lock(self, instance_id: str) -> asyncio.Lock:
        return self._locks.setdefault(instance_id, asyncio.Lock())

    async def start(self, endpoint: GatewayEndpoint) -> None:
        """Start the gateway, or leave the one alone that runs with exactly this endpoint."""
        async with self._lock(endpoint.instance_id):
            path, text = self._endpoint(endpoint.instance_id), endpoint.to_json().encode()
            running = processes.load(self._record(endpoint.instance_id))
            if processes.alive(running):
                if path.exists() and path.read_bytes() == text:
                    return
                await processes.terminate(running, grace=_STOP_WITHIN)
            files.write_durably(path, text, 0o600)
            process = processes.spawn(
                [sys.executable, "-m", "stilldb.gateway", "--endpoint", str(path)],
                log=self._logs / f"{endpoint.instance_id}-gateway.log",
                environment={**os.environ, **_ENVIRONMENT},
            )
            processes.save(self._record(endpoint.instance_id), process)

    async def stop(self, instance_id: str) -> None:
        """Stop it and forget its endpoint, which carries the master user's verifiers."""
        async with self._lock(instance_id):
            await processes.terminate(processes.load(self._record(instance_id)), grace=_STOP_WITHIN)
            self._record(instance_id).unlink(missing_ok=True)
            self._endpoint(instance_id).unlink(missing_ok=True)

    async def observe(self, instance_id: str) -> GatewayState:
        """Ask the process on its health socket."""
        if not processes.alive(processes.load(self._record(instance_id))):
            return GatewayState(running=False, ready=False, reason="its gateway does not run")
        try:
            endpoint = json.loads(self._endpoint(instance_id).read_text())
            async with asyncio.timeout(_ANSWER_WITHIN):
                reader, writer = await asyncio.open_unix_connection(endpoint["health_socket"])
                try:
                    answer = json.loads(await reader.readline())
                finally:
                    writer.close()
        except (OSError, ValueError, TimeoutError) as error:
            return GatewayState(running=True, ready=False, reason=f"its gateway does not answer yet: {error}")
        return GatewayState(running=True, ready=bool(answer["ready"]), reason=str(answer["reason"]))

    async def started(self) -> list[str]:
        """The instance ids of all that were started and not stopped."""
        ending = ".endpoint.json"
        return sorted(path.name.removesuffix(ending) for path in self._directory.glob(f"*{ending}"))
