"""An object store that goes wrong by script, around a sound one: for tests of everything that reads and writes objects."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import fnmatch
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

from stilldb.volume.objects.store import ObjectEntry, ObjectStore, StoreFull, StoreUnavailable


class Operation(enum.Enum):
    """A method of ObjectStore."""

    PUT = "put"
    GET = "get"
    SIZE = "size"
    LIST = "list"
    DELETE = "delete"


class Wrong(enum.Enum):
    """What goes wrong."""

    SLOW = "slow"  # it takes `seconds` longer
    UNAVAILABLE = "unavailable"  # nothing is done: StoreUnavailable
    LOST_ANSWER = "lost answer"  # it is done, and StoreUnavailable is raised all the same
    FULL = "full"  # nothing is stored: StoreFull
    TRUNCATED = "truncated"  # the last third of the bytes is missing
    FLIPPED = "flipped"  # one bit in the middle is another
    OTHERS = "other's"  # the bytes are those of the object `other`
    LOST_ENTRY = "lost entry"  # a listing lacks the object


_OF_BYTES = {Wrong.TRUNCATED, Wrong.FLIPPED, Wrong.OTHERS}
_POSSIBLE = {
    Wrong.SLOW: set(Operation),
    Wrong.UNAVAILABLE: set(Operation),
    Wrong.LOST_ANSWER: {Operation.PUT, Operation.DELETE},
    Wrong.FULL: {Operation.PUT},
    Wrong.TRUNCATED: {Operation.PUT, Operation.GET},
    Wrong.FLIPPED: {Operation.PUT, Operation.GET},
    Wrong.OTHERS: {Operation.GET},
    Wrong.LOST_ENTRY: {Operation.LIST},
}


@dataclasses.dataclass(slots=True, kw_only=True)
class Trouble:
    """One line of the script: what goes wrong, for which calls, when, and how often.

    A call matches by its operation and by ``keys``, a pattern of the shell for the key (of a listing: its prefix, and
    for a lost entry the entry's key). The first ``after`` matching calls go well, the next ``times`` go wrong; None is
    for ever.
    """

    wrong: Wrong
    operations: frozenset[Operation]
    keys: str = "*"
    after: int = 0
    times: int | None = 1
    seconds: float = 0.0
    other: str = ""
    struck: int = 0  # how often it went wrong

    def __post_init__(self) -> None:
        impossible = self.operations - _POSSIBLE[self.wrong]
        if impossible or not self.operations:
            raise ValueError(f"{self.wrong} can't happen to {sorted(map(str, impossible)) or 'nothing'}")

    def strikes(self, operation: Operation, key: str) -> bool:
        """Whether this call goes wrong; counts it."""
        if operation not in self.operations or not fnmatch.fnmatchcase(key, self.keys):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None and self.struck >= self.times:
            return False
        self.struck += 1
        return True


def trouble(
    wrong: Wrong,
    *operations: Operation,
    keys: str = "*",
    after: int = 0,
    times: int | None = 1,
    seconds: float = 0.0,
    other: str = "",
) -> Trouble:
    """A line of the script; without operations, for every one that it can happen to, but bytes only when read."""
    chosen = set(operations) or _POSSIBLE[wrong] - ({Operation.PUT} if wrong in _OF_BYTES else set())
    return Trouble(
        wrong=wrong,
        operations=frozenset(chosen),
        keys=keys,
        after=after,
        times=times,
        seconds=seconds,
        other=other,
    )


class FaultyStore:
    """An ObjectStore that does what ``inner`` does, but for the script. Lines can be added and removed at any time."""

    def __init__(self, inner: ObjectStore, *script: Trouble) -> None:
        self.inner = inner
        self.script = [*script]
        self.calls: list[tuple[Operation, str]] = []

    @contextlib.contextmanager
    def outage(self) -> Iterator[Trouble]:
        """The store is gone for as long as the block lasts."""
        line = trouble(Wrong.UNAVAILABLE, times=None)
        self.script.insert(0, line)
        try:
            yield line
        finally:
            self.script.remove(line)

    async def put(self, key: str, data: bytes) -> None:
        """See ObjectStore."""
        wrong = await self._begin(Operation.PUT, key)
        await self.inner.put(key, await self._damaged(data, wrong))
        self._end(Operation.PUT, key, wrong)

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        wrong = await self._begin(Operation.GET, key)
        return await self._damaged(await self.inner.get(key), wrong)

    async def size(self, key: str) -> int | None:
        """See ObjectStore."""
        await self._begin(Operation.SIZE, key)
        return await self.inner.size(key)

    async def list(self, prefix: str) -> AsyncIterator[ObjectEntry]:
        """See ObjectStore."""
        await self._begin(Operation.LIST, prefix)
        async for entry in self.inner.list(prefix):
            lost = [line for line in self.script if line.wrong is Wrong.LOST_ENTRY]
            if not any(line.strikes(Operation.LIST, entry.key) for line in lost):
                yield entry

    async def delete(self, keys: Iterable[str]) -> None:
        """See ObjectStore. A lost answer to one key is one to all."""
        doomed = list(keys)
        wrong = [line for key in doomed for line in await self._begin(Operation.DELETE, key)]
        await self.inner.delete(doomed)
        self._end(Operation.DELETE, ", ".join(doomed), wrong)

    async def free_space(self) -> int | None:
        """See ObjectStore."""
        return await self.inner.free_space()

    async def _begin(self, operation: Operation, key: str) -> Sequence[Trouble]:
        """The lines that strike this call. One that keeps it from being made also keeps later lines from counting it."""
        self.calls.append((operation, key))
        struck: list[Trouble] = []
        for line in self.script:
            if line.wrong is Wrong.LOST_ENTRY or not line.strikes(operation, key):
                continue
            struck.append(line)
            if line.wrong is Wrong.SLOW:
                await asyncio.sleep(line.seconds)
            if line.wrong is Wrong.UNAVAILABLE:
                raise StoreUnavailable(
                    f"the store did not {operation.value} {key}: it is gone, as the script says"
                )
            if line.wrong is Wrong.FULL:
                raise StoreFull(f"the store did not {operation.value} {key}: it is full, as the script says")
        return struck

    def _end(self, operation: Operation, key: str, wrong: Iterable[Trouble]) -> None:
        if any(line.wrong is Wrong.LOST_ANSWER for line in wrong):
            raise StoreUnavailable(
                f"the store's answer to {operation.value} {key} was lost, as the script says"
            )

    async def _damaged(self, data: bytes, wrong: Iterable[Trouble]) -> bytes:
        for line in wrong:
            if line.wrong is Wrong.TRUNCATED:
                data = data[: len(data) * 2 // 3]
            elif line.wrong is Wrong.FLIPPED and data:
                middle = len(data) // 2
                data = data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]
            elif line.wrong is Wrong.OTHERS:
                data = await self.inner.get(line.other)
        return data
