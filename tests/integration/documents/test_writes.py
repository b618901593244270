"""insert, update, delete, findAndModify on a real PostgreSQL: results, refusals, atomicity, concurrency."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
import secrets
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId, Regex

from stilldb.documents import Documents, catalog, inserts
from stilldb.documents.hot import HotDocuments
from stilldb.documents.model import Delete, Find, FindAndModify, Inserted, Namespace, Update
from stilldb.domain.volumes import PostgresAddress
from stilldb.query.errors import MongoError
from stilldb.query.values import MISSING
from support.documents import opened

Document = dict[str, Any]


async def put(documents: Documents, namespace: Namespace, *rows: Document, ordered: bool = True) -> Inserted:
    return await documents.insert(namespace, [bson.encode(row) for row in rows], ordered=ordered)


async def everything(documents: Documents, namespace: Namespace, **find: Any) -> list[Document]:
    asked = Find(**{"filter": {}, **find})
    return [bson.decode(raw) async for raws in documents.find(namespace, asked) for raw in raws]


def codes(done: Inserted) -> list[tuple[int, int]]:
    return [(error.index, error.error.code) for error in done.errors]


@pytest.fixture(params=["inserted", "copied"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two and more by one statement, or as large ones are stored."""
    monkeypatch.setattr(inserts, "_COPIED", 2 if request.param == "copied" else 10**6)
    monkeypatch.setattr(inserts, "_SLICE", 3)


async def test_bytes_come_back_as_they_went_in(documents: Documents, namespace: Namespace) -> None:
    raw = bson.encode({"_id": 1, "z": 1, "a": Int64(1), "n": {"b": [1, 2.0, None]}, "e": ""})
    await documents.insert(namespace, [raw], ordered=True)
    assert [found async for found in documents.find(namespace, Find(filter={}))] == [[raw]]


@pytest.mark.usefixtures("either_way")
async def test_an_id_is_made_and_comes_first(documents: Documents, namespace: Namespace) -> None:
    await put(documents, namespace, {"a": 1}, {"b": 2, "_id": "last"})
    found = await everything(documents, namespace)
    assert [list(row) for row in found] == [["_id", "b"], ["_id", "a"]]
    assert isinstance(found[1]["_id"], ObjectId)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"_id": [1]}, 53),
        ({"_id": Regex("a")}, 53),
        ({"_id": {"$a": 1}}, 52),
        ({"_id": 1, "$a": 1}, 52),
        ({"_id": "x" * 3000}, 17280),
        ({"_id": 1, "big": "x" * (16 * 2**20)}, 10334),
    ],
)
async def test_what_can_t_be_stored(
    documents: Documents, namespace: Namespace, row: Document, code: int
) -> None:
    done = await put(documents, namespace, {"_id": 0}, row, {"_id": 2}, ordered=False)
    assert (done.count, codes(done)) == (2, [(1, code)])


