"""A snapshot that several look into is restored once, and removed when the last one has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from stilldb.domain.proofs import Proof
from stilldb.domain.volumes import PostgresAddress, VolumeError, VolumeKey
from stilldb.volume.looks import LocalLooks

KEY = VolumeKey("cluster-A", 1)


class Trials:
    """Restores that take a moment."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.broken = False

    async def prove(
        self,
        source: VolumeKey,
        snapshot_id: str,
        *,
        expected: Mapping[str, int] | None,
        progress: Callable[[int], None],
    ) -> Proof:
        raise NotImplementedError

    async def open_snapshot(
        self, source: VolumeKey, snapshot_id: str, *, progress: Callable[[int], None]
    ) -> PostgresAddress:
        self.steps.append(f"open {snapshot_id}")
        await asyncio.sleep(0.01)
        if self.broken:
            raise VolumeError("damaged")
        return PostgresAddress(host=f"/scratch/{snapshot_id}", port=1, user="u", database="d")

    async def close_snapshot(self, source: VolumeKey, snapshot_id: str) -> None:
        self.steps.append(f"close {snapshot_id}")
        await asyncio.sleep(0.01)
        self.steps.append(f"closed {snapshot_id}")


@pytest.fixture
def trials() -> Trials:
    return Trials()


async def look(looks: LocalLooks, holder: str, snapshot_id: str = "s") -> PostgresAddress:
    return await looks.open(KEY, snapshot_id, holder=holder, served=False, progress=lambda percent: None)


async def test_it_is_restored_once_and_removed_after_the_last(trials: Trials) -> None:
    looks = LocalLooks(trials)
    one, two = await asyncio.gather(look(looks, "a"), look(looks, "b"))
    assert one == two
    assert (await look(looks, "c", "other")).host == "/scratch/other"
    await looks.close(KEY, "s", holder="a")
    await looks.close(KEY, "s", holder="a")
    await looks.close(KEY, "s", holder="stranger")
    assert trials.steps == ["open s", "open other"]
    await looks.close(KEY, "s", holder="b")
    assert trials.steps[2:] == ["close s", "closed s"]
    await looks.close(KEY, "other", holder="c")


async def test_one_that_comes_while_the_last_goes_gets_a_new_one(trials: Trials) -> None:
    looks = LocalLooks(trials)
    await look(looks, "a")
    closing = asyncio.create_task(looks.close(KEY, "s", holder="a"))
    await asyncio.sleep(0)
    await look(looks, "b")
    await closing
    assert trials.steps == ["open s", "close s", "closed s", "open s"], "two in one place at a time"
    await looks.close(KEY, "s", holder="b")
    assert trials.steps[-1] == "closed s"


async def test_a_restore_that_fails_is_tried_by_the_next_and_cleared_by_the_last(trials: Trials) -> None:
    looks = LocalLooks(trials)
    trials.broken = True
    with pytest.raises(VolumeError):
        await look(looks, "a")
    trials.broken = False
    await look(looks, "b")
    await looks.close(KEY, "s", holder="a")
    assert "close s" not in trials.steps
    await looks.close(KEY, "s", holder="b")
    assert trials.steps == ["open s", "open s", "close s", "closed s"]
