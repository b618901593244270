"""BSON values for tests: hypothesis strategies that like the corners, and a list in BSON order."""

from __future__ import annotations

from typing import Any

from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import strategies as st

CORNER_INTEGERS = [0, 1, -1, 2**31 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**62 + 1, 2**63 - 1, -(2**63)]
CORNER_DECIMALS = [
    "0", "-0", "0E+3", "1", "1.0", "100E-2", "0.1", "-0.1", "0.5", "9007199254740993", "9223372036854775807",
    "9223372036854775808", "1E-6176", "-1E-6176", "9.999999999999999999999999999999999E+6144", "-1E+6144", "1E+308",
    "1.7976931348623157E+308", "1.8E+308", "4.9E-324", "5E-324", "Infinity", "-Infinity", "NaN", "-NaN",
    "0.1000000000000000055511151231257827", "1234567890123456789012345678901234",
]  # fmt: skip
CORNER_DOUBLES = [
    0.0, -0.0, 1.0, -1.0, 0.1, 0.5, 5e-324, -5e-324, 1.7976931348623157e308, float("inf"), float("-inf"),
    float("nan"), 2.0**53, 2.0**53 + 2, 2.0**63, -(2.0**63),
]  # fmt: skip

longs = st.one_of(st.sampled_from(CORNER_INTEGERS), st.integers(-(2**63), 2**63 - 1))
small = st.integers(-3, 3)


def _decimal(sign: str, digits: int, exponent: int) -> Decimal128:
    return Decimal128(f"{sign}{digits}E{exponent}")


decimals = st.one_of(
    st.sampled_from(CORNER_DECIMALS).map(Decimal128),
    st.builds(_decimal, st.sampled_from(["", "-"]), st.integers(0, 10**34 - 1), st.integers(-6176, 6111)),
    st.builds(_decimal, st.sampled_from(["", "-"]), st.integers(0, 40), st.integers(-3, 3)),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: Decimal128(f"{value:.30e}")),
)
numbers = st.one_of(
    small,
    st.integers(-(2**31), 2**31 - 1),
    small.map(Int64),
    longs.map(Int64),
    longs.map(float),
    st.sampled_from(CORNER_DOUBLES),
    st.floats(),
    decimals,
)
texts = st.one_of(
    st.sampled_from(["", "a", "b", "a\0", "a\1", "a\0\0b", "é", "\U0001f600", "\uffff"]), st.text(max_size=5)
)
scalars: st.SearchStrategy[Any] = st.one_of(
    numbers,
    texts,
    st.none(),
    st.booleans(),
    st.binary(max_size=4),
    st.builds(Binary, st.binary(max_size=3), st.sampled_from([1, 2, 4, 128])),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.integers(-(2**63), 2**63 - 1).map(DatetimeMS),
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.builds(Regex, st.sampled_from(["a", "b", "^a"]), st.sampled_from(["", "i", "im"])),
    st.sampled_from([MinKey(), MaxKey(), Code("x"), Code("x", {}), Code("x", {"a": 1})]),
)
names = st.sampled_from(["a", "b", "ab", "", "0", "é"])
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
documents = st.dictionaries(names, values, max_size=4)

ASCENDING: list[list[Any]] = [
    [MinKey()],
    [None],
    [float("nan"), Decimal128("NaN")],
    [float("-inf"), Decimal128("-Infinity")],
    [Decimal128("-1E+6144")],
    [-1.7976931348623157e308],
    [Int64(-(2**63)), -(2.0**63)],
    [-1, -1.0, Int64(-1), Decimal128("-1"), Decimal128("-10E-1")],
    [Decimal128("-1E-6176")],
    [0, 0.0, -0.0, Int64(0), Decimal128("0"), Decimal128("-0E+10")],
    [Decimal128("1E-6176")],
    [5e-324],
    [Decimal128("0.1")],
    [Decimal128("0.1000000000000000055511151231257827")],
    [0.1],
    [1],
    [2**53, 2.0**53],
    [Int64(2**53 + 1), Decimal128("9007199254740993")],
    [Int64(2**53 + 2), 2.0**53 + 2],
    [Int64(2**63 - 1), Decimal128("9223372036854775807")],
    [2.0**63, Decimal128("9223372036854775808")],
    [1.7976931348623157e308],
    [Decimal128("1E+309")],
    [float("inf"), Decimal128("Infinity")],
    [""],
    ["A"],
    ["a"],
    ["a\0"],
    ["a\0b"],
    ["ab"],
    ["é"],
    ["\uffff"],
    ["\U0001f600"],
    [{}],
    [{"a": None}],
    [{"a": 1}, {"a": 1.0}],
    [{"a": 1, "b": 1}],
    [{"a": 2}],
    [{"b": float("nan")}],
    [{"b": 1}],
    [{"a": "x"}],
    [[]],
    [[None]],
    [[1], [1.0]],
    [[1, 0]],
    [[2]],
    [[[1]]],
    [b""],
    [b"b", Binary(b"b", 0)],
    [Binary(b"a", 4)],
    [b"aa"],
    [ObjectId(b"\0" * 12)],
    [ObjectId(b"\1" * 12)],
    [False],
    [True],
    [DatetimeMS(-1)],
    [DatetimeMS(0)],
    [Timestamp(0, 1)],
    [Timestamp(1, 0)],
    [Regex("a")],
    [Regex("a", "i")],
    [Regex("b")],
    [Code("x")],
    [Code("x", {})],
    [MaxKey()],
]
"""Values in BSON order; those of one inner list are equal."""
