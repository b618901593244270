"""Reading: pages of raw documents by their ``_id``, filtered again where SQL only widened, then sorted, cut and projected.

A cursor holds no connection and no transaction: each page is one statement that begins after the last ``_id`` seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final

import asyncpg

from stilldb.documents.access import Access, Hint, access
from stilldb.documents.catalog import Catalog
from stilldb.documents.hot import HotDocuments
from stilldb.documents.indexes import id_key
from stilldb.documents.model import Find, Namespace
from stilldb.documents.pool import Pool
from stilldb.query import pushdown
from stilldb.query.accumulators import MEMORY_LIMIT, memory_error
from stilldb.query.errors import MongoError
from stilldb.query.filter import compile_filter
from stilldb.query.numbers import to_float
from stilldb.query.order import compile_sort
from stilldb.query.projection import compile_projection
from stilldb.query.values import Document, decode, encode

Raws = AsyncGenerator[list[bytes], None]
Matches = Callable[[Document], bool]

_FIRST_PAGE: Final = 256  # rows; many cursors are never read further
_PAGE: Final = 8192  # rows
_PAGE_BYTES: Final = 8 * 2**20  # a page ends with the document that passes this
_TRIES: Final = 5  # a statement against a collection that changes under it


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A filter, compiled and planned. ``by_id``: it is one ``_id`` and nothing else."""

    spec: Document
    matches: Matches
    plan: pushdown.Plan
    by_id: bool

    @classmethod
    def of(cls, spec: Document, *, push: bool = True) -> Query:
        """The query of a filter; raises MongoError for what is no filter."""
        if push and pushdown.whole_id(spec):
            only = pushdown.Bound(("_id",), "eq", (spec["_id"],))
            return cls(spec, _any, pushdown.Plan(pushdown.ALWAYS, (only,), (), True), True)
        plan = pushdown.plan(spec) if push else pushdown.Plan(pushdown.ALWAYS, (), (), False)
        return cls(spec, compile_filter(spec), plan, False)


def _any(_: Document) -> bool:
    return True


Rows = list[asyncpg.Record]  # with the columns id and doc


class Reader:
    """Reads of every collection. ``push``: whether SQL may answer filters; off, the engine does everything."""

    def __init__(self, pool: Pool, catalog: Catalog, hot: HotDocuments, *, push: bool = True) -> None:
        self._pool = pool
        self._catalog = catalog
        self._hot = hot
        self._push = push

    def query(self, spec: Document) -> Query:
        """A filter compiled."""
        return Query.of(spec, push=self._push)

    # -- find

    async def find(self, namespace: Namespace, find: Find) -> Raws:
        """Batches of raw documents; raises MongoError before the first when the query is none."""
        query = self.query(find.filter)
        project = None if not find.projection else compile_projection(find.projection, find.filter)
        if query.by_id and find.skip == 0:
            raw = await self.by_id(namespace, find.filter["_id"])
            if raw is not None:
                yield [raw if project is None else encode(project(decode(raw)))]
            return
        source = self._ordered(namespace, query, find)
        if find.skip or find.limit:
            source = _cut(source, find.skip, find.limit)
        async for batch in source:
            yield batch if project is None else [encode(project(decode(raw))) for raw in batch]

    def kept(self, namespace: Namespace, value: Any) -> bytes | None:
        """The document with this ``_id`` if it is in memory."""
        collection = self._catalog.known(namespace)
        return None if collection is None else self._hot.get((collection.id, id_key(value)))

    async def by_id(self, namespace: Namespace, value: Any) -> bytes | None:
        """The document with this ``_id``."""
        key = id_key(value)
        for _ in range(_TRIES):
            collection = self._catalog.known(namespace) or await self._catalog.find(namespace)
            if collection is None:
                return None
            place = (collection.id, key)
            kept = self._hot.get(place)
            if kept is not None:
                return kept
            ticket = self._hot.reading(place)
            try:
                async with self._pool.connection() as connection:
                    found: bytes | None = await connection.fetchval(
                        f"SELECT doc FROM {collection.table} WHERE id = $1", key
                    )
            except asyncpg.UndefinedTableError:
                self._catalog.forget(namespace)
                continue
            if found is not None:
                self._hot.keep_read(ticket, place, found)
            return found
        raise changed(namespace)

    async def _ordered(self, namespace: Namespace, query: Query, find: Find) -> Raws:
        """Raw documents in the order asked for; without one, in the order of ``_id``."""
        most = find.skip + find.limit if find.limit else None
        sort = find.sort if find.sort and set(find.sort) != {"$natural"} else None
        if sort is not None:
            key = compile_sort(sort)
            if next(iter(sort)) != "_id" and not await self._has_order(namespace, query, find.hint, sort):
                async for batch in _sorted(self._raws(namespace, query, find.hint, None, None), key, most):
                    yield batch
                return
        async for batch in self._raws(namespace, query, find.hint, sort, most):
            yield batch

    async def _has_order(self, namespace: Namespace, query: Query, hint: Hint, sort: Document) -> bool:
        """Whether an index serves the order, as far as is known now; the pages look again."""
        collection = await self._catalog.find(namespace)
        return collection is not None and access(collection, query.plan, hint, sort).sorts

    async def _raws(
        self, namespace: Namespace, query: Query, hint: Hint, sort: Document | None, most: int | None
    ) -> Raws:
        async for rows in self.rows(namespace, query, hint, sort=sort, most=most):
            yield [row["doc"] for row in rows]

    async def rows(
        self,
        namespace: Namespace,
        query: Query,
        hint: Hint = None,
        *,
        sort: Document | None = None,
        most: int | None = None,
    ) -> AsyncGenerator[Rows, None]:
        """Pages of what satisfies the query, in the order of ``_id`` or of ``sort``, which an index must have.

        ``most`` is how many will be wanted.
        """
        last: Sequence[bytes] = ()
        size = _FIRST_PAGE
        if most is not None and query.plan.exact:
            size = max(1, min(most, _PAGE))
        while True:
            page, ended = await self._page(namespace, query, hint, sort, last, size)
            if page:
                last = page[-1]["place"]
                rows = [row for row in page if _fits(query, row)]
                if rows:
                    yield rows
            if ended:
                return
            size = _PAGE

    async def _page(
        self,
        namespace: Namespace,
        query: Query,
        hint: Hint,
        sort: Document | None,
        last: Sequence[bytes],
        size: int,
    ) -> tuple[list[asyncpg.Record], bool]:
        """One page after the place ``last``, and whether it is the end."""
        for _ in range(_TRIES):
            collection = await self._catalog.find(namespace)
            if collection is None:
                return [], True
            made = access(collection, query.plan, hint, sort)
            if sort is not None and not made.sorts:
                if next(iter(sort)) != "_id":
                    raise changed(namespace)  # the index that had the order is gone
                made.descending = to_float(sort["_id"]) < 0
            statement = page_statement(made, last, size)
            try:
                async with self._pool.connection() as connection:
                    page = await connection.fetch(statement, *made.params)
            except asyncpg.UndefinedTableError:
                self._catalog.forget(namespace)
                continue
            return page, not page or (len(page) < size and page[-1]["total"] < _PAGE_BYTES)
        raise changed(namespace)

    # -- count

    async def count(self, namespace: Namespace, find: Find) -> int:
        """How many documents a find would give."""
        query = self.query(find.filter)
        total = await self._counted(namespace, query, find.hint)
        total = max(0, total - find.skip)
        return min(total, find.limit) if find.limit else total

    async def _counted(self, namespace: Namespace, query: Query, hint: Hint) -> int:
        if query.plan.exact:
            counts = await self._count_exactly(namespace, query, hint)
            if counts is not None:
                return counts
        total = 0
        async for rows in self.rows(namespace, query, hint):
            total += len(rows)
        return total

    async def _count_exactly(self, namespace: Namespace, query: Query, hint: Hint) -> int | None:
        """The count by SQL alone; None when a document without a query form is among the candidates."""
        for _ in range(_TRIES):
            collection = await self._catalog.find(namespace)
            if collection is None:
                return 0
            made = access(collection, query.plan, hint)
            unsure = "count(*) FILTER (WHERE c.j IS NULL)" if made.pushed else "0"
            try:
                async with self._pool.connection() as connection:
                    row = await connection.fetchrow(
                        f"SELECT count(*) AS total, {unsure} AS unsure FROM {made.source} WHERE {made.where}",
                        *made.params,
                    )
            except asyncpg.UndefinedTableError:
                self._catalog.forget(namespace)
                continue
            return None if row["unsure"] else int(row["total"])
        raise changed(namespace)


