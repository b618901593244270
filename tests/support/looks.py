"""control.ports.Looks in memory."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Mapping
from typing import Any

from stilldb.domain.proofs import Proof
from stilldb.domain.volumes import PostgresAddress, VolumeError, VolumeKey


class MemoryLooks:
    """What was opened and not closed is in ``open_``; ``trouble`` is raised by the next calls; ``gate`` holds trials up."""

    def __init__(self, now: Callable[[], datetime.datetime]) -> None:
        self.now = now
        self.open_: dict[str, str] = {}  # holder -> snapshot id
        self.trouble: Exception | None = None
        self.damaged: dict[str, str] = {}  # snapshot id -> what a trial finds
        self.gate: asyncio.Event | None = None
        self.tried: list[tuple[str, Mapping[str, int] | None]] = []
        self.running = 0
        self.most_running = 0

    async def prove(
        self,
        source: VolumeKey,
        snapshot_id: str,
        *,
        expected: Mapping[str, int] | None,
        progress: Callable[[int], None],
    ) -> Proof:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
            if self.trouble is not None:
                raise self.trouble
            self.tried.append((snapshot_id, expected))
            progress(100)
            reason = self.damaged.get(snapshot_id, "")
            return Proof(
                snapshot_id=snapshot_id,
                proven_at=self.now(),
                seconds=1.5,
                size=1 << 40,
                documents={} if reason else {"atlas.places": 7},
                ok=not reason,
                reason=reason,
            )
        finally:
            self.running -= 1

    async def open(
        self,
        source: VolumeKey,
        snapshot_id: str,
        *,
        holder: str,
        served: bool,
        progress: Callable[[int], None],
    ) -> PostgresAddress:
        self.open_[holder] = snapshot_id
        if self.trouble is not None:
            raise self.trouble
        progress(100)
        return PostgresAddress(host=f"/scratch/{snapshot_id}", port=5432, user="stilldb", database="stilldb")

    async def close(self, source: VolumeKey, snapshot_id: str, *, holder: str) -> None:
        self.open_.pop(holder, None)

    async def compare(
        self, old: PostgresAddress, new: PostgresAddress, *, examples: int, progress: Callable[[int], None]
    ) -> Mapping[str, Any]:
        if len(set(self.open_.values())) == 0:
            raise VolumeError("nothing is open")
        progress(100)
        return {"old": old.host, "new": new.host, "examples": examples}
