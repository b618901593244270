"""The gateway's way to the documents: opened when PostgreSQL answers, asked whether it still does."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable

from stilldb.gateway.context import Context
from stilldb.gateway.ports import DocumentStore
from stilldb.util.log import event

log = logging.getLogger("stilldb.gateway")

Opener = Callable[[], Awaitable[DocumentStore]]
_FIRST_RETRY, _LONGEST_RETRY = 0.02, 1.0  # seconds
_OPEN_WITHIN = 30.0
_PING_WITHIN = 2.0


class Storage:
    """Keeps trying to open the documents, and says whether they answer."""

    def __init__(self, context: Context, opener: Opener) -> None:
        self._context = context
        self._opener = opener
        self._reason = "its storage was not reached yet"

    async def open(self) -> None:
        """Return once the documents are open and know the master user; retries for ever."""
        delay = _FIRST_RETRY
        while True:
            try:
                async with asyncio.timeout(_OPEN_WITHIN):
                    self._context.documents = await self._once()
            except Exception as error:  # noqa: BLE001 - whatever it is, it may be over the next time
                reason = _why(error)
                if reason != self._reason:
                    log.warning(event("not ready", reason=reason))
                self._reason = reason
            else:
                log.info(event("storage opened"))
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_RETRY)

    async def _once(self) -> DocumentStore:
        documents = await self._opener()
        master = self._context.endpoint.master_user
        try:
            if master is not None and self._context.endpoint.writer:
                verifiers = [dataclasses.asdict(verifier) for verifier in master.verifiers]
                await documents.put_master_user(master.name, master.version, verifiers)
        except BaseException:
            await documents.close()
            raise
        return documents

    async def trouble(self) -> str | None:
        """Why the documents do not answer now; None when they do."""
        if not self._context.opened:
            return self._reason
        try:
            async with asyncio.timeout(_PING_WITHIN):
                await self._context.documents.ping()
        except Exception as error:  # noqa: BLE001 - it is told to whoever asked
            return _why(error)
        return None

    async def expire(self) -> None:
        """Remove what TTL indexes say is too old, again and again, for as long as this is the writer."""
        while self._context.endpoint.writer:
            await asyncio.sleep(self._context.limits.expiry)
            try:
                if self._context.opened and (removed := await self._context.documents.delete_expired()):
                    log.info(event("documents expired", removed=removed))
            except Exception as error:  # noqa: BLE001 - the next look may succeed; readiness is told elsewhere
                log.warning(event("expiry failed", reason=_why(error)))

    async def close(self) -> None:
        """Close the documents, if they were opened."""
        if self._context.opened:
            await self._context.documents.close()


def _why(error: Exception) -> str:
    return f"its storage does not answer: {type(error).__name__}: {error}".rstrip(": ")
