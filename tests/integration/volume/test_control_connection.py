"""The control connection of a volume has one user at a time, however many want it."""

from __future__ import annotations

import asyncio

from support.volumes import DAY, KEY, state_directory, take, volumes


async def test_snapshots_and_maintenance_at_once() -> None:
    with state_directory() as state:
        async with volumes(state) as opened:
            await opened.create(KEY, kms_key_arn=None)
            await opened.hold(KEY, "test")
            takes = [take(opened, f"s{number}") for number in range(12)]
            cares = [opened.maintain(KEY, retention=DAY) for _ in range(12)]
            points = (
                await asyncio.gather(*(job for pair in zip(takes, cares, strict=True) for job in pair))
            )[::2]
            assert len({point.lsn for point in points if point is not None}) == 12
