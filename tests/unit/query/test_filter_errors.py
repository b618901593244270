"""Malformed filters: code and words, raised before any document is seen."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Regex

from stilldb.query.errors import MongoError
from stilldb.query.filter import compile_filter
from stilldb.query.values import Document

CASES: list[tuple[Any, int, str]] = [
    ({"$foo": 1}, 2, "unknown top level operator: $foo"),
    ({"a": {"$foo": 1}}, 2, "unknown operator: $foo"),
    ({"a": {"$gt": 1, "b": 2}}, 2, "unknown operator: b"),
    ({"a": {"$gt": Regex("x")}}, 2, "Can't have RegEx as arg to predicate"),
    ({"a": {"$ne": Regex("x")}}, 2, "Can't have regex as arg to $ne."),
    ({"a": {"$in": 1}}, 2, "$in needs an array"),
    ({"a": {"$nin": {}}}, 2, "$nin needs an array"),
    ({"a": {"$in": [{"$gt": 1}]}}, 2, "cannot nest $ under $in"),
    ({"a": {"$nin": [{"$gt": 1}]}}, 2, "cannot nest $ under $nin"),
    ({"$and": {}}, 2, "$and must be an array"),
    ({"$or": []}, 2, "$and/$or/$nor must be a nonempty array"),
    ({"$nor": [1]}, 2, "$or/$and/$nor entries need to be full objects"),
    ({"a": {"$not": 1}}, 2, "$not needs a regex or a document"),
    ({"a": {"$not": {}}}, 2, "$not cannot be empty"),
    ({"a": {"$not": {"b": 1}}}, 2, "unknown operator: b"),
    ({"$not": {"a": 1}}, 2, "unknown top level operator: $not"),
    ({"a": {"$type": "foo"}}, 2, "Unknown type name alias: foo"),
    ({"a": {"$type": 0}}, 2, "Instead use {$exists:false}."),
    ({"a": {"$type": 99}}, 2, "Invalid numerical type code: 99"),
    ({"a": {"$type": 1.5}}, 2, "Invalid numerical type code: 1.5"),
    ({"a": {"$type": {}}}, 14, "type must be represented as a number or a string"),
    ({"a": {"$type": []}}, 9, "must match at least one type"),
    ({"a": {"$regex": 1}}, 2, "$regex has to be a string"),
    ({"a": {"$regex": "x", "$options": 1}}, 2, "$options has to be a string"),
    ({"a": {"$options": "i"}}, 2, "$options needs a $regex"),
    ({"a": {"$regex": Regex("x", "i"), "$options": "m"}}, 51075, "options set in both"),
    ({"a": {"$options": "m", "$regex": Regex("x", "i")}}, 51074, "options set in both"),
    ({"a": {"$regex": "(", "$options": ""}}, 51091, "Regular expression is invalid"),
    ({"a": {"$regex": "x", "$options": "q"}}, 51108, "invalid flag in regex options: q"),
    ({"a": {"$regex": "a\0b"}}, 2, "embedded null byte"),
    ({"a": {"$mod": 1}}, 2, "malformed mod, needs to be an array"),
    ({"a": {"$mod": [1]}}, 2, "malformed mod, not enough elements"),
    ({"a": {"$mod": [1, 2, 3]}}, 2, "malformed mod, too many elements"),
    ({"a": {"$mod": ["x", 1]}}, 2, "malformed mod, divisor not a number"),
    ({"a": {"$mod": [1, "x"]}}, 2, "malformed mod, remainder not a number"),
    ({"a": {"$mod": [float("nan"), 1]}}, 2, "malformed mod, divisor value is invalid"),
    ({"a": {"$mod": [0, 1]}}, 2, "divisor cannot be 0"),
    ({"a": {"$size": "x"}}, 2, "$size needs a number"),
    ({"a": {"$size": 1.5}}, 2, "$size must be a whole number"),
    ({"a": {"$size": -1}}, 2, "$size may not be negative"),
    ({"a": {"$size": 2**40}}, 2, "$size must be representable as a 32-bit integer"),
    ({"a": {"$elemMatch": 1}}, 2, "$elemMatch needs an Object"),
    ({"a": {"$elemMatch": {"$foo": 1}}}, 2, "unknown operator: $foo"),
    ({"a": {"$elemMatch": {"$expr": True}}}, 2, "$expr can only be applied to the top-level document"),
    ({"a": {"$all": 1}}, 2, "$all needs an array"),
    ({"a": {"$all": [{"$gt": 1}]}}, 2, "no $ expressions in $all"),
    ({"a": {"$all": [{"$elemMatch": {}}, 1]}}, 2, "$all/$elemMatch has to be consistent"),
    ({"a": {"$bitsAllSet": "x"}}, 2, "$bitsAllSet takes an Array, a number, or a BinData"),
    ({"a": {"$bitsAllSet": 1.5}}, 9, "Expected an integer"),
    ({"a": {"$bitsAllSet": -1}}, 9, "Expected a non-negative number"),
    ({"a": {"$bitsAnySet": [-1]}}, 2, "bit positions must be >= 0"),
    ({"a": {"$bitsAnySet": ["x"]}}, 2, "bit positions must be an integer"),
    ({"a": {"$bitsAnySet": [2**40]}}, 2, "bit positions cannot be represented"),
    ({"$expr": {"$foo": 1}}, 168, "Unrecognized expression '$foo'"),
    ({"$alwaysTrue": 2}, 9, "must be an integer value of 1"),
    ({"$text": {"$search": "x"}}, 115, "$text is not supported"),
    (
        {"a": {"$elemMatch": {"$text": {"$search": "x"}}}},
        2,
        "$text can only be applied to the top-level document",
    ),
    ({"$where": "1"}, 115, "$where is not supported"),
    ({"a": {"$where": "1"}}, 2, "$where cannot be applied to a field"),
    ({"a": {"$near": [0, 0], "$maxDistance": 1}}, 115, "$near is not supported"),
    ({"a": {"$geoWithin": {}}}, 115, "$geoWithin is not supported"),
    (1, 14, "a filter must be a document"),
    ({"$jsonSchema": 1}, 14, "$jsonSchema must be an object"),
    ({"$jsonSchema": {"foo": 1}}, 9, "Unknown $jsonSchema keyword: foo"),
    ({"$jsonSchema": {"format": "x"}}, 9, "'format' is not currently supported"),
    ({"$jsonSchema": {"type": "integer"}}, 9, "type 'integer' is not currently supported"),
    ({"$jsonSchema": {"type": "foo"}}, 2, "Unknown type name alias: foo"),
    ({"$jsonSchema": {"type": 1}}, 14, "'type' must be either a string"),
    ({"$jsonSchema": {"bsonType": 1}}, 14, "'bsonType' must be either a string"),
    ({"$jsonSchema": {"bsonType": "int", "type": "number"}}, 9, "Cannot specify both"),
    ({"$jsonSchema": {"required": []}}, 9, "'required' cannot be an empty array"),
    ({"$jsonSchema": {"required": ["a", "a"]}}, 9, "duplicate values"),
    ({"$jsonSchema": {"required": 1}}, 14, "array of strings"),
    ({"$jsonSchema": {"enum": []}}, 9, "'enum' cannot be an empty array"),
    ({"$jsonSchema": {"enum": 1}}, 14, "'enum' must be an array"),
    ({"$jsonSchema": {"minimum": "x"}}, 14, "'minimum' must be a number"),
    ({"$jsonSchema": {"exclusiveMinimum": True}}, 9, "must be a present if exclusiveMinimum"),
    ({"$jsonSchema": {"minimum": 1, "exclusiveMinimum": 1}}, 14, "must be a boolean"),
    ({"$jsonSchema": {"multipleOf": 0}}, 9, "must have a positive value"),
    ({"$jsonSchema": {"multipleOf": "x"}}, 14, "must be a number"),
    ({"$jsonSchema": {"minLength": -1}}, 9, "non-negative integer"),
    ({"$jsonSchema": {"minLength": "x"}}, 14, "must be a number"),
    ({"$jsonSchema": {"pattern": 1}}, 14, "'pattern' must be a string"),
    ({"$jsonSchema": {"properties": 1}}, 14, "'properties' must be an object"),
    ({"$jsonSchema": {"properties": {"a": 1}}}, 14, "'properties.a' must be an object"),
    ({"$jsonSchema": {"additionalProperties": 1}}, 14, "either an object or a boolean"),
    ({"$jsonSchema": {"allOf": []}}, 2, "must be a non-empty array"),
    ({"$jsonSchema": {"allOf": 1}}, 14, "'allOf' must be an array"),
    ({"$jsonSchema": {"uniqueItems": 1}}, 14, "'uniqueItems' must be a boolean"),
    ({"$jsonSchema": {"dependencies": 1}}, 14, "'dependencies' must be an object"),
    ({"$jsonSchema": {"title": 1}}, 14, "must be of type string"),
]


@pytest.mark.parametrize(("spec", "code", "words"), CASES, ids=lambda item: str(item)[:70])
def test_malformed(spec: Any, code: int, words: str) -> None:
    with pytest.raises(MongoError) as caught:
        compile_filter(spec)
    assert caught.value.code == code
    assert words in caught.value.message


def nested(wrap: Any, inner: Any, levels: int) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


WRAPS = [
    lambda inner: {"$and": [inner, {}]},
    lambda inner: {"$nor": [inner]},
    lambda inner: {"a": {"$elemMatch": inner}},
    lambda inner: {"a": {"$not": {"$elemMatch": inner}}},
    lambda inner: {"a": {"$all": [{"$elemMatch": inner}]}},
]
SCHEMA_WRAPS = [
    lambda inner: {"not": inner},
    lambda inner: {"properties": {"a": inner}},
    lambda inner: {"items": inner},
    lambda inner: {"anyOf": [inner]},
]
CHAIN: Any = 1
for _ in range(190):
    CHAIN = {"a": [CHAIN]}


def attempt(spec: Any) -> None:
    """Compile and run ``spec``; it may be refused, but must not exhaust the stack."""
    try:
        matches = compile_filter(spec)
    except MongoError as error:
        if error.name != "Overflow":
            raise
    else:
        matches(CHAIN)


@pytest.mark.parametrize("levels", [48, 50, 95, 98, 99, 100, 5000])
@pytest.mark.parametrize("number", range(len(WRAPS)))
def test_hostile_nesting(number: int, levels: int) -> None:
    attempt(nested(WRAPS[number], {"a": 1}, levels))
    with pytest.raises(MongoError, match="nesting"):
        compile_filter(nested(WRAPS[number], {"a": 1}, 5000))


@pytest.mark.parametrize("levels", [48, 95, 98, 5000])
@pytest.mark.parametrize("number", range(len(SCHEMA_WRAPS)))
def test_hostile_schemas(number: int, levels: int) -> None:
    attempt({"$jsonSchema": nested(SCHEMA_WRAPS[number], {"bsonType": "int"}, levels)})


def test_hostile_negations() -> None:
    for levels in (95, 98, 5000):
        attempt({"a": nested(lambda inner: {"$not": inner}, {"$gt": 1}, levels)})
        attempt({"a": {"$elemMatch": nested(lambda inner: {"$elemMatch": inner}, {"$gt": 1}, levels)}})


def test_reasonable_nesting_is_fine() -> None:
    document: Document = {"a": 1}
    assert compile_filter(nested(lambda inner: {"$and": [inner, inner]}, {"a": 1}, 8))(document)
    for _ in range(40):
        document = {"a": [document]}
    assert compile_filter(nested(lambda inner: {"a": {"$elemMatch": inner}}, {"a": 1}, 40))(document)


def test_a_hostile_pattern_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stilldb.query.filter.patterns.MATCH_SECONDS", 0.05)
    matches = compile_filter({"a": Regex("(a|aa)+$")})
    with pytest.raises(MongoError, match="too long"):
        matches({"a": "a" * 60 + "b"})
