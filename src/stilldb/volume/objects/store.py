"""What an object store is: the Protocol, its errors, its keys, and how callers repeat what failed for a while."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from stilldb.domain.volumes import VolumeError

MAX_KEY = 800  # bytes: S3 takes 1024, and the store's own prefix comes before
_PART = re.compile(r"[A-Za-z0-9._-]{1,200}")
_T = TypeVar("_T")


class InvalidObjectKey(VolumeError):
    """A key that no store takes."""


class ObjectMissing(VolumeError):
    """There is no such object."""


class Unavailable(VolumeError):
    """Something outside did not do its part now, and may do it later."""


class StoreUnavailable(Unavailable):
    """The store did not do it now, and may do it later. Whether a ``put`` or ``delete`` took effect is not known."""


class StoreFull(StoreUnavailable):
    """The store has no room."""


class StoreRefused(StoreUnavailable):
    """The store answered no: credentials, permissions, a bucket that is not there. It takes somebody to change that."""


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object of a listing."""

    key: str
    size: int  # bytes
    modified: datetime.datetime  # UTC, by the store's clock


class ObjectStore(Protocol):
    """Immutable bytes by name. Any call may raise StoreUnavailable, and InvalidObjectKey for a key or prefix."""

    async def put(self, key: str, data: bytes) -> None:
        """Store the object, whole or not at all, durable when this returns; an object of that key is replaced."""

    async def get(self, key: str) -> bytes:
        """The whole object; raises ObjectMissing."""

    async def size(self, key: str) -> int | None:
        """The object's size in bytes, None when there is none."""

    def list(self, prefix: str) -> AsyncIterator[ObjectEntry]:
        """The objects below a folder, in no order. ``prefix`` ends with a slash, or is empty for all."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects, durably; those that are not there don't matter."""

    async def free_space(self) -> int | None:
        """Bytes that still fit, None where there is no such limit to know."""


def is_part(name: str) -> bool:
    """Whether a key may have this between two slashes."""
    return _PART.fullmatch(name) is not None and name not in {".", ".."}


def check_key(key: str) -> str:
    """The key, if every store takes it: relative, of letters, digits, ``.``, ``_``, ``-``; raises InvalidObjectKey."""
    parts = key.split("/")
    if len(key) > MAX_KEY or not all(map(is_part, parts)):
        raise InvalidObjectKey(
            f"{key[:MAX_KEY]!r} can't name an object: a key is parts of up to 200 letters, digits, '.', '_' or '-', "
            f"not '.' or '..', with a '/' between them, at most {MAX_KEY} bytes in all"
        )
    return key


def check_prefix(prefix: str) -> str:
    """The prefix, if it is a folder: empty, or a key and a slash; raises InvalidObjectKey."""
    if prefix:
        if not prefix.endswith("/"):
            raise InvalidObjectKey(f"{prefix!r} is no folder of objects: it does not end with '/'")
        check_key(prefix[:-1])
    return prefix


async def retried(
    attempt: Callable[[], Awaitable[_T]],
    *,
    within: float | None = 60.0,
    first: float = 0.1,
    longest: float = 15.0,
    told: Callable[[Unavailable, float], None] = lambda error, pause: None,
) -> _T:
    """What ``attempt`` returns, repeated while it raises Unavailable, for ``within`` seconds (None: for ever).

    The pause begins at ``first`` seconds and doubles up to ``longest``, each with a random part so that many callers
    don't come back together. ``told`` hears each failure that will be repeated, and the pause. The last failure is
    raised when the time is up; other errors are raised at once.
    """
    deadline = None if within is None else time.monotonic() + within
    pause = first
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            wait = pause * random.uniform(0.5, 1.0)
            if deadline is not None and time.monotonic() + wait > deadline:
                raise
            told(error, wait)
            await asyncio.sleep(wait)
            pause = min(pause * 2, longest)
