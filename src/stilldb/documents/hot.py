"""Documents that were just read or written, kept in memory so that the next read by ``_id`` asks nobody.

This is right only because one gateway at a time writes to a volume (``Catalog.take_over``), and because nothing is kept that
a write, begun at any moment while it was being read or stored, could have changed. A write whose outcome nobody knows may
take effect later: what it touched is never kept again.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

import asyncpg

from stilldb.query.errors import MongoError

MOST_BYTES: Final = 64 * 2**20
LARGEST: Final = 64 * 1024  # bytes of one document
_OVERHEAD: Final = 200  # bytes that an entry costs besides its document
_SLOTS: Final = 4096  # writes are counted by slot: places that share one only keep each other from being kept
_MOST_UNKNOWN: Final = 10_000

Place = tuple[int, bytes]  # a collection's number and the key of an _id


class Outcome:
    """What a write stored; None when it stored nothing."""

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw: bytes | None = None


class Transaction:
    """A write of many documents. ``commits``: all is done but the commit, so that it may take effect whatever follows."""

    __slots__ = ("commits",)

    def __init__(self) -> None:
        self.commits = False


class HotDocuments:
    """The least recently used go when the rest has grown too large. ``limit``, in bytes; 0 keeps nothing."""

    def __init__(self, limit: int = MOST_BYTES) -> None:
        self._limit = limit
        self._kept: collections.OrderedDict[Place, bytes] = collections.OrderedDict()
        self._bytes = 0
        # How often a write of one document, or of many, has begun or ended. A read that began while a write ran may be older
        # than it and yet come in later, so the end counts as well.
        self._turns = [0] * _SLOTS
        self._turns_many = 0
        self._begun = 0  # writes of one document
        self._running: collections.Counter[Place] = collections.Counter()
        self._running_many = 0
        self._unknown: set[Place] = set()

    def get(self, place: Place) -> bytes | None:
        """The document, if it is kept."""
        found = self._kept.get(place)
        if found is not None:
            self._kept.move_to_end(place)
        return found

    def __len__(self) -> int:
        return len(self._kept)

    def _forget(self, place: Place) -> None:
        raw = self._kept.pop(place, None)
        if raw is not None:
            self._bytes -= len(raw) + _OVERHEAD

    def _keep(self, place: Place, raw: bytes) -> None:
        if len(raw) > LARGEST or not self._limit or place in self._unknown:
            return
        self._forget(place)
        self._kept[place] = raw
        self._bytes += len(raw) + _OVERHEAD
        while self._bytes > self._limit:
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old) + _OVERHEAD

    def _stamp(self, place: Place) -> tuple[int, int]:
        return self._turns[hash(place) % _SLOTS], self._turns_many

    # -- reading

    def reading(self, place: Place) -> tuple[int, int]:
        """A ticket for ``keep_read``, to be taken before the document is asked for."""
        return self._stamp(place)

    def keep_read(self, ticket: tuple[int, int], place: Place, raw: bytes) -> None:
        """Keep what was read or made anew, unless another write ran meanwhile."""
        if self._stamp(place) == ticket and not self._running[place] and not self._running_many:
            self._keep(place, raw)

    def storing(self) -> tuple[int, int] | None:
        """A ticket for ``keep_stored``, to be taken before many new documents are sent; None while something is written."""
        return None if self._running or self._running_many else (self._begun, self._turns_many)

    def keep_stored(self, ticket: tuple[int, int] | None, stored: Iterable[tuple[Place, bytes]]) -> None:
        """Keep many that were made anew, unless a write of others began meanwhile."""
        if ticket is not None and ticket == self.storing():
            for place, raw in stored:
                self._keep(place, raw)

    def clear(self) -> None:
        """Forget everything, also what is being read: others may have written."""
        self._kept.clear()
        self._bytes = 0
        self._turns_many += 1

    # -- writing

    @contextlib.contextmanager
    def writing(self, place: Place) -> Iterator[Outcome]:
        """Around the statement that writes one document. What it stored is kept if no other write could come after it."""
        alone = not self._running[place] and not self._running_many
        self._forget(place)
        self._turns[hash(place) % _SLOTS] += 1
        self._begun += 1
        stamp = self._stamp(place)
        self._running[place] += 1
        outcome = Outcome()
        try:
            yield outcome
        except BaseException as error:
            if not _ended(error):
                self._never_again(place)
            raise
        finally:
            self._running[place] -= 1
            if not self._running[place]:
                del self._running[place]
            self._forget(place)
            alone = alone and self._stamp(place) == stamp
            self._turns[hash(place) % _SLOTS] += 1
        if outcome.raw is not None and alone:
            self._keep(place, outcome.raw)

    @contextlib.contextmanager
    def writing_many(self) -> Iterator[Transaction]:
        """Around a transaction that writes many documents. Without its commit it can't take effect, however it ended."""
        self.clear()
        self._running_many += 1
        transaction = Transaction()
        try:
            yield transaction
        except BaseException:
            if transaction.commits:
                self._limit = 0
            raise
        finally:
            self._running_many -= 1
            self.clear()

    def _never_again(self, place: Place) -> None:
        self._unknown.add(place)
        if len(self._unknown) > _MOST_UNKNOWN:
            self._limit = 0


def _ended(error: BaseException) -> bool:
    """Whether a statement that raised this has ended on the server, so that it can't take effect later."""
    if isinstance(error, asyncpg.PostgresConnectionError):
        return False
    # What the engine refuses, it refuses before it is sent.
    return isinstance(error, asyncpg.PostgresError | NothingSent | MongoError)


class NothingSent(Exception):
    """The base of what is raised before a statement goes to the server."""
