"""What changed between two volumes: collections, documents, indexes, users.

Two streams of documents in the order of ``_id`` are merged batch by batch, so memory does not grow with the data. As a program
(``python -m stilldb.volume.compare``) it runs beside the service, not in it: it takes a processor for as long as it runs.
"""

from __future__ import annotations

import asyncio
import bisect
import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import asyncpg

from stilldb.domain.volumes import PostgresAddress, VolumeError
from stilldb.postgres.server import UNREACHABLE
from stilldb.volume import contents
from stilldb.volume.contents import Collection, Row

KINDS: Final = ("added", "removed", "changed")


@dataclasses.dataclass(slots=True)
class Changes:
    """How many documents were added, removed and changed, and the keys of the first few of each."""

    examples: int
    counts: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    keys: dict[str, list[bytes]] = dataclasses.field(default_factory=lambda: {kind: [] for kind in KINDS})
    unchanged: int = 0

    def note(self, kind: str, keys: list[bytes]) -> None:
        """Count documents, in the order of their keys."""
        self.counts[kind] += len(keys)
        room = self.examples - len(self.keys[kind])
        self.keys[kind] += keys[: max(room, 0)]


class _Stream:
    """Batches of one side, with what of them is not compared yet."""

    def __init__(self, batches: AsyncIterator[list[Row]]) -> None:
        self._batches = batches
        self._rows: list[Row] = []
        self._ended = False

    async def fill(self) -> None:
        """Have rows, unless there are no more."""
        if not self._rows and not self._ended:
            self._rows = await anext(self._batches, [])
            self._ended = not self._rows

    @property
    def last(self) -> bytes | None:
        """The last key at hand; None when the stream has ended."""
        return None if self._ended else self._rows[-1][0]

    def take(self, until: bytes | None) -> dict[bytes, bytes]:
        """The rows up to the key, itself included; None: all."""
        end = (
            len(self._rows)
            if until is None
            else bisect.bisect_right(self._rows, until, key=lambda row: row[0])
        )
        taken, self._rows = dict(self._rows[:end]), self._rows[end:]
        return taken


async def merge(
    old: AsyncIterator[list[Row]],
    new: AsyncIterator[list[Row]],
    *,
    examples: int,
    progress: Callable[[int], None] = lambda rows: None,
) -> Changes:
    """Compare two streams that are ordered by key; ``progress`` hears how many rows each step compared."""
    changes = Changes(examples)
    left, right = _Stream(old), _Stream(new)
    while True:
        await asyncio.gather(left.fill(), right.fill())
        ends = [end for end in (left.last, right.last) if end is not None]
        if not ends:
            return changes
        until = min(ends)
        before, after = left.take(until), right.take(until)
        if before == after:
            changes.unchanged += len(before)
        else:
            _step(changes, before, after)
        progress(max(len(before), len(after)))


