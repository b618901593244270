"""The store of the control plane on SQLAlchemy: rows in and out, serial transactions on a thread of their own.

SQLite by default (write-ahead log, every commit flushed); the statements are plain enough for PostgreSQL by URL.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import pathlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import alembic.command
import alembic.config
from sqlalchemy import Connection, Engine, create_engine, event, func, select, tuple_, union
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool

from stilldb.domain.names import Scope
from stilldb.domain.proofs import Proof
from stilldb.domain.resources import (
    KEYS,
    AlreadyExists,
    Cluster,
    Event,
    Instance,
    Job,
    RetainedBackup,
    Row,
    Setting,
    Snapshot,
    Tag,
    Vanished,
)
from stilldb.metadata.tables import SCOPED, TABLES

Kind = TypeVar("Kind", Cluster, Instance, Snapshot, RetainedBackup, Event, Tag, Job, Setting, Proof)
Result = TypeVar("Result")


def _connect(url: str) -> Engine:
    engine = create_engine(
        url, poolclass=StaticPool, connect_args={"check_same_thread": False, "isolation_level": None}
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # The write lock at once: a transaction that read first can't then fail to become a writer.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring the schema to this release's version, or up to an earlier one."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, revision)


class SqlTransaction:
    """``control.ports.Transaction`` on one SQLAlchemy connection; without a scope it has only what belongs to none."""

    def __init__(self, connection: Connection, scope: Scope | None = None) -> None:
        self._connection = connection
        self._scope = scope

    def within(self, account: str, region: str) -> SqlTransaction:
        """The same transaction, seeing another account and region."""
        return SqlTransaction(self._connection, Scope(account, region))

    def everywhere(self, kind: type[Kind], /, **equals: object) -> list[tuple[Scope, Kind]]:
        """Rows of every account and region, each with its own, ordered by that and then by key."""
        table = TABLES[kind]
        query = select(table.c.account, table.c.region, *_columns(kind)).where(*_equal(kind, equals))
        ordered = query.order_by(table.c.account, table.c.region, *_key(kind))
        return [(Scope(*row[:2]), _made(kind, row[2:])) for row in self._connection.execute(ordered)]

    def scopes(self) -> list[Scope]:
        """Every account and region that has rows, in order."""
        tables = [TABLES[kind] for kind in SCOPED]
        found = union(*(select(table.c.account, table.c.region) for table in tables))
        return sorted(Scope(*row) for row in self._connection.execute(found))

    def get(self, kind: type[Kind], /, *key: str) -> Kind | None:
        """The row with this key."""
        wanted: dict[str, Any] = dict(zip(KEYS[kind], key, strict=True))
        found = self.find(kind, limit=1, **wanted)
        return found[0] if found else None

    def find(
        self,
        kind: type[Kind],
        /,
        *,
        after: tuple[str, ...] | None = None,
        limit: int | None = None,
        **equals: object,
    ) -> list[Kind]:
        """Rows ordered by key whose fields equal, or are among, the given values."""
        key = _key(kind)
        query = select(*_columns(kind)).where(*self._mine(kind), *_equal(kind, equals)).order_by(*key)
        if after is not None:
            query = query.where(tuple_(*key) > after) if len(key) > 1 else query.where(key[0] > after[0])
        if limit is not None:
            query = query.limit(limit)
        return [_made(kind, row) for row in self._connection.execute(query)]

    def count(self, kind: type[Kind], /, **equals: object) -> int:
        """How many rows ``find`` would give."""
        query = select(func.count()).select_from(TABLES[kind])
        counted = self._connection.execute(query.where(*self._mine(kind), *_equal(kind, equals)))
        return int(counted.scalar_one())

    def add(self, row: Row) -> None:
        """A new row; raises AlreadyExists."""
        values = {**self._scope_values(type(row)), **_values(row)}
        try:
            self._connection.execute(TABLES[type(row)].insert().values(values))
        except IntegrityError as error:
            if "UNIQUE" not in str(error.orig).upper():
                raise
            raise AlreadyExists(str(error.orig)) from error

    def save(self, row: Row) -> None:
        """New values for the row with this key; raises Vanished."""
        table = TABLES[type(row)]
        if (
            self._connection.execute(table.update().where(*self._this(row)).values(_values(row))).rowcount
            != 1
        ):
            raise Vanished(repr(row))

    def remove(self, row: Row) -> None:
        """The row goes; raises Vanished."""
        table = TABLES[type(row)]
        if self._connection.execute(table.delete().where(*self._this(row))).rowcount != 1:
            raise Vanished(repr(row))

    def _scope_values(self, kind: type[Any]) -> dict[str, str]:
        if kind not in SCOPED:
            return {}
        if self._scope is None:
            raise ValueError(f"a {kind.__name__} belongs to an account and region: use scoped() or within()")
        return dataclasses.asdict(self._scope)

    def _mine(self, kind: type[Any]) -> list[Any]:
        return _equal(kind, self._scope_values(kind))

    def _this(self, row: Row) -> list[Any]:
        kind = type(row)
        return [*self._mine(kind), *_equal(kind, {name: getattr(row, name) for name in KEYS[kind]})]


def _names(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _columns(kind: type[Any]) -> list[Any]:
    """The columns that are the row's own fields."""
    return [TABLES[kind].c[name] for name in _names(kind)]


