"""Snapshots that are looked into: ``control.ports.Looks`` over trial restores. A snapshot that several look into is restored once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stilldb.domain.proofs import Proof
from stilldb.domain.volumes import PostgresAddress, VolumeError, VolumeKey
from stilldb.volume import compare, contents

Progress = Callable[[int], None]


class Trials(Protocol):
    """Throw-away PostgreSQLs of snapshots."""

    async def prove(
        self, source: VolumeKey, snapshot_id: str, *, expected: Mapping[str, int] | None, progress: Progress
    ) -> Proof:
        """Restore it and check it."""

    async def open_snapshot(
        self, source: VolumeKey, snapshot_id: str, *, progress: Progress
    ) -> PostgresAddress:
        """Restore it and keep it up, read only."""

    async def close_snapshot(self, source: VolumeKey, snapshot_id: str) -> None:
        """Stop and remove it; nothing to do when it is not open."""


@dataclasses.dataclass(slots=True)
class _Opened:
    """One restored snapshot, while somebody holds or opens it."""

    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    address: PostgresAddress | None = None
    holders: set[str] = dataclasses.field(default_factory=set)


class LocalLooks:
    """The looks of one region."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._opened: dict[tuple[VolumeKey, str], _Opened] = {}

    async def prove(
        self, source: VolumeKey, snapshot_id: str, *, expected: Mapping[str, int] | None, progress: Progress
    ) -> Proof:
        """Restore and check it; what is wrong with the snapshot is in the proof."""
        return await self._trials.prove(source, snapshot_id, expected=expected, progress=progress)

    async def open(
        self, source: VolumeKey, snapshot_id: str, *, holder: str, served: bool, progress: Progress
    ) -> PostgresAddress:
        """Restore it unless it is up, and keep it up for ``holder``."""
        opened = self._opened.setdefault((source, snapshot_id), _Opened())
        opened.holders.add(holder)
        async with opened.lock:
            if opened.address is None:
                opened.address = await self._trials.open_snapshot(source, snapshot_id, progress=progress)
            if served:
                await _require_documents(opened.address)
            return opened.address

    async def close(self, source: VolumeKey, snapshot_id: str, *, holder: str) -> None:
        """``holder`` needs it no more; the last one's close stops and removes it."""
        opened = self._opened.get((source, snapshot_id))
        if opened is None or holder not in opened.holders:
            return
        opened.holders.discard(holder)
        async with opened.lock:
            if not opened.holders:
                opened.address = None
                await self._trials.close_snapshot(source, snapshot_id)
            if not opened.holders:  # nobody came meanwhile, to wait for the lock
                self._opened.pop((source, snapshot_id), None)

    async def compare(
        self, old: PostgresAddress, new: PostgresAddress, *, examples: int, progress: Progress
    ) -> Mapping[str, Any]:
        """What differs between two volumes' documents, indexes and users; in a process of its own."""
        return await compare.compare_aside(old, new, examples=examples, progress=progress)


async def _require_documents(address: PostgresAddress) -> None:
    connection = await contents.connect(address)
    try:
        if not await contents.has_documents(connection):
            raise VolumeError("it holds no documents: its cluster never had an instance")
    finally:
        await connection.close()
