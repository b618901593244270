"""BSON order, and its byte form: the same order by four ways."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
from bson import DBRef, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings

from stilldb.query import keys, order
from stilldb.query.errors import MongoError
from stilldb.query.values import MISSING, UNDEFINED
from support.bsonvalues import ASCENDING, documents, numbers, values

PAIRS = [
    (left, right, (i > j) - (i < j))
    for (i, lefts), (j, rights) in itertools.product(enumerate(ASCENDING), repeat=2)
    for left in lefts
    for right in rights
]


def test_the_documented_order() -> None:
    wrong = [(left, right) for left, right, expected in PAIRS if order.compare(left, right) != expected]
    assert not wrong


def test_the_byte_form_of_the_documented_order() -> None:
    wrong = []
    for left, right, expected in PAIRS:
        first, second = keys.encode(left), keys.encode(right)
        if (first > second) - (first < second) != expected:
            wrong.append((left, right))
    assert not wrong


def test_missing_and_undefined_are_below_null() -> None:
    assert order.compare(MISSING, None) == -1
    assert order.compare(UNDEFINED, None) == -1
    assert order.compare(MISSING, MISSING) == 0
    assert keys.encode(UNDEFINED) < keys.encode(None) == keys.encode(MISSING)


@settings(max_examples=600)
@given(values, values)
def test_all_forms_agree(left: Any, right: Any) -> None:
    expected = order.compare(left, right)
    assert order.compare(right, left) == -expected
    assert (order.hash_key(left) == order.hash_key(right)) == (expected == 0)
    if expected == 0:
        assert hash(order.hash_key(left)) == hash(order.hash_key(right))
    first, second = keys.encode(left), keys.encode(right)
    assert (first > second) - (first < second) == expected
    assert expected == 0 or not first.startswith(second)
    down, up = order.descending_key(left), order.descending_key(right)
    assert ((down > up) - (down < up) if down != up else 0) == -expected
    inverse, other = keys.descending(first), keys.descending(second)
    assert (inverse > other) - (inverse < other) == -expected


@settings(max_examples=1000)
@given(numbers, numbers)
def test_numbers_agree(left: Any, right: Any) -> None:
    first, second = keys.encode(left), keys.encode(right)
    assert (first > second) - (first < second) == order.compare(left, right)


@given(values)
def test_order_survives_storage(value: Any) -> None:
    from stilldb.query.values import decode, encode

    assert keys.encode(decode(encode({"v": value}))["v"]) == keys.encode(value)


@given(documents, documents)
def test_compound_keys_order_field_by_field(left: dict[str, Any], right: dict[str, Any]) -> None:
    fields = ("a", 1), ("b", -1), ("ab", 1)
    firsts = [left.get(name) for name, _ in fields]
    seconds = [right.get(name) for name, _ in fields]
    directions = [direction for _, direction in fields]
    found = (order.compare(a, b) * d for a, b, d in zip(firsts, seconds, directions, strict=True))
    expected = next((item for item in found if item), 0)
    first, second = keys.compound(firsts, directions), keys.compound(seconds, directions)
    assert (first > second) - (first < second) == expected


def test_numbers_take_nine_bytes_where_doubles_are_exact() -> None:
    assert {len(keys.encode(value)) for value in (1, 1.5, Int64(2**53), Decimal128("0.5"), float("nan"))} == {
        10
    }


@pytest.mark.parametrize(
    ("value", "alias", "number"),
    [
        (1.0, "double", 1),
        ("", "string", 2),
        ({}, "object", 3),
        (DBRef("c", 1), "object", 3),
        ([], "array", 4),
        (b"", "binData", 5),
        (ObjectId(), "objectId", 7),
        (True, "bool", 8),
        (DatetimeMS(0), "date", 9),
        (None, "null", 10),
        (1, "int", 16),
        (2**31, "long", 18),
        (Int64(1), "long", 18),
        (Decimal128("1"), "decimal", 19),
        (MISSING, "missing", 0),
    ],
)
def test_names_of_types(value: Any, alias: str, number: int) -> None:
    assert order.bson_type_name(value) == alias
    assert order.type_number(value) == number


def test_what_is_no_bson_value_is_refused() -> None:
    for call in (order.bson_type_name, order.order_key, keys.encode):
        with pytest.raises(TypeError, match="no BSON type"):
            call(object())


def test_a_subclass_orders_as_its_base() -> None:
    class Sorted(dict[str, Any]):
        pass

    assert order.compare(Sorted(a=1), {"a": 1}) == 0
    assert keys.encode(Sorted(a=1)) == keys.encode({"a": 1})
    assert order.compare(DBRef("c", 1), {"$ref": "c", "$id": 1}) == 0


SORTS: list[tuple[dict[str, Any], list[Any], list[int]]] = [
    ({"a": 1}, [{"a": 2}, {}, {"a": None}, {"a": []}, {"a": "x"}, {"a": 1.5}], [3, 1, 2, 5, 0, 4]),
    ({"a": -1}, [{"a": 2}, {}, {"a": None}, {"a": []}, {"a": "x"}, {"a": 1.5}], [4, 0, 5, 1, 2, 3]),
    ({"a": 1}, [{"a": [5, 1]}, {"a": 2}, {"a": [3, 9]}], [0, 1, 2]),
    ({"a": -1}, [{"a": [5, 1]}, {"a": 2}, {"a": [3, 9]}], [2, 0, 1]),
    ({"a": 1}, [{"a": [[0]]}, {"a": [7]}], [1, 0]),
    ({"a.b": 1}, [{"a": [{"b": 3}, {"b": 9}]}, {"a": {"b": 2}}, {"a": {"b": 4}}, {"a": 1}], [3, 1, 0, 2]),
    ({"a.b": -1}, [{"a": [{"b": 3}, {"b": 9}]}, {"a": {"b": 2}}, {"a": {"b": [4, 11]}}], [2, 0, 1]),
    ({"a.0": 1}, [{"a": [3, 1]}, {"a": [2, 9]}], [1, 0]),
    ({"a": 1, "b": -1}, [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 0}], [2, 1, 0]),
    ({"a": 1, "b": 1}, [{"a": [2, 1], "b": 5}, {"a": 1, "b": 4}], [1, 0]),
    ({"a.b": 1, "a.c": 1}, [{"a": [{"b": 1, "c": 9}, {"b": 5, "c": 1}]}, {"a": {"b": 1, "c": 3}}], [1, 0]),
    ({"a": Int64(-1)}, [{"a": "a"}, {"a": "a\0"}, {"a": "b"}], [2, 1, 0]),
    ({"a": 1.0}, [{"a": float("nan")}, {"a": float("-inf")}, {"a": None}], [2, 0, 1]),
    ({"a": Decimal128("-1")}, [{"a": float("nan")}, {"a": float("-inf")}, {"a": None}], [1, 0, 2]),
    ({"a": -1}, [{"a": Decimal128("1.5")}, {"a": 2}, {"a": 1}], [1, 0, 2]),
    ({"$natural": 1}, [{"a": 2}, {"a": 1}], [0, 1]),
    ({}, [{"a": 2}, {"a": 1}], [0, 1]),
]


@pytest.mark.parametrize(("spec", "given", "expected"), SORTS, ids=lambda item: str(item)[:60])
def test_sorts(spec: dict[str, Any], given: list[Any], expected: list[int]) -> None:
    key = order.compile_sort(spec)
    assert sorted(range(len(given)), key=lambda at: key(given[at])) == expected


@given(values, values)
def test_sorting_by_a_field_is_comparing(left: Any, right: Any) -> None:
    documents = [{"a": {"v": left}}, {"a": {"v": right}}]
    for direction in (1, -1):
        ordered = sorted(documents, key=order.compile_sort({"a": direction}))
        first, second = (document["a"]["v"] for document in ordered)
        assert order.compare(first, second) * direction <= 0
    by_value = sorted([left, right], key=functools.cmp_to_key(order.compare))
    assert order.compare(by_value[0], by_value[1]) <= 0


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"a": 0}, 15975),
        ({"a": 2}, 15975),
        ({"a": "x"}, 15974),
        ({"a": True}, 15974),
        ({"a": {"b": 1}}, 17312),
        ({"a": {"$meta": "textScore"}}, 115),
        ({"": 1}, 40352),
        ({"a.": 1}, 40353),
        ({"a..b": 1}, 15998),
        ({"$a": 1}, 16410),
        ({"$natural": -1}, 16410),
        ({f"f{n}": 1 for n in range(33)}, 2),
    ],
    ids=str,
)
def test_malformed_sorts(spec: dict[str, Any], code: int) -> None:
    with pytest.raises(MongoError) as caught:
        order.compile_sort(spec)
    assert caught.value.code == code


def test_a_sort_over_parallel_arrays_is_refused() -> None:
    with pytest.raises(MongoError, match="parallel arrays") as caught:
        order.compile_sort({"a": 1, "b": 1})({"a": [1], "b": [2]})
    assert caught.value.code == 2


def test_deep_values_compare() -> None:
    deep: Any = 1
    for _ in range(199):
        deep = {"a": deep}
    assert order.compare(deep, dict(deep)) == 0
    assert keys.encode(deep) == keys.encode(dict(deep))