def changed(namespace: Namespace) -> MongoError:
    """The collection changed under a statement each time it was tried."""
    return MongoError("WriteConflict", f"the collection {namespace} changes too often; try again")


def page_statement(made: Access, last: Sequence[bytes], size: int) -> str:
    """The statement for one page after ``last``: at most ``size`` rows, and no more bytes than a page has.

    Its columns: id, doc, unsure (whether there is no query form), place (what ``last`` is for the next page), total bytes.
    """
    columns = ", ".join(made.order)
    where = made.where
    if last:
        values = ", ".join(made.param(value) for value in last)
        where += f" AND ({columns}) {'<' if made.descending else '>'} ({values})"
    order = ", ".join(f"{column} {'DESC' if made.descending else 'ASC'}" for column in made.order)
    inner = (
        f"SELECT c.id, c.doc, c.j IS NULL AS unsure, ARRAY[{columns}] AS place, sum(octet_length(c.doc)) OVER "
        f"(ORDER BY {order} ROWS UNBOUNDED PRECEDING) AS total FROM {made.source} WHERE {where} "
        f"ORDER BY {order} LIMIT {made.param(size)}"
    )
    return f"SELECT * FROM ({inner}) p WHERE p.total - octet_length(p.doc) < {made.param(_PAGE_BYTES)}"


def _fits(query: Query, row: asyncpg.Record) -> bool:
    return (query.plan.exact and not row["unsure"]) or query.matches(decode(row["doc"]))


async def _cut(source: Raws, skip: int, limit: int) -> Raws:
    left = limit or None
    async for batch in source:
        if skip >= len(batch):
            skip -= len(batch)
            continue
        kept = batch[skip:]
        skip = 0
        if left is not None:
            kept = kept[:left]
            left -= len(kept)
        yield kept
        if left == 0:
            return


async def _sorted(source: Raws, key: Callable[[Document], Any], most: int | None) -> Raws:
    """All of it in order; of at most ``most`` wanted, never many more than those are held."""
    held: list[tuple[Any, bytes]] = []
    used = 0
    async for batch in source:
        held += [(key(decode(raw)), raw) for raw in batch]
        used += sum(map(len, batch))
        if most is not None and len(held) > 2 * most + 1000:
            held.sort(key=_first)
            del held[most:]
            used = sum(len(raw) for _, raw in held)
        if used > MEMORY_LIMIT:
            raise memory_error("Sort")
    held.sort(key=_first)
    raws = [raw for _, raw in (held if most is None else held[:most])]
    for start in range(0, len(raws), 1000):
        yield raws[start : start + 1000]


def _first(pair: tuple[Any, bytes]) -> Any:
    return pair[0]
