"""Objects in memory: for tests, and for trying things out."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Iterable

from stilldb.volume.objects.store import ObjectEntry, ObjectMissing, check_key, check_prefix


class MemoryStore:
    """An ObjectStore that lasts as long as the process."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime.datetime]] = {}

    async def put(self, key: str, data: bytes) -> None:
        """See ObjectStore."""
        self._objects[check_key(key)] = (bytes(data), datetime.datetime.now(datetime.UTC))

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        try:
            return self._objects[check_key(key)][0]
        except KeyError:
            raise ObjectMissing(f"the store has no object {key}") from None

    async def size(self, key: str) -> int | None:
        """See ObjectStore."""
        found = self._objects.get(check_key(key))
        return None if found is None else len(found[0])

    async def list(self, prefix: str) -> AsyncIterator[ObjectEntry]:
        """See ObjectStore."""
        check_prefix(prefix)
        for key, (data, modified) in list(self._objects.items()):
            if key.startswith(prefix):
                yield ObjectEntry(key, len(data), modified)

    async def delete(self, keys: Iterable[str]) -> None:
        """See ObjectStore."""
        for key in [check_key(key) for key in keys]:
            self._objects.pop(key, None)

    async def free_space(self) -> int | None:
        """See ObjectStore."""
        return None