@pytest.mark.usefixtures("either_way")
async def test_damaged_bson_is_refused_alone(documents: Documents, namespace: Namespace) -> None:
    damaged = bytearray(bson.encode({"_id": 1, "s": "abc"}))
    damaged[-5] = 0xFF  # no UTF-8
    done = await documents.insert(namespace, [bson.encode({"_id": 0}), bytes(damaged)], ordered=False)
    assert (done.count, codes(done)) == (1, [(1, 22)])


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.usefixtures("either_way")
async def test_duplicates_within_and_without_a_batch(
    documents: Documents, namespace: Namespace, ordered: bool
) -> None:
    await put(documents, namespace, {"_id": 3})
    rows = [{"_id": 1}, {"_id": 2}, {"_id": 1.0}, {"_id": 3}, {"_id": 4}]
    done = await put(documents, namespace, *rows, ordered=ordered)
    assert codes(done) == ([(2, 11000)] if ordered else [(2, 11000), (3, 11000)])
    assert done.count == (2 if ordered else 3)
    assert [row["_id"] for row in await everything(documents, namespace)] == (
        [1, 2, 3] if ordered else [1, 2, 3, 4]
    )
    assert done.errors[0].error.details["keyPattern"] == {"_id": 1}


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_unique_index_refuses_some(documents: Documents, namespace: Namespace, ordered: bool) -> None:
    await documents.create_indexes(namespace, [{"key": {"u": 1}, "name": "u_1", "unique": True}])
    rows = [{"_id": n, "u": n // 2 if n in (4, 5, 8, 9) else n + 100} for n in range(12)]
    done = await put(documents, namespace, *rows, ordered=ordered)
    assert codes(done) == ([(5, 11000)] if ordered else [(5, 11000), (9, 11000)])
    assert done.count == (5 if ordered else 10)
    error = done.errors[0].error
    assert error.details == {"keyPattern": {"u": 1}, "keyValue": {"u": 2}}
    assert "index: u_1 dup key: { u: 2 }" in error.message


async def test_a_large_batch_has_every_form_and_index_key(documents: Documents, namespace: Namespace) -> None:
    await documents.create_indexes(namespace, [{"key": {"n": 1}, "name": "n"}])
    rows = [{"_id": i, "n": i % 7, "x": [i, float("nan"), "\x00", None][i % 4]} for i in range(500)]
    done = await put(documents, namespace, *rows)
    assert (done.count, done.errors) == (500, [])
    assert len(await everything(documents, namespace, filter={"n": 3})) == 71
    assert [row["_id"] for row in await everything(documents, namespace, filter={"x": "\x00", "n": 0})] == [
        i for i in range(500) if i % 4 == 2 and i % 7 == 0
    ]
    assert len(await everything(documents, namespace, filter={"x": float("nan")})) == 125


async def test_update_one_and_many(documents: Documents, namespace: Namespace) -> None:
    await put(documents, namespace, *({"_id": n, "k": n % 2, "v": n} for n in range(10)))
    one = await documents.update(namespace, Update(filter={"k": 1}, change={"$inc": {"v": 100}}))
    assert (one.matched, one.modified, one.upserted) == (1, 1, MISSING)
    many = await documents.update(namespace, Update(filter={"k": 0}, change={"$set": {"v": 4}}, multi=True))
    assert (many.matched, many.modified) == (5, 4)  # one had that value already
    assert [row["v"] for row in await everything(documents, namespace)] == [4, 101, 4, 3, 4, 5, 4, 7, 4, 9]


async def test_an_update_can_t_nest_deeper_than_an_insert(documents: Documents, namespace: Namespace) -> None:
    nested: Any = 1
    for _ in range(198):
        nested = {"n": nested}
    await put(documents, namespace, {"_id": 1, "n": nested})
    path = ".".join(["n"] * 150)
    await documents.update(namespace, Update(filter={"_id": 1}, change={"$set": {f"{path}.x": {"y": {}}}}))
    with pytest.raises(MongoError) as caught:
        await documents.update(
            namespace,
            Update(filter={"_id": 1}, change={"$rename": {"n": "m"}, "$set": {"o": {"p": {"q": nested}}}}),
        )
    assert caught.value.name == "Overflow"


async def test_replacement_and_pipeline(documents: Documents, namespace: Namespace) -> None:
    await put(documents, namespace, {"_id": 1, "a": 1})
    await documents.update(namespace, Update(filter={"_id": 1}, change={"b": 2}))
    await documents.update(
        namespace, Update(filter={"_id": 1}, change=[{"$set": {"c": {"$add": ["$b", 1]}}}])
    )
    assert await everything(documents, namespace) == [{"_id": 1, "b": 2, "c": 3}]
    with pytest.raises(MongoError) as caught:
        await documents.update(namespace, Update(filter={"_id": 1}, change={"_id": 2, "b": 1}))
    assert caught.value.name == "ImmutableField"


async def test_a_statement_that_fails_changes_nothing(documents: Documents, namespace: Namespace) -> None:
    await put(documents, namespace, *({"_id": n, "v": n if n < 2500 else "text"} for n in range(2600)))
    with pytest.raises(MongoError) as caught:
        await documents.update(namespace, Update(filter={}, change={"$inc": {"v": 1}}, multi=True))
    assert caught.value.name == "TypeMismatch"
    assert [row["v"] for row in await everything(documents, namespace, limit=3)] == [0, 1, 2]


async def test_unique_keys_move_within_one_statement(documents: Documents, namespace: Namespace) -> None:
    await documents.create_indexes(namespace, [{"key": {"u": 1}, "name": "u_1", "unique": True}])
    await put(documents, namespace, *({"_id": n, "u": n} for n in range(5)))
    await documents.update(namespace, Update(filter={}, change={"$inc": {"u": 1}}, multi=True))
    assert [row["u"] for row in await everything(documents, namespace)] == [1, 2, 3, 4, 5]
    with pytest.raises(MongoError) as caught:
        await documents.update(namespace, Update(filter={}, change={"$set": {"u": 9}}, multi=True))
    assert caught.value.code == 11000
    assert await documents.count(namespace, Find(filter={"u": 9})) == 0


async def test_upsert(documents: Documents, namespace: Namespace) -> None:
    made = await documents.update(
        namespace, Update(filter={"k": "x"}, change={"$set": {"v": 1}, "$setOnInsert": {"n": 0}}, upsert=True)
    )
    assert (made.matched, made.modified) == (0, 0)
    assert isinstance(made.upserted, ObjectId)
    again = await documents.update(
        namespace, Update(filter={"k": "x"}, change={"$set": {"v": 2}}, upsert=True)
    )
    assert (again.matched, again.modified, again.upserted) == (1, 1, MISSING)
    assert await everything(documents, namespace) == [{"_id": made.upserted, "k": "x", "n": 0, "v": 2}]


async def test_null_upsert_ids_are_told_from_none(documents: Documents, namespace: Namespace) -> None:
    made = await documents.update(
        namespace, Update(filter={"_id": None}, change={"$set": {"v": 1}}, upsert=True)
    )
    assert made.upserted is None


async def test_delete(documents: Documents, namespace: Namespace) -> None:
    await put(documents, namespace, *({"_id": n, "k": n % 2} for n in range(2500)))
    assert await documents.delete(namespace, Delete(filter={"k": 1}, one=True)) == 1
    assert await documents.delete(namespace, Delete(filter={"k": 1})) == 1249
    assert await documents.delete(namespace, Delete(filter={"k": 1})) == 0
    assert await documents.delete(namespace, Delete(filter={})) == 1250
    assert await documents.delete(Namespace(namespace.database, "none"), Delete(filter={})) == 0


async def test_find_and_modify(documents: Documents, namespace: Namespace) -> None:
    await put(documents, namespace, *({"_id": n, "v": 10 - n} for n in range(5)))
    ask = FindAndModify(filter={}, change={"$inc": {"v": 100}}, sort={"v": 1}, projection={"v": 1})
    old = await documents.find_and_modify(namespace, ask)
    assert old.found
    assert bson.decode(old.value or b"") == {"_id": 4, "v": 6}
    new = await documents.find_and_modify(
        namespace, FindAndModify(filter={"_id": 4}, change={"$inc": {"v": 1}}, new=True)
    )
    assert bson.decode(new.value or b"") == {"_id": 4, "v": 107}
    gone = await documents.find_and_modify(namespace, FindAndModify(filter={}, change=None, sort={"v": -1}))
    assert bson.decode(gone.value or b"")["_id"] == 4
    none = await documents.find_and_modify(namespace, FindAndModify(filter={"_id": 4}, change=None))
    assert (none.value, none.found) == (None, False)
    made = await documents.find_and_modify(
        namespace, FindAndModify(filter={"_id": 9}, change={"$set": {"v": 1}}, upsert=True, new=True)
    )
    assert (bson.decode(made.value or b""), made.found, made.upserted) == ({"_id": 9, "v": 1}, False, 9)


async def test_concurrent_increments_are_all_counted(documents: Documents, namespace: Namespace) -> None:
    await documents.create_indexes(namespace, [{"key": {"v": 1}, "name": "v"}])
    await put(documents, namespace, {"_id": 1, "v": 0}, {"_id": 2, "v": 0})

    async def worker(number: int) -> None:
        for turn in range(25):
            multi = (number + turn) % 5 == 0
            chosen: Document = {} if multi else {"_id": 1 + turn % 2}
            await documents.update(namespace, Update(filter=chosen, change={"$inc": {"v": 1}}, multi=multi))

    await asyncio.gather(*(worker(number) for number in range(8)))
    rows = await everything(documents, namespace)
    assert sum(row["v"] for row in rows) == 8 * 25 + 40  # every fifth counted both
    for row in rows:  # the index says the same
        assert await documents.count(namespace, Find(filter={"v": row["v"]}, hint="v")) >= 1


async def test_concurrent_upserts_make_one_document(documents: Documents, namespace: Namespace) -> None:
    ask = Update(filter={"_id": "one"}, change={"$inc": {"v": 1}}, upsert=True)
    done = await asyncio.gather(*(documents.update(namespace, ask) for _ in range(20)))
    assert sum(result.upserted is not MISSING for result in done) == 1
    assert await everything(documents, namespace) == [{"_id": "one", "v": 20}]


async def test_another_gateway_takes_over(
    documents: Documents, postgres: PostgresAddress, namespace: Namespace
) -> None:
    await put(documents, namespace, {"_id": 1, "v": 1}, {"_id": 2, "v": 1})
    assert await everything(documents, namespace, filter={"_id": 1}) == [{"_id": 1, "v": 1}]
    async with opened(postgres) as other:
        await other.update(namespace, Update(filter={}, change={"$inc": {"v": 1}}, multi=True))
        for attempt in (
            put(documents, namespace, {"_id": 3}),
            documents.update(namespace, Update(filter={"_id": 1}, change={"$inc": {"v": 10}})),
            documents.update(namespace, Update(filter={}, change={"$inc": {"v": 10}}, multi=True)),
            documents.delete(namespace, Delete(filter={"_id": 1}, one=True)),
            documents.create_indexes(namespace, [{"key": {"v": 1}}]),
            documents.drop_collection(namespace),
            documents.create_collection(Namespace(namespace.database, "new"), {}),
        ):
            await refused_as_no_writer(attempt)
        assert await everything(other, namespace) == [{"_id": 1, "v": 2}, {"_id": 2, "v": 2}]


async def refused_as_no_writer(attempt: Any) -> None:
    """The first words may be of the connections that the new writer closed."""
    with pytest.raises(MongoError) as caught:
        await attempt
    assert caught.value.name in ("NotWritablePrimary", "HostUnreachable")


async def test_a_reader_sees_what_the_writer_changes(
    documents: Documents, engine_only: Documents, namespace: Namespace
) -> None:
    await put(documents, namespace, {"_id": 1, "v": 0})
    for turn in range(1, 4):
        await documents.update(namespace, Update(filter={"_id": 1}, change={"$inc": {"v": 1}}))
        for which in (documents, engine_only):
            assert await everything(which, namespace, filter={"_id": 1}) == [{"_id": 1, "v": turn}]
    await documents.drop_collection(namespace)
    await put(documents, namespace, {"_id": 1, "v": "new"})
    for which in (documents, engine_only):
        assert await everything(which, namespace, filter={"_id": 1}) == [{"_id": 1, "v": "new"}]


async def test_reads_by_id_among_writes_are_never_old(documents: Documents, namespace: Namespace) -> None:
    """Each reader sees a counter that only grows, and at least what was acknowledged before it asked."""
    await put(documents, namespace, {"_id": 1, "v": 0})
    acknowledged = 0
    done = asyncio.Event()

    async def write(multi: bool) -> None:
        nonlocal acknowledged
        for _ in range(60):
            await documents.update(
                namespace, Update(filter={"_id": 1}, change={"$inc": {"v": 1}}, multi=multi)
            )
            acknowledged += 1

    async def read() -> None:
        last = 0
        while not done.is_set():
            least = acknowledged
            (row,) = await everything(documents, namespace, filter={"_id": 1})
            assert row["v"] >= max(last, least)
            last = row["v"]
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(4)]
    await asyncio.gather(write(False), write(False), write(True))
    done.set()
    await asyncio.gather(*readers)
    assert await everything(documents, namespace) == [{"_id": 1, "v": 180}]


async def test_documents_of_every_size_are_paged(documents: Documents, namespace: Namespace) -> None:
    big = [{"_id": n, "pad": "x" * (3 * 2**20)} for n in range(9)]
    small = [{"_id": 100 + n} for n in range(700)]
    for row in big:
        await put(documents, namespace, row)
    await put(documents, namespace, *small)
    pages = [
        [bson.decode(raw)["_id"] for raw in raws] async for raws in documents.find(namespace, Find(filter={}))
    ]
    assert [number for page in pages for number in page] == [*range(9), *range(100, 800)]
    assert max(len(page) for page in pages[:3]) <= 3  # a page ends once it has eight megabytes
    backwards = await everything(documents, namespace, sort={"_id": -1}, skip=690, limit=15)
    assert [row["_id"] for row in backwards] == [*range(109, 99, -1), 8, 7, 6, 5, 4]


PLACE = (1, b"key")


def test_a_read_that_began_before_a_write_and_came_in_after_it_is_not_kept() -> None:
    hot = HotDocuments()
    with hot.writing(PLACE) as outcome:
        ticket = hot.reading(PLACE)
        outcome.raw = b"new"
    hot.keep_read(ticket, PLACE, b"old")
    assert hot.get(PLACE) == b"new"
    with hot.writing_many():
        ticket = hot.reading(PLACE)
    hot.keep_read(ticket, PLACE, b"old")
    assert hot.get(PLACE) is None


def test_only_a_lost_commit_of_many_makes_the_memory_useless() -> None:
    hot = HotDocuments()

    def kept_after(*, commits: bool) -> bool:
        with contextlib.suppress(OSError), hot.writing_many() as transaction:
            transaction.commits = commits
            raise OSError
        hot.keep_read(hot.reading(PLACE), PLACE, b"doc")
        return hot.get(PLACE) is not None

    assert kept_after(commits=False)
    assert not kept_after(commits=True)


def test_a_document_that_an_index_refused_may_be_kept_again() -> None:
    hot = HotDocuments()
    with pytest.raises(MongoError), hot.writing(PLACE):
        raise MongoError("Location17280", "too long")
    hot.keep_read(hot.reading(PLACE), PLACE, b"doc")
    assert hot.get(PLACE) == b"doc"


async def test_what_was_looked_up_before_a_drop_is_not_believed_after_it(
    documents: Documents, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(documents, namespace, {"_id": 1})
    documents._catalog.forget(namespace)
    known, dropped = asyncio.Event(), asyncio.Event()
    read = catalog.read

    async def slow(*args: Any) -> Any:
        found = await read(*args)
        known.set()
        await dropped.wait()
        return found

    monkeypatch.setattr(catalog, "read", slow)
    looking = asyncio.create_task(documents._catalog.find(namespace))
    await known.wait()
    monkeypatch.setattr(catalog, "read", read)
    await documents.drop_collection(namespace)
    dropped.set()
    await looking
    assert await everything(documents, namespace, filter={"_id": 1}) == []


async def test_a_writer_that_was_replaced_gives_nothing_from_memory(
    documents: Documents, postgres: PostgresAddress, namespace: Namespace
) -> None:
    await put(documents, namespace, {"_id": 1})
    async with opened(postgres) as other:
        await other.delete(namespace, Delete(filter={}))
        await refused_as_no_writer(everything(documents, namespace, filter={"_id": 1}))


async def test_a_writer_that_hangs_in_a_transaction_is_replaced(
    documents: Documents, postgres: PostgresAddress
) -> None:
    replaced = False
    with contextlib.suppress(MongoError):  # it can't end a transaction whose connection is gone
        async with documents._catalog.changing(), asyncio.timeout(5), opened(postgres):
            replaced = True
    assert replaced


@pytest.mark.usefixtures("either_way")
async def test_inserts_of_the_same_documents_in_another_order(
    documents: Documents, namespace: Namespace
) -> None:
    for turn in range(4):
        rows = [{"_id": f"{turn} {n}"} for n in range(200)]
        orders = [rows, rows[::-1], rows[50:] + rows[:50]]
        done = await asyncio.gather(*(put(documents, namespace, *order, ordered=False) for order in orders))
        assert sum(result.count for result in done) == 200


@pytest.mark.usefixtures("either_way")
async def test_a_batch_with_a_refused_document_and_the_first_with_two_keys(
    documents: Documents, namespace: Namespace
) -> None:
    await documents.create_indexes(namespace, [{"key": {"a": 1}}])
    rows = [{"_id": 1, "a": "x" * 3000}, {"_id": 2, "a": [1, 2]}]
    done = await put(documents, namespace, *rows, ordered=False)
    assert (done.count, codes(done)) == (1, [(0, 17280)])
    assert await everything(documents, namespace, filter={"a": 2}) == [{"_id": 2, "a": [1, 2]}]


async def test_a_key_and_an_id_that_are_too_long_together(documents: Documents, namespace: Namespace) -> None:
    await documents.create_indexes(namespace, [{"key": {"a": 1}}])
    long = {"_id": secrets.token_bytes(1900), "a": secrets.token_bytes(1900)}
    done = await put(documents, namespace, {"_id": 1}, long, {"_id": 2}, ordered=False)
    assert (done.count, codes(done)) == (2, [(1, 17280)])


@pytest.mark.usefixtures("either_way")
async def test_inserts_with_duplicates_while_indexes_come_and_go(
    documents: Documents, namespace: Namespace
) -> None:
    await put(documents, namespace, {"_id": 1})

    async def load(who: int) -> None:
        for turn in range(20):
            done = await put(documents, namespace, {"_id": 1}, {"_id": f"{who} {turn}"}, ordered=False)
            assert (done.count, codes(done)) == (1, [(0, 11000)])

    async def build() -> None:
        for _ in range(3):
            await documents.create_indexes(namespace, [{"key": {"a": 1}, "name": "a"}])
            await asyncio.sleep(0.02)
            await documents.drop_indexes(namespace, "a")
            await asyncio.sleep(0.02)

    await asyncio.gather(load(1), load(2), build())


async def test_a_pipeline_keeps_the_id(documents: Documents, namespace: Namespace) -> None:
    await put(documents, namespace, {"_id": 1, "a": 5})
    for stage in ({"$replaceWith": {"b": 1}}, {"$unset": "_id"}, {"$replaceWith": {"b": 1, "_id": "$_id"}}):
        await documents.update(namespace, Update(filter={}, change=[stage]))
        (row,) = await everything(documents, namespace)
        assert list(row.items()) == [("_id", 1), ("b", 1)]


async def test_updates_that_run_out_of_time_leave_no_mark(documents: Documents, namespace: Namespace) -> None:
    """Neither on the connections nor on what reads by ``_id`` give."""
    await put(documents, namespace, *({"_id": n, "v": 0} for n in range(100)))
    chance = random.Random(1)

    async def change(number: int) -> None:
        try:
            async with asyncio.timeout(chance.random() * 0.02):
                ask = Update(filter={"_id": number % 5}, change={"$inc": {"v": 1}}, multi=number % 7 == 0)
                await documents.update(namespace, ask)
        except TimeoutError:
            pass

    for start in range(0, 100, 10):
        await asyncio.gather(*(change(start + n) for n in range(10)))
    for number in range(5):
        asked = await everything(documents, namespace, filter={"_id": {"$in": [number]}})
        assert await everything(documents, namespace, filter={"_id": number}) == asked
    async with asyncio.timeout(10):
        await asyncio.gather(*(everything(documents, namespace, limit=1) for _ in range(16)))


async def test_a_refused_key_is_not_in_the_log(
    documents: Documents, postgres: PostgresAddress, namespace: Namespace
) -> None:
    secret = "a secret value"
    await documents.create_indexes(namespace, [{"key": {"u": 1}, "name": "u", "unique": True}])
    await put(documents, namespace, {"_id": secret, "u": secret})
    assert (await put(documents, namespace, {"_id": secret, "u": 2})).count == 0
    assert (await put(documents, namespace, {"_id": 2, "u": secret})).count == 0
    logs = [
        path.read_text() for path in (pathlib.Path(postgres.host).parents[1] / "log").glob("*-postgresql.log")
    ]
    assert any("duplicate key value" in log for log in logs)
    assert not any(secret in log or secret.encode().hex() in log for log in logs)