def _step(changes: Changes, before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> None:
    both = before.keys() & after.keys()
    changed = [key for key in before if key in both and before[key] != after[key]]
    changes.note("removed", [key for key in before if key not in both])
    changes.note("added", [key for key in after if key not in both])
    changes.note("changed", changed)
    changes.unchanged += len(both) - len(changed)


def names(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names only in ``new``, only in ``old``, and in both with different values."""
    return {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in old if name in new and _shown(old[name]) != _shown(new[name])],
    }


def _shown(value: Any) -> str:
    """A form in which the order of fields counts, as it does in an index's key."""
    return repr(value)


async def compare(
    old: PostgresAddress,
    new: PostgresAddress,
    *,
    examples: int = 5,
    progress: Callable[[int], None] = lambda percent: None,
) -> dict[str, Any]:
    """The differences from ``old`` to ``new``, each read as of one moment; a JSON object. Raises VolumeError.

    ``collections``: those that differ, with ``namespace``, ``state`` (added, removed, changed), ``recreated`` (dropped and made again),
    ``options`` (whether they changed), ``documents`` and ``indexes`` (per kind a count and names) and ``examples`` (per kind ``_id``
    values as Extended JSON). ``unchanged``: how many collections do not differ. ``users``: names per kind.
    """
    left = await contents.connect(old)
    try:
        right = await contents.connect(new)
        try:
            async with (
                left.transaction(isolation="repeatable_read", readonly=True),
                right.transaction(isolation="repeatable_read", readonly=True),
            ):
                return await _compared(left, right, examples, progress)
        finally:
            await right.close()
    except asyncpg.UndefinedTableError as error:
        raise VolumeError("a collection was dropped while it was compared; try again") from error
    except UNREACHABLE as error:
        raise VolumeError(f"the comparison was broken off: {error}") from error
    finally:
        await left.close()


async def _compared(
    left: asyncpg.Connection, right: asyncpg.Connection, examples: int, progress: Callable[[int], None]
) -> dict[str, Any]:
    old, new = await contents.read(left), await contents.read(right)
    spaces = sorted(old.collections.keys() | new.collections.keys())
    sizes = {
        name: max(side.collections[name].bytes for side in (old, new) if name in side.collections)
        for name in spaces
    }
    whole, done, found = sum(sizes.values()) or 1, 0, []
    for name in spaces:
        one = await _collection(
            (left, old.collections.get(name)), (right, new.collections.get(name)), name, examples
        )
        done += sizes[name]
        progress(100 * done // whole)
        if one is not None:
            found.append(one)
    return {
        "collections": found,
        "unchanged": len(spaces) - len(found),
        "users": names(old.users, new.users),
    }


async def _collection(
    old: tuple[asyncpg.Connection, Collection | None],
    new: tuple[asyncpg.Connection, Collection | None],
    name: str,
    examples: int,
) -> dict[str, Any] | None:
    """One collection's differences; None when there are none."""
    before, after = old[1], new[1]
    changes = await merge(_rows(*old), _rows(*new), examples=examples)
    indexes = names(before.indexes if before else {}, after.indexes if after else {})
    recreated = before is not None and after is not None and before.uuid != after.uuid
    options = before is not None and after is not None and _shown(before.options) != _shown(after.options)
    state = "added" if before is None else "removed" if after is None else "changed"
    if state == "changed" and not (
        recreated or options or any(changes.counts.values()) or any(indexes.values())
    ):
        return None
    return {
        "namespace": name,
        "state": state,
        "recreated": recreated,
        "options": options,
        "documents": {**changes.counts, "unchanged": changes.unchanged},
        "indexes": indexes,
        "examples": {
            kind: await _ids(old if kind == "removed" else new, changes.keys[kind]) for kind in KINDS
        },
    }


async def _rows(connection: asyncpg.Connection, collection: Collection | None) -> AsyncIterator[list[Row]]:
    if collection is not None:
        async for rows in contents.digests(connection, collection):
            yield rows


async def _ids(side: tuple[asyncpg.Connection, Collection | None], keys: list[bytes]) -> list[Any]:
    connection, collection = side
    return await contents.ids(connection, collection, keys) if collection is not None and keys else []


# -- as a program beside the service


async def compare_aside(
    old: PostgresAddress,
    new: PostgresAddress,
    *,
    examples: int = 5,
    progress: Callable[[int], None] = lambda percent: None,
) -> dict[str, Any]:
    """``compare`` in a process of its own, with low priority, killed when this is cancelled."""
    asked = {"old": dataclasses.asdict(old), "new": dataclasses.asdict(new), "examples": examples}
    child = await asyncio.create_subprocess_exec(
        "nice",
        "-n",
        "10",
        sys.executable,
        "-m",
        "stilldb.volume.compare",
        json.dumps(asked),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        answer: dict[str, Any] | None = None
        async for line in child.stdout:
            told = json.loads(line)
            if "percent" in told:
                progress(told["percent"])
            else:
                answer = told
        trouble = (await child.stderr.read()).decode(errors="replace").strip()
        await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if answer is None:
        raise VolumeError(f"the comparison ended without an answer: {trouble[-500:]}")
    if "error" in answer:
        raise VolumeError(answer["error"])
    return answer


def main() -> None:
    """Compare what the argument, a JSON object, names; print lines of JSON: percentages, then the result or an error."""
    asked = json.loads(sys.argv[1])

    def tell(told: Mapping[str, Any]) -> None:
        print(json.dumps(told), flush=True)

    try:
        found = asyncio.run(
            compare(
                PostgresAddress(**asked["old"]),
                PostgresAddress(**asked["new"]),
                examples=asked["examples"],
                progress=lambda percent: tell({"percent": percent}),
            )
        )
    except VolumeError as error:
        found = {"error": str(error)}
    tell(found)


if __name__ == "__main__":
    main()
