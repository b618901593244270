"""The store that goes wrong by script does so exactly; a caller's repetitions sit out what passes."""

from __future__ import annotations

import time

import pytest

from stilldb.volume.objects.faulty import FaultyStore, Operation, Wrong, trouble
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.objects.store import (
    ObjectMissing,
    ObjectStore,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    retried,
)
from support.object_store_contract import *  # noqa: F403


@pytest.fixture
def store() -> ObjectStore:
    return FaultyStore(MemoryStore())  # without a script it keeps the contract


async def filled(*names: str) -> FaultyStore:
    inner = MemoryStore()
    for name in names:
        await inner.put(name, f"the bytes of {name}".encode())
    return FaultyStore(inner)


async def test_an_outage_is_for_every_operation_and_then_over() -> None:
    store = await filled("a/1")
    with store.outage() as line:
        for call in (store.put("a/2", b"x"), store.get("a/1"), store.size("a/1"), store.delete(["a/1"])):
            with pytest.raises(StoreUnavailable, match="a/"):
                await call
        with pytest.raises(StoreUnavailable):
            [entry async for entry in store.list("a/")]
    assert line.struck == 5
    assert [entry.key async for entry in store.list("")] == ["a/1"]


async def test_a_line_strikes_by_operation_key_and_count() -> None:
    store = await filled("a/1", "b/1")
    store.script.append(trouble(Wrong.UNAVAILABLE, Operation.GET, keys="a/*", after=1, times=2))
    outcomes = []
    for key in ("a/1", "b/1", "a/1", "a/1", "a/1"):
        try:
            await store.get(key)
            outcomes.append("well")
        except StoreUnavailable:
            outcomes.append("wrong")
    assert outcomes == ["well", "well", "wrong", "wrong", "well"]
    assert await store.size("a/1") == len(b"the bytes of a/1")
    assert store.calls == [(Operation.GET, key) for key in ("a/1", "b/1", "a/1", "a/1", "a/1")] + [
        (Operation.SIZE, "a/1")
    ]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (Wrong.TRUNCATED, b"the bytes "),
        (Wrong.FLIPPED, b"the byte" + bytes([ord("s") ^ 0x10]) + b" of a/1"),
        (Wrong.OTHERS, b"the bytes of b/1"),
    ],
)
async def test_bytes_that_are_read_wrong_are_stored_right(wrong: Wrong, expected: bytes) -> None:
    store = await filled("a/1", "b/1")
    store.script.append(trouble(wrong, other="b/1"))
    assert await store.get("a/1") == expected
    assert await store.get("a/1") == b"the bytes of a/1"


async def test_bytes_can_be_stored_wrong() -> None:
    store = FaultyStore(MemoryStore(), trouble(Wrong.TRUNCATED, Operation.PUT))
    await store.put("a", b"123456")
    assert await store.get("a") == b"1234"
    assert await store.size("a") == 4


async def test_full_and_lost_answers_and_lost_entries() -> None:
    store = await filled("a/1", "a/2")
    store.script += [
        trouble(Wrong.FULL),
        trouble(Wrong.LOST_ANSWER, Operation.DELETE),
        trouble(Wrong.LOST_ENTRY, keys="a/1"),
    ]
    with pytest.raises(StoreFull):
        await store.put("a/3", b"x")
    assert await store.size("a/3") is None
    await store.put("a/3", b"x")
    assert sorted([entry.key async for entry in store.list("a/")]) == ["a/2", "a/3"]
    assert sorted([entry.key async for entry in store.list("a/")]) == ["a/1", "a/2", "a/3"]
    with pytest.raises(StoreUnavailable, match="lost"):
        await store.delete(["a/1"])
    with pytest.raises(ObjectMissing):
        await store.get("a/1")


async def test_a_lost_answer_to_a_put_has_stored_the_object() -> None:
    store = FaultyStore(MemoryStore(), trouble(Wrong.LOST_ANSWER, Operation.PUT))
    with pytest.raises(StoreUnavailable):
        await store.put("a", b"x")
    assert await store.get("a") == b"x"


async def test_slow_is_slow() -> None:
    store = FaultyStore(MemoryStore(), trouble(Wrong.SLOW, Operation.PUT, seconds=0.1))
    began = time.monotonic()
    await store.put("a", b"x")
    assert time.monotonic() - began >= 0.1


def test_a_script_that_can_not_be_is_refused() -> None:
    with pytest.raises(ValueError, match="can't happen"):
        trouble(Wrong.FULL, Operation.GET)


async def test_what_passes_is_repeated_and_told() -> None:
    store = FaultyStore(MemoryStore(), trouble(Wrong.UNAVAILABLE, times=2), trouble(Wrong.FULL))
    told: list[str] = []
    await retried(
        lambda: store.put("a", b"x"), first=0.001, told=lambda error, _: told.append(type(error).__name__)
    )
    assert await store.get("a") == b"x"
    assert told == ["StoreUnavailable", "StoreUnavailable", "StoreFull"]


async def test_the_time_to_repeat_is_bounded_and_the_last_failure_raised() -> None:
    store = FaultyStore(MemoryStore(), trouble(Wrong.UNAVAILABLE, times=None))
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="gone"):
        await retried(lambda: store.get("a"), within=0.3, first=0.01, longest=0.05)
    assert time.monotonic() - began < 5
    assert 5 < len(store.calls) < 100


@pytest.mark.parametrize("error", [ObjectMissing("a"), ValueError("b")])
async def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    calls = 0

    async def attempt() -> None:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(type(error)):
        await retried(attempt, within=None)
    assert calls == 1


async def test_a_refusal_may_be_lifted() -> None:
    answers = [StoreRefused("no"), StoreRefused("no"), None]

    async def attempt() -> str:
        if (answer := answers.pop(0)) is not None:
            raise answer
        return "yes"

    assert await retried(attempt, within=None, first=0.001) == "yes"
