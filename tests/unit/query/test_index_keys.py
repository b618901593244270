"""The keys of documents in indexes: arrays, compound and sparse ones."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Regex
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from stilldb.query.errors import MongoError
from stilldb.query.filter import compile_filter
from stilldb.query.keys import compound, encode, index_keys
from stilldb.query.multikey import ParallelArrays
from stilldb.query.order import compile_sort
from stilldb.query.paths import sights, split
from stilldb.query.values import MISSING, UNDEFINED, Document
from support.bsonvalues import scalars

A = (("a", 1),)
AB = (("a.b", 1),)
PAIR = (("a", 1), ("b", -1))

CASES: list[tuple[tuple[tuple[str, int], ...], Document, list[tuple[Any, ...]]]] = [
    (A, {"a": 1}, [(1,)]),
    (A, {}, [(None,)]),
    (A, {"a": None}, [(None,)]),
    (A, {"a": []}, [(UNDEFINED,)]),
    (A, {"a": [1, 2, 1.0]}, [(1,), (2,)]),
    (A, {"a": [[1, 2], 3]}, [([1, 2],), (3,)]),
    (A, {"a": {"b": 1}}, [({"b": 1},)]),
    (AB, {"a": {"b": 1}}, [(1,)]),
    (AB, {"a": 5}, [(None,)]),
    (AB, {"a": []}, [(None,)]),
    (AB, {"a": [{"b": 1}, {"b": 2}, {}]}, [(1,), (2,), (None,)]),
    (AB, {"a": [1, {"b": 2}]}, [(None,), (2,)]),
    (AB, {"a": [{"b": [1, 2]}, {"b": [3]}, {"b": []}]}, [(1,), (2,), (3,), (UNDEFINED,)]),
    (AB, {"a": [[{"b": 1}]]}, [(None,)]),
    ((("a.0", 1),), {"a": [7, 8]}, [(7,)]),
    ((("a.0", 1),), {"a": [[7, 8]]}, [([7, 8],)]),
    ((("a.0", 1),), {"a": {"0": 7}}, [(7,)]),
    ((("a.1.b", 1),), {"a": [1, {"b": 2}]}, [(2,)]),
    ((("a.9", 1),), {"a": [1]}, [(None,)]),
    (PAIR, {"a": 1, "b": 2}, [(1, 2)]),
    (PAIR, {"a": [1, 2], "b": 3}, [(1, 3), (2, 3)]),
    (PAIR, {"b": 3}, [(None, 3)]),
    ((("a.x", 1), ("a.y", 1)), {"a": [{"x": 1, "y": 2}, {"x": 3}]}, [(1, 2), (3, None)]),
    ((("a.x", 1), ("a", 1)), {"a": [{"x": 1}, 5]}, [(1, {"x": 1}), (None, 5)]),
    ((("a.x", 1), ("a.y.z", 1)), {"a": [{"x": 1, "y": [{"z": 1}, {"z": 2}]}]}, [(1, 1), (1, 2)]),
]


@pytest.mark.parametrize(("fields", "document", "expected"), CASES, ids=lambda item: str(item)[:60])
def test_keys(fields: Any, document: Document, expected: list[tuple[Any, ...]]) -> None:
    directions = [direction for _, direction in fields]
    assert index_keys(document, fields) == [compound(values, directions) for values in expected]


@pytest.mark.parametrize(
    ("document", "count"),
    [({}, 0), ({"a": None}, 1), ({"a": []}, 1), ({"b": 1}, 0)],
    ids=str,
)
def test_sparse(document: Document, count: int) -> None:
    assert len(index_keys(document, A, sparse=True)) == count


def test_sparse_leaves_out_elements_without_the_field() -> None:
    assert index_keys({"a": [{"b": 1}, {}]}, AB, sparse=True) == [encode(1)]
    assert index_keys({"a": []}, AB, sparse=True) == []
    assert index_keys({"b": 1}, PAIR, sparse=True) == [compound([None, 1], [1, -1])]


@pytest.mark.parametrize(
    ("fields", "document", "message"),
    [
        (PAIR, {"a": [1], "b": [2]}, "cannot index parallel arrays [b] [a]"),
        (PAIR, {"a": [], "b": []}, "cannot index parallel arrays [b] [a]"),
        ((("a.x", 1), ("a.y", 1)), {"a": {"x": [1], "y": [1]}}, "cannot index parallel arrays [y] [x]"),
        ((("a.x", 1), ("a.y", 1)), {"a": [{"x": [1], "y": [1]}]}, "cannot index parallel arrays [y] [x]"),
    ],
    ids=str,
)
def test_parallel_arrays(fields: Any, document: Document, message: str) -> None:
    with pytest.raises(MongoError) as caught:
        index_keys(document, fields)
    assert (caught.value.code, caught.value.name, caught.value.message) == (
        171,
        "CannotIndexParallelArrays",
        message,
    )


def test_a_number_that_is_a_position_and_a_name_is_refused() -> None:
    with pytest.raises(MongoError) as caught:
        index_keys({"a": [{"0": 1}]}, (("a.0", 1),))
    assert caught.value.code == 16746


def keys_or_skip(document: Document, fields: tuple[tuple[str, int], ...]) -> list[bytes]:
    try:
        return index_keys(document, fields)
    except ParallelArrays:
        reject()


inner = st.recursive(
    st.one_of(scalars, st.sampled_from([None, 1, "x"])),
    lambda deeper: st.one_of(
        st.lists(deeper, max_size=3), st.dictionaries(st.sampled_from("ab"), deeper, max_size=2)
    ),
    max_leaves=8,
)
nested = st.dictionaries(st.sampled_from("ab"), inner, max_size=2)


@settings(max_examples=1000)
@given(
    nested, st.sampled_from(["a", "a.b", "a.b.a", "b.a"]), st.one_of(scalars, st.sampled_from([None, 1, "x"]))
)
def test_an_index_holds_what_an_equality_finds(document: Document, path: str, value: Any) -> None:
    found = set(keys_or_skip(document, ((path, 1),)))
    seen = [item for item, _ in sights(document, split(path)) if not isinstance(item, list)]
    for target in (value, *[None if item is MISSING else item for item in seen]):
        if not isinstance(target, Regex) and compile_filter({path: {"$eq": target}})(document):
            assert encode(target) in found


@settings(max_examples=500)
@given(nested, nested, st.sampled_from([(("a", 1),), (("a.b", 1),), (("a.b", 1), ("a.a", -1)), (("b", -1),)]))
def test_the_first_keys_order_as_sorts_do(left: Document, right: Document, fields: Any) -> None:
    first, second = min(keys_or_skip(left, fields)), min(keys_or_skip(right, fields))
    key = compile_sort(dict(fields))
    assert (key(left) < key(right)) == (first < second)
    assert (key(left) == key(right)) == (first == second)