def _key(kind: type[Any]) -> list[Any]:
    return [TABLES[kind].c[name] for name in KEYS[kind]]


def _made(kind: type[Kind], values: Iterable[Any]) -> Kind:
    return kind(**dict(zip(_names(kind), values, strict=True)))


def _values(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _names(type(row))}


def _equal(kind: type[Any], equals: Mapping[str, object]) -> list[Any]:
    """The conditions that columns equal, or are among, the given values."""
    table = TABLES[kind]
    return [
        table.c[name].in_(list(value))
        if isinstance(value, list | tuple | set | frozenset)
        else table.c[name] == value
        for name, value in equals.items()
    ]


class _Scoped:
    """``control.ports.Store`` of one account and region."""

    def __init__(self, whole: SqlStore, scope: Scope) -> None:
        self._whole = whole
        self._scope = scope

    async def run(self, work: Callable[[SqlTransaction], Result]) -> Result:
        """Run ``work`` in one serial transaction that sees this account and region."""
        return await self._whole.run(lambda tx: work(tx.within(self._scope.account, self._scope.region)))

    def scoped(self, account: str, region: str) -> _Scoped:
        """The same state, seen by another account and region."""
        return self._whole.scoped(account, region)

    async def scopes(self) -> list[Scope]:
        """Every account and region that has rows, in order."""
        return await self._whole.scopes()


class SqlStore:
    """``control.ports.Store`` on a database URL; one thread, one connection, one transaction at a time."""

    def __init__(self, url: str) -> None:
        self._engine = _connect(url)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="metadata")

    def scoped(self, account: str, region: str) -> _Scoped:
        """The same state, its transactions seeing just this account and region."""
        return _Scoped(self, Scope(account, region))

    async def scopes(self) -> list[Scope]:
        """Every account and region that has rows, in order."""
        return await self.run(SqlTransaction.scopes)

    @classmethod
    async def open(cls, path: pathlib.Path | None) -> SqlStore:
        """Open, and make or migrate, the SQLite database at ``path`` (in memory when None)."""
        if path is not None:
            path.touch(
                mode=0o600
            )  # it holds password verifiers; SQLite's other files take their mode from it
            path.chmod(0o600)
        store = cls("sqlite://" if path is None else f"sqlite:///{path}")
        await asyncio.get_running_loop().run_in_executor(store._thread, store._migrate)
        return store

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            migrate(connection)

    async def run(self, work: Callable[[SqlTransaction], Result]) -> Result:
        """Run ``work`` in one serial transaction; durable when it returns, undone when it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    def _run(self, work: Callable[[SqlTransaction], Result]) -> Result:
        with self._engine.begin() as connection:
            return work(SqlTransaction(connection))

    def close(self) -> None:
        """Wait for the running transaction and close the database."""
        self._thread.shutdown(wait=True)
        self._engine.dispose()
