"""The store of the control plane on SQLAlchemy: rows in and out, serial transactions on a thread of their own.

SQLite by default (write-ahead log, every commit flushed); the statements are plain enough for PostgreSQL by URL.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import pathlib
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import alembic.command
import alembic.config
from sqlalchemy import Connection, Engine, Select, create_engine, event, func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool

from stilldb.domain.proofs import Proof
from stilldb.domain.resources import (
    KEYS,
    AlreadyExists,
    Cluster,
    Instance,
    Job,
    Row,
    Setting,
    Snapshot,
    Tag,
    Vanished,
)
from stilldb.metadata.tables import TABLES

Kind = TypeVar("Kind", Cluster, Instance, Snapshot, Tag, Job, Setting, Proof)
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


def migrate(connection: Connection) -> None:
    """Bring the schema to this release's version."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


class SqlTransaction:
    """``control.ports.Transaction`` on one SQLAlchemy connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, kind: type[Kind], *key: str) -> Kind | None:
        """The row with this key."""
        wanted: dict[str, Any] = dict(zip(KEYS[kind], key, strict=True))
        found = self.find(kind, limit=1, **wanted)
        return found[0] if found else None

    def find(
        self,
        kind: type[Kind],
        *,
        after: tuple[str, ...] | None = None,
        limit: int | None = None,
        **equals: object,
    ) -> list[Kind]:
        """Rows ordered by key whose fields equal, or are among, the given values."""
        table = TABLES[kind]
        key = [table.c[name] for name in KEYS[kind]]
        query = _where(select(table), kind, equals).order_by(*key)
        if after is not None:
            query = query.where(tuple_(*key) > after) if len(key) > 1 else query.where(key[0] > after[0])
        if limit is not None:
            query = query.limit(limit)
        return [kind(**row._mapping) for row in self._connection.execute(query)]

    def count(self, kind: type[Kind], **equals: object) -> int:
        """How many rows ``find`` would give."""
        query = _where(select(func.count()).select_from(TABLES[kind]), kind, equals)
        return int(self._connection.execute(query).scalar_one())

    def add(self, row: Row) -> None:
        """A new row; raises AlreadyExists."""
        try:
            self._connection.execute(TABLES[type(row)].insert().values(_values(row)))
        except IntegrityError as error:
            if "UNIQUE" not in str(error.orig).upper():
                raise
            raise AlreadyExists(str(error.orig)) from error

    def save(self, row: Row) -> None:
        """New values for the row with this key; raises Vanished."""
        table = TABLES[type(row)]
        done = self._connection.execute(table.update().where(*_key_clause(row)).values(_values(row)))
        if done.rowcount != 1:
            raise Vanished(repr(row))

    def remove(self, row: Row) -> None:
        """The row goes; raises Vanished."""
        table = TABLES[type(row)]
        if self._connection.execute(table.delete().where(*_key_clause(row))).rowcount != 1:
            raise Vanished(repr(row))


def _values(row: Row) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}


def _key_clause(row: Row) -> list[Any]:
    table = TABLES[type(row)]
    return [table.c[name] == getattr(row, name) for name in KEYS[type(row)]]


def _where(query: Select[Any], kind: type[Any], equals: dict[str, object]) -> Select[Any]:
    table = TABLES[kind]
    for name, value in equals.items():
        if isinstance(value, list | tuple | set | frozenset):
            query = query.where(table.c[name].in_(list(value)))
        else:
            query = query.where(table.c[name] == value)
    return query


class SqlStore:
    """``control.ports.Store`` on a database URL; one thread, one connection, one transaction at a time."""

    def __init__(self, url: str) -> None:
        self._engine = _connect(url)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="metadata")

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
