"""The contract of control.ports.Store, on SQLite in memory and in a file; and that a migrated schema is a fresh one."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, column, create_engine, inspect
from sqlalchemy import table as sql_table

from stilldb.control.ports import Store, Transaction
from stilldb.domain.names import Scope
from stilldb.domain.resources import (
    AlreadyExists,
    Cluster,
    ClusterStatus,
    Instance,
    Job,
    Row,
    Setting,
    Snapshot,
    Tag,
    Vanished,
)
from stilldb.metadata.store import SqlStore, migrate
from stilldb.metadata.tables import TABLES, metadata
from support import rows

HERE = Scope("123456789012", "us-west-2")
OTHERS = [
    Scope("111122223333", "us-west-2"),  # another account
    Scope("123456789012", "eu-central-1"),  # another region
]


@pytest.fixture(params=["memory", "file"])
async def whole(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> AsyncIterator[SqlStore]:
    store = await SqlStore.open(None if request.param == "memory" else tmp_path / "state.db")
    yield store
    store.close()


@pytest.fixture
def store(whole: SqlStore) -> Store:
    return whole.scoped(HERE.account, HERE.region)


def seen_by(store: Store, scope: Scope) -> Store:
    return store.scoped(scope.account, scope.region)


def another_cluster(number: int) -> Cluster:
    """Of the same identifier; what is unique everywhere differs."""
    return dataclasses.replace(
        rows.cluster(),
        resource_id=f"cluster-{number}",
        address=f"127.71.0.{number}",
        reader_address=f"127.72.0.{number}",
    )


@pytest.mark.parametrize("row", [rows.cluster(), rows.instance(), rows.snapshot(), rows.tag(), rows.job()])
async def test_a_row_comes_back_as_it_was(
    store: Store, row: Cluster | Instance | Snapshot | Tag | Job
) -> None:
    await store.run(lambda tx: tx.add(row))
    assert await store.run(lambda tx: tx.find(type(row))) == [row]


async def test_save_changes_and_remove_ends(store: Store) -> None:
    await store.run(lambda tx: tx.add(rows.cluster()))
    changed = dataclasses.replace(rows.cluster(), status=ClusterStatus.AVAILABLE)
    await store.run(lambda tx: tx.save(changed))
    assert await store.run(lambda tx: tx.get(Cluster, "alpha")) == changed
    await store.run(lambda tx: tx.remove(changed))
    assert await store.run(lambda tx: tx.get(Cluster, "alpha")) is None
    for act in (lambda tx: tx.save(changed), lambda tx: tx.remove(changed)):
        with pytest.raises(Vanished):
            await store.run(act)


async def test_a_key_or_unique_value_taken(store: Store) -> None:
    await store.run(lambda tx: tx.add(rows.cluster()))
    with pytest.raises(AlreadyExists):
        await store.run(lambda tx: tx.add(rows.cluster()))
    with pytest.raises(AlreadyExists):  # another name, the same resource id
        await store.run(lambda tx: tx.add(dataclasses.replace(rows.cluster(), identifier="beta")))


async def test_one_writer_a_cluster_is_the_databases_rule_too(store: Store) -> None:
    await store.run(lambda tx: tx.add(rows.instance()))
    second = dataclasses.replace(rows.instance(), identifier="b", resource_id="db-B", address="127.70.0.9")
    with pytest.raises(AlreadyExists):
        await store.run(lambda tx: tx.add(second))


async def test_nothing_is_kept_of_a_transaction_that_raises(store: Store) -> None:
    def work(tx: Transaction) -> None:
        tx.add(rows.tag())
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await store.run(work)
    assert await store.run(lambda tx: tx.count(Tag)) == 0


async def test_find_filters_pages_and_orders_by_key(store: Store) -> None:
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
    await seen_by(store, HERE).run(lambda tx: tx.add(rows.snapshot()))
    store.close()
    again = await SqlStore.open(tmp_path / "state.db")
    assert await seen_by(again, HERE).run(lambda tx: tx.find(Snapshot)) == [rows.snapshot()]
    again.close()


SCOPED_ROWS = [rows.cluster(), rows.instance(), rows.snapshot(), rows.job()]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("row", SCOPED_ROWS)
async def test_a_row_is_there_for_its_own_account_and_region_only(
    store: Store, row: Cluster | Instance | Snapshot | Job, other: Scope
) -> None:
    await store.run(lambda tx: tx.add(row))
    elsewhere = seen_by(store, other)
    assert await elsewhere.run(lambda tx: tx.find(type(row))) == []
    assert await elsewhere.run(lambda tx: tx.count(type(row))) == 0
    for act in (lambda tx: tx.save(row), lambda tx: tx.remove(row)):
        with pytest.raises(Vanished):
            await elsewhere.run(act)
    assert await store.run(lambda tx: tx.find(type(row))) == [row]


async def test_an_identifier_can_be_taken_once_in_each_account_and_region(store: Store) -> None:
    scopes = [HERE, *OTHERS]
    for number, scope in enumerate(scopes):
        await seen_by(store, scope).run(lambda tx, number=number: tx.add(another_cluster(number)))
    for number, scope in enumerate(scopes):
        assert await seen_by(store, scope).run(lambda tx: tx.get(Cluster, "alpha")) == another_cluster(number)
    changed = dataclasses.replace(another_cluster(1), status=ClusterStatus.AVAILABLE)
    await seen_by(store, OTHERS[0]).run(lambda tx: tx.save(changed))
    assert await store.run(lambda tx: tx.everywhere(Cluster)) == [
        (OTHERS[0], changed),
        (OTHERS[1], another_cluster(2)),
        (HERE, another_cluster(0)),
    ]
    await seen_by(store, OTHERS[0]).run(lambda tx: tx.remove(changed))
    assert await store.run(lambda tx: [scope for scope, _ in tx.everywhere(Cluster)]) == [OTHERS[1], HERE]


async def test_resource_ids_and_addresses_are_taken_everywhere(store: Store) -> None:
    await store.run(lambda tx: tx.add(another_cluster(1)))
    for taken in ("resource_id", "address", "reader_address"):
        clash = dataclasses.replace(another_cluster(2), **{taken: getattr(another_cluster(1), taken)})
        with pytest.raises(AlreadyExists):
            await seen_by(store, OTHERS[0]).run(lambda tx, clash=clash: tx.add(clash))


async def test_one_transaction_can_cross_over(store: Store) -> None:
    def work(tx: Transaction) -> None:
        tx.add(another_cluster(1))
        tx.within(OTHERS[0].account, OTHERS[0].region).add(another_cluster(2))

    await store.run(work)
    assert await store.run(lambda tx: tx.find(Cluster)) == [another_cluster(1)]
    assert await seen_by(store, OTHERS[0]).run(lambda tx: tx.find(Cluster)) == [another_cluster(2)]
    assert await store.run(lambda tx: tx.everywhere(Cluster, resource_id="cluster-2")) == [
        (OTHERS[0], another_cluster(2))
    ]


async def test_scopes_are_those_with_rows(store: Store) -> None:
    assert await store.scopes() == []
    await store.run(lambda tx: tx.add(rows.tag()))  # by its ARN: of no account and region
    await store.run(lambda tx: tx.add(rows.job()))
    await seen_by(store, OTHERS[1]).run(lambda tx: tx.add(rows.snapshot()))
    assert await store.scopes() == [OTHERS[1], HERE]


async def test_what_belongs_to_an_account_and_region_is_refused_without_them(whole: SqlStore) -> None:
    await whole.run(lambda tx: tx.add(Setting(name="region", value="us-west-2")))
    assert await whole.run(lambda tx: tx.count(Setting)) == 1
    for act in (lambda tx: tx.find(Cluster), lambda tx: tx.add(rows.cluster())):
        with pytest.raises(ValueError, match="belongs to an account and region"):
            await whole.run(act)


async def test_rows_of_the_first_schema_are_of_its_account_and_its_region(tmp_path: pathlib.Path) -> None:
    old = [rows.cluster(), rows.instance(), rows.snapshot(), rows.job(), rows.tag()]
    await _database_of_0001(tmp_path / "state.db", [*old, Setting(name="region", value=HERE.region)])
    store = await SqlStore.open(tmp_path / "state.db")
    assert await store.scopes() == [HERE]
    for row in old:
        assert await seen_by(store, HERE).run(lambda tx, row=row: tx.find(type(row))) == [row]
    second = dataclasses.replace(rows.instance(), identifier="b", resource_id="db-B", address="127.70.0.9")
    with pytest.raises(AlreadyExists):  # the partial unique index is there again
        await seen_by(store, HERE).run(lambda tx: tx.add(second))
    store.close()


async def test_rows_of_the_first_schema_without_a_region_are_not_guessed_at(tmp_path: pathlib.Path) -> None:
    await _database_of_0001(tmp_path / "state.db", [rows.cluster()])
    with pytest.raises(ValueError, match="name no region"):
        await SqlStore.open(tmp_path / "state.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'state.db'}")
    with engine.connect() as connection:  # and nothing is lost
        assert connection.exec_driver_sql("SELECT count(*) FROM clusters").scalar_one() == 1
    engine.dispose()


async def _database_of_0001(path: pathlib.Path, content: list[Row]) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate(connection, "0001")
        reflected = MetaData()
        reflected.reflect(connection)
        for row in content:
            table = TABLES[type(row)]
            columns = [
                column(old.name, table.c[old.name].type) for old in reflected.tables[table.name].columns
            ]
            mine = {each.name: getattr(row, each.name) for each in columns}
            connection.execute(sql_table(table.name, *columns).insert().values(mine))
    engine.dispose()


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
