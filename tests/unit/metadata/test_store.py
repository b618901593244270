"""The contract of control.ports.Store, on SQLite in memory and in a file; and that a migrated schema is a fresh one."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect

from stilldb.domain.resources import (
    AlreadyExists,
    Cluster,
    ClusterStatus,
    Instance,
    Job,
    Snapshot,
    Tag,
    Vanished,
)
from stilldb.metadata.store import SqlStore, SqlTransaction, migrate
from stilldb.metadata.tables import metadata
from support import rows


@pytest.fixture(params=["memory", "file"])
async def store(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> AsyncIterator[SqlStore]:
    store = await SqlStore.open(None if request.param == "memory" else tmp_path / "state.db")
    yield store
    store.close()


@pytest.mark.parametrize("row", [rows.cluster(), rows.instance(), rows.snapshot(), rows.tag(), rows.job()])
async def test_a_row_comes_back_as_it_was(
    store: SqlStore, row: Cluster | Instance | Snapshot | Tag | Job
) -> None:
    await store.run(lambda tx: tx.add(row))
    assert await store.run(lambda tx: tx.find(type(row))) == [row]


async def test_save_changes_and_remove_ends(store: SqlStore) -> None:
    await store.run(lambda tx: tx.add(rows.cluster()))
    changed = dataclasses.replace(rows.cluster(), status=ClusterStatus.AVAILABLE)
    await store.run(lambda tx: tx.save(changed))
    assert await store.run(lambda tx: tx.get(Cluster, "alpha")) == changed
    await store.run(lambda tx: tx.remove(changed))
    assert await store.run(lambda tx: tx.get(Cluster, "alpha")) is None
    for act in (lambda tx: tx.save(changed), lambda tx: tx.remove(changed)):
        with pytest.raises(Vanished):
            await store.run(act)


async def test_a_key_or_unique_value_taken(store: SqlStore) -> None:
    await store.run(lambda tx: tx.add(rows.cluster()))
    with pytest.raises(AlreadyExists):
        await store.run(lambda tx: tx.add(rows.cluster()))
    with pytest.raises(AlreadyExists):  # another name, the same resource id
        await store.run(lambda tx: tx.add(dataclasses.replace(rows.cluster(), identifier="beta")))


async def test_one_writer_a_cluster_is_the_databases_rule_too(store: SqlStore) -> None:
    await store.run(lambda tx: tx.add(rows.instance()))
    second = dataclasses.replace(rows.instance(), identifier="b", resource_id="db-B", address="127.70.0.9")
    with pytest.raises(AlreadyExists):
        await store.run(lambda tx: tx.add(second))


async def test_nothing_is_kept_of_a_transaction_that_raises(store: SqlStore) -> None:
    def work(tx: SqlTransaction) -> None:
        tx.add(rows.tag())
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await store.run(work)
    assert await store.run(lambda tx: tx.count(Tag)) == 0


async def test_find_filters_pages_and_orders_by_key(store: SqlStore) -> None:
    tags = [Tag(arn=arn, key=key, value="v") for arn in ("a", "b") for key in ("x", "y", "z")]
    for tag in reversed(tags):
        await store.run(lambda tx, tag=tag: tx.add(tag))
    assert await store.run(lambda tx: tx.find(Tag)) == tags
    assert await store.run(lambda tx: tx.find(Tag, after=("a", "y"), limit=2)) == tags[2:4]
    assert await store.run(lambda tx: tx.find(Tag, arn="b", key=["y", "z"])) == tags[4:]
    assert await store.run(lambda tx: tx.count(Tag, arn="b", key=["y", "q"])) == 1
    assert await store.run(lambda tx: tx.find(Tag, key=[])) == []


async def test_what_was_committed_is_there_after_reopening(tmp_path: pathlib.Path) -> None:
    store = await SqlStore.open(tmp_path / "state.db")
    await store.run(lambda tx: tx.add(rows.snapshot()))
    store.close()
    again = await SqlStore.open(tmp_path / "state.db")
    assert await again.run(lambda tx: tx.find(Snapshot)) == [rows.snapshot()]
    again.close()


def test_a_migrated_schema_equals_a_fresh_one() -> None:
    migrated, fresh = create_engine("sqlite://"), create_engine("sqlite://")
    with migrated.connect() as connection, fresh.connect() as other:
        migrate(connection)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        metadata.create_all(other)
        for table in metadata.tables:
            for facts in (
                "get_check_constraints",
                "get_indexes",
                "get_unique_constraints",
                "get_pk_constraint",
            ):
                assert _facts(connection, table, facts) == _facts(other, table, facts), (table, facts)
    migrated.dispose()
    fresh.dispose()


def _facts(connection: Connection, table: str, facts: str) -> list[str]:
    found = getattr(inspect(connection), facts)(table)
    plain = []
    for fact in found if isinstance(found, list) else [found]:
        options = {name: str(value) for name, value in fact.pop("dialect_options", {}).items()}
        plain.append(repr((sorted(fact.items()), options)))
    return sorted(plain)
