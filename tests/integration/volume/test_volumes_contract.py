"""The contract of control.ports.Volumes, on real volumes and on the in-memory twin that the control plane's tests use."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest

from stilldb.control.ports import Volumes
from stilldb.domain.volumes import (
    RestorePoint,
    SnapshotIntent,
    SnapshotTarget,
    VolumeError,
    VolumeKey,
    VolumeState,
)
from support.twins import MemoryVolumes
from support.volumes import KEY, state_directory
from support.volumes import volumes as real_volumes

COPY = VolumeKey("cluster-COPY", 1)


@pytest.fixture(params=["memory", "disk"])
async def volumes(request: pytest.FixtureRequest) -> AsyncIterator[Volumes]:
    if request.param == "memory":
        yield MemoryVolumes()
        return
    with state_directory() as state:
        async with real_volumes(state, COPY) as opened:
            yield opened


def intent(snapshot_id: str, point: RestorePoint) -> SnapshotIntent:
    return SnapshotIntent(snapshot_id=snapshot_id, volume=KEY, point=point, attributes={"port": 27017})


async def test_up_and_down(volumes: Volumes) -> None:
    assert await volumes.observe(KEY) is VolumeState.ABSENT
    with pytest.raises(VolumeError):
        await volumes.hold(KEY, "a")
    await volumes.create(KEY, kms_key_arn=None)
    assert await volumes.observe(KEY) is VolumeState.STOPPED
    await volumes.create(KEY, kms_key_arn=None)  # nothing to do
    address = await volumes.hold(KEY, "a")
    assert await volumes.hold(KEY, "b") == address
    assert await volumes.observe(KEY) is VolumeState.RUNNING
    await volumes.release(KEY, "a")
    await volumes.release(KEY, "stranger")
    assert await volumes.observe(KEY) is VolumeState.RUNNING, "the other one holds it"
    await volumes.release(KEY, "b")
    assert await volumes.observe(KEY) is VolumeState.STOPPED
    await volumes.hold(KEY, "a")
    volumes.claim(KEY, "c")
    await volumes.release(KEY, "a")
    await volumes.tidy()
    assert await volumes.observe(KEY) is VolumeState.RUNNING, "a claim holds too"
    await volumes.close()
    assert await volumes.observe(KEY) is VolumeState.STOPPED
    await volumes.destroy(KEY, retain_until=None)
    await volumes.destroy(KEY, retain_until=None)
    assert await volumes.observe(KEY) is VolumeState.ABSENT


async def test_a_snapshot_from_mark_to_forget(volumes: Volumes) -> None:
    await volumes.create(KEY, kms_key_arn=None)
    with pytest.raises(VolumeError):
        await volumes.mark(KEY, "too-early")
    await volumes.hold(KEY, "a")
    first, second = await volumes.mark(KEY, "p1"), await volumes.mark(KEY, "p2")
    assert (first.name, second.name) == ("p1", "p2")
    assert first.lsn < second.lsn
    assert first.system_identifier == second.system_identifier
    wanted = intent("s", second)
    with pytest.raises(VolumeError):
        await volumes.verify(wanted)
    for _ in range(2):  # each step may be done again
        await volumes.draft(wanted)
        await volumes.verify(wanted)
    with pytest.raises(VolumeError):
        await volumes.restore(
            COPY, source=KEY, target=SnapshotTarget("s"), kms_key_arn=None, progress=lambda _: None
        )
    with pytest.raises(VolumeError):
        await volumes.verify(dataclasses.replace(wanted, point=first))
    await volumes.publish(wanted)
    await volumes.publish(wanted)
    await volumes.verify(wanted)
    told: list[int] = []
    await volumes.restore(
        COPY, source=KEY, target=SnapshotTarget("s"), kms_key_arn=None, progress=told.append
    )
    assert told == sorted(told)
    assert told[-1] == 100
    assert await volumes.observe(COPY) is VolumeState.STOPPED
    await volumes.destroy(KEY, retain_until=None)
    await volumes.destroy(COPY, retain_until=None)
    await volumes.restore(
        COPY, source=KEY, target=SnapshotTarget("s"), kms_key_arn=None, progress=lambda _: None
    )
    assert await volumes.forget(KEY, "s") > 0
    assert await volumes.forget(KEY, "s") == 0
    other = VolumeKey("cluster-NONE", 1)
    with pytest.raises(VolumeError):
        await volumes.restore(
            other, source=KEY, target=SnapshotTarget("s"), kms_key_arn=None, progress=lambda _: None
        )
