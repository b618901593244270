"""Random histories of a volume against a model: whatever happens in whatever order, each snapshot and moment is what it was.

The seeds are fixed; ``STILLDB_SEEDS=100`` tries a hundred.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import pathlib
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stilldb.domain.volumes import RestoreTarget, SnapshotTarget, TimeTarget, VolumeKey
from stilldb.util import processes
from stilldb.volume.settings import VolumeSettings
from support.s3 import aws_server, s3_store
from support.volumes import KEY, become, connected, numbers, open_volumes, restored, state_directory, take

STEPS = 30
_DAY = datetime.timedelta(days=1)
_SETTINGS = VolumeSettings(heartbeat_every=0.2, base_after_bytes=1 << 20)


class History:
    """One volume, and what is to be true of it."""

    def __init__(self, state: pathlib.Path, seed: int, **store: Any) -> None:
        self.chance = random.Random(seed)
        self.told: list[str] = []
        self._state = state
        self._store = store
        self._volumes = open_volumes(state, _SETTINGS, **store)
        self._rows: set[int] = set()
        self._snapshots: dict[str, set[int]] = {}
        self._moments: dict[datetime.datetime, set[int]] = {}
        self._next = 0

    def _name(self) -> int:
        self._next += 1
        return self._next

    async def begin(self) -> None:
        await self._volumes.create(KEY, kms_key_arn=None)
        connection = await connected(self._volumes)
        await connection.execute("CREATE TABLE t (n int PRIMARY KEY, x text)")
        await connection.close()

    async def run(self) -> None:
        steps: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (8, self._write),
            (5, self._snapshot),
            (3, self._remember),
            (2, self._copy),
            (3, self._delete),
            (2, self._back_up),
            (2, self._expire),
            (2, self._kill_server),
            (2, self._kill_receiver),
            (2, self._forget_everything),
            (1, self._stop),
            (3, self._restore_one),
        ]
        weights = [weight for weight, _ in steps]
        for _ in range(STEPS):
            (_, step) = self.chance.choices(steps, weights)[0]
            self.told.append(step.__name__)
            await step()

    # -- what happens

    async def _write(self) -> None:
        connection = await connected(self._volumes)
        first = self._name() * 1000
        count = self.chance.randrange(1, 400)
        await connection.execute(
            "INSERT INTO t SELECT n, repeat(md5(n::text), 30) FROM generate_series($1::int, $2::int) n",
            first,
            first + count - 1,
        )
        self._rows |= set(range(first, first + count))
        if self.chance.random() < 0.3:
            gone = set(self.chance.sample(sorted(self._rows), len(self._rows) // 10))
            await connection.execute("DELETE FROM t WHERE n = ANY($1::int[])", sorted(gone))
            self._rows -= gone
        await connection.close()

    async def _snapshot(self) -> None:
        await self._volumes.hold(KEY, "test")
        name = f"s{self._name()}"
        await take(self._volumes, name)
        self._snapshots[name] = set(self._rows)

    async def _remember(self) -> None:
        connection = await connected(self._volumes)
        await asyncio.sleep(0.01)
        now = await connection.fetchval("SELECT clock_timestamp()")
        await asyncio.sleep(0.01)
        await connection.close()
        self._moments[now] = set(self._rows)

    async def _copy(self) -> None:
        if self._snapshots:
            origin = self.chance.choice(sorted(self._snapshots))
            name = f"c{self._name()}"
            await self._volumes.copy(
                origin=self._volumes,
                source=KEY,
                snapshot_id=origin,
                as_id=name,
                kms_key_arn=None,
                progress=lambda _: None,
            )
            self._snapshots[name] = self._snapshots[origin]

    async def _delete(self) -> None:
        if self._snapshots:
            name = self.chance.choice(sorted(self._snapshots))
            await self._volumes.forget(KEY, name)
            del self._snapshots[name]

    async def _back_up(self) -> None:
        await self._volumes.hold(KEY, "test")
        await self._volumes._care(KEY).back_up(1 << 60, gently=False)

    async def _expire(self) -> None:
        await self._volumes.hold(KEY, "test")
        await self._volumes.maintain(KEY, retention=_DAY)
        await self._volumes.expire(KEY)

    async def _kill_server(self) -> None:
        await self._volumes.hold(KEY, "test")
        process = self._volumes._of(KEY).server.process()
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await become(lambda: self._has_ended(process), "the end of PostgreSQL")

    async def _kill_receiver(self) -> None:
        await self._volumes.hold(KEY, "test")
        process = processes.load(self._volumes._of(KEY).paths.receiver)
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await become(lambda: self._has_ended(process), "the end of the receiver")

    async def _has_ended(self, process: processes.Process) -> bool:
        return not processes.alive(process)

    async def _forget_everything(self) -> None:
        """As when the control plane was killed: another one finds what is there."""
        volume = self._volumes._of(KEY)
        tasks, volume.tasks = volume.tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await volume._disconnect()
        self._volumes = open_volumes(self._state, _SETTINGS, **self._store)

    async def _stop(self) -> None:
        await self._volumes.hold(KEY, "test")
        await self._volumes.release(KEY, "test")

    # -- what must be so

    async def _restore_one(self) -> None:
        targets: list[tuple[RestoreTarget, set[int]]] = [
            (SnapshotTarget(name), rows) for name, rows in self._snapshots.items()
        ]
        await self._volumes.hold(KEY, "test")
        if self._moments:
            newest = max(self._moments)
            await become(lambda: self._can_go_to(newest), "the newest moment in the window")
            targets += [(TimeTarget(time), rows) for time, rows in self._moments.items()]
        if targets:
            await self._restored_as(*self.chance.choice(targets))

    async def _can_go_to(self, time: datetime.datetime) -> bool:
        window = await self._volumes.window(KEY)
        return window is not None and window.latest >= time

    async def _restored_as(self, target: RestoreTarget, rows: set[int]) -> None:
        key = VolumeKey(f"cluster-R{self._name()}", 1)
        self.told.append(f"  {target}")
        await restored(self._volumes, key, target)
        try:
            assert await numbers(self._volumes, key) == sorted(rows)
        finally:
            await self._volumes.destroy(key, retain_until=None)

    async def end(self) -> None:
        """Everything that should be there is, exactly; when the last snapshot is gone, so is the archive."""
        await self._volumes.hold(KEY, "test")
        assert await numbers(self._volumes) == sorted(self._rows)
        report = await self._volumes.check(KEY, every_byte=True)
        assert [problem for problem in report.problems if problem.kind != "orphan"] == []
        for name, rows in self.chance.sample(sorted(self._snapshots.items()), min(3, len(self._snapshots))):
            await self._restored_as(SnapshotTarget(name), rows)

    async def close(self) -> None:
        await self._volumes.destroy(KEY, retain_until=None)
        for name in self._snapshots:
            await self._volumes.forget(KEY, name)
        assert [entry.key async for entry in self._volumes.archive(KEY).store.list("")] == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(int(os.environ.get("STILLDB_SEEDS", "3"))))
async def test_whatever_happens_snapshots_and_moments_stay_what_they_were(seed: int) -> None:
    with state_directory() as state:
        await _lived(History(state, seed))


@pytest.mark.timeout(600)
async def test_whatever_happens_with_archives_in_s3() -> None:
    with aws_server() as endpoint, state_directory() as state:
        await _lived(History(state, 7, store=s3_store(endpoint), remote=True))


async def _lived(history: History) -> None:
    try:
        await history.begin()
        await history.run()
        await history.end()
    except BaseException:
        print(*history.told, sep="\n")
        raise
    finally:
        await history.close()
