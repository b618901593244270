"""What filters match, table by table; the rules are the MongoDB manual's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from bson import Binary, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings

from stilldb.query.filter import compile_element, compile_filter, compile_position
from stilldb.query.order import CLASSES, compare, order_key
from stilldb.query.values import Document
from support.bsonvalues import documents, values

NAN = float("nan")

# Per filter: documents that match, documents that do not.
CASES: list[tuple[Document, list[Document], list[Document]]] = [
    ({}, [{}, {"a": 1}], []),
    ({"a": 1}, [{"a": 1}, {"a": 1.0}, {"a": Int64(1)}, {"a": Decimal128("1.0")}, {"a": [2, 1]}], [{"a": True}, {"a": "1"}, {}, {"a": [[1]]}]),
    ({"a": 1, "b": 2}, [{"a": 1, "b": 2}], [{"a": 1}, {"b": 2}]),
    ({"a": True}, [{"a": True}], [{"a": 1}, {"a": False}]),
    ({"a": "x"}, [{"a": "x"}, {"a": ["y", "x"]}], [{"a": "X"}, {"a": None}]),
    ({"a": None}, [{"a": None}, {}, {"a": [1, None]}], [{"a": 0}, {"a": []}, {"a": {}}]),
    ({"a": NAN}, [{"a": NAN}, {"a": Decimal128("NaN")}], [{"a": 1}, {"a": None}]),
    ({"a": [1, 2]}, [{"a": [1, 2]}, {"a": [1.0, 2]}, {"a": [[1, 2], 3]}], [{"a": [2, 1]}, {"a": [1, 2, 3]}, {"a": 1}]),
    ({"a": []}, [{"a": []}, {"a": [[]]}], [{"a": [1]}, {}]),
    ({"a": {"b": 1, "c": 2}}, [{"a": {"b": 1, "c": 2}}, {"a": [{"b": 1.0, "c": 2}]}], [{"a": {"c": 2, "b": 1}}, {"a": {"b": 1}}]),
    ({"a": {}}, [{"a": {}}, {"a": [{}]}], [{"a": {"b": 1}}, {}]),
    ({"a": ObjectId(b"1" * 12)}, [{"a": ObjectId(b"1" * 12)}], [{"a": ObjectId(b"2" * 12)}, {"a": str(ObjectId(b"1" * 12))}]),
    ({"a": b"x"}, [{"a": b"x"}, {"a": Binary(b"x", 0)}], [{"a": Binary(b"x", 4)}, {"a": "x"}]),
    ({"a": Timestamp(1, 2)}, [{"a": Timestamp(1, 2)}], [{"a": Timestamp(1, 3)}]),
    ({"a": DatetimeMS(5)}, [{"a": DatetimeMS(5)}], [{"a": 5}, {"a": DatetimeMS(6)}]),
    ({"a": {"$eq": 1}}, [{"a": 1}, {"a": [1]}], [{"a": 2}]),
    ({"a": {"$eq": Regex("x")}}, [{"a": Regex("x")}], [{"a": "x"}]),
    ({"a": {"$ne": 1}}, [{"a": 2}, {}, {"a": []}, {"a": "1"}], [{"a": 1}, {"a": [2, 1]}]),
    ({"a": {"$ne": None}}, [{"a": 1}, {"a": []}], [{}, {"a": None}, {"a": [None]}]),
    ({"a": {"$gt": 1}}, [{"a": 2}, {"a": 1.5}, {"a": Decimal128("1.1")}, {"a": [0, 2]}, {"a": float("inf")}], [{"a": 1}, {"a": "2"}, {"a": NAN}, {"a": None}, {}, {"a": True}, {"a": Decimal128("NaN")}]),
    ({"a": {"$lt": 1}}, [{"a": 0}, {"a": float("-inf")}, {"a": Decimal128("-1")}], [{"a": 1}, {"a": None}, {"a": NAN}, {"a": Decimal128("NaN")}, {}]),
    ({"a": {"$gte": 1, "$lte": 2}}, [{"a": 1}, {"a": 2}, {"a": [0, 3]}], [{"a": 0}, {"a": 3}]),
    ({"a": {"$lt": Decimal128("1")}}, [{"a": 0}, {"a": Decimal128("0.5")}], [{"a": NAN}, {"a": Decimal128("NaN")}, {"a": 1}]),
    ({"a": {"$gt": Int64(2**53)}}, [{"a": Int64(2**53 + 1)}], [{"a": 2.0**53}, {"a": 2**53}]),
    ({"a": {"$gte": NAN}}, [{"a": NAN}, {"a": Decimal128("NaN")}], [{"a": 1}, {"a": None}]),
    ({"a": {"$gt": NAN}}, [], [{"a": NAN}, {"a": 1}]),
    ({"a": {"$gte": None}}, [{"a": None}, {}], [{"a": 1}]),
    ({"a": {"$gt": None}}, [], [{"a": None}, {}, {"a": 1}]),
    ({"a": {"$gt": "b"}}, [{"a": "c"}, {"a": "ba"}, {"a": "é"}], [{"a": "b"}, {"a": "B"}, {"a": 9}]),
    ({"a": {"$gt": {"b": 1}}}, [{"a": {"b": 2}}, {"a": {"b": 1, "c": 0}}], [{"a": {"b": 1}}, {"a": 5}]),
    ({"a": {"$gt": [1]}}, [{"a": [2]}, {"a": [1, 0]}], [{"a": [1]}, {"a": 5}]),
    ({"a": {"$gt": DatetimeMS(5)}}, [{"a": DatetimeMS(6)}], [{"a": DatetimeMS(5)}, {"a": Timestamp(9, 9)}, {"a": 6}]),
    ({"a": {"$lte": True}}, [{"a": True}, {"a": False}], [{"a": 0}, {"a": None}]),
    ({"a": {"$gte": ObjectId(b"2" * 12)}}, [{"a": ObjectId(b"2" * 12)}, {"a": ObjectId(b"3" * 12)}], [{"a": ObjectId(b"1" * 12)}, {"a": "x"}]),
    ({"a": {"$gt": MinKey()}}, [{"a": 1}, {"a": None}], [{"a": MinKey()}]),
    ({"a": {"$gt": MaxKey()}}, [], [{"a": 1}, {"a": MaxKey()}]),
    ({"a": {"$lt": MaxKey()}}, [{"a": 1}, {"a": "x"}], [{"a": MaxKey()}]),
    ({"a": {"$in": [1, "x", None]}}, [{"a": 1.0}, {"a": "x"}, {}, {"a": None}, {"a": [5, "x"]}], [{"a": 2}, {"a": "y"}, {"a": []}]),
    ({"a": {"$in": []}}, [], [{"a": 1}, {}]),
    ({"a": {"$in": [Regex("^x"), 1]}}, [{"a": "xy"}, {"a": 1}, {"a": ["y", "x"]}, {"a": Regex("^x")}], [{"a": "yx"}, {}]),
    ({"a": {"$in": [[1, 2]]}}, [{"a": [1, 2]}, {"a": [[1, 2]]}], [{"a": 1}]),
    ({"a": {"$nin": [1, None]}}, [{"a": 2}, {"a": []}], [{"a": 1}, {}, {"a": [3, 1]}]),
    ({"a": {"$not": {"$gt": 1}}}, [{"a": 1}, {}, {"a": "x"}], [{"a": 2}, {"a": [0, 2]}]),
    ({"a": {"$not": Regex("x")}}, [{"a": "y"}, {}], [{"a": "xy"}]),
    ({"a": {"$not": {"$regex": "x"}}}, [{"a": "y"}], [{"a": "x"}]),
    ({"a": {"$not": {"$gt": 1, "$lt": 5}}}, [{"a": 9}, {"a": 0}], [{"a": 3}]),
    ({"$and": [{"a": 1}, {"b": 2}]}, [{"a": 1, "b": 2}], [{"a": 1}]),
    ({"$or": [{"a": 1}, {"b": 2}]}, [{"a": 1}, {"b": 2}], [{}]),
    ({"$nor": [{"a": 1}, {"b": 2}]}, [{}, {"a": 3}], [{"a": 1}, {"b": 2}]),
    ({"$or": [{}]}, [{}], []),
    ({"$comment": "why", "a": 1}, [{"a": 1}], [{}]),
    ({"$alwaysTrue": 1}, [{}], []),
    ({"$alwaysFalse": 1}, [], [{}]),
    ({"a": {"$exists": True}}, [{"a": None}, {"a": []}, {"a": 0}], [{}]),
    ({"a": {"$exists": 0}}, [{}], [{"a": None}]),
    ({"a": {"$exists": 1.5}}, [{"a": 1}], [{}]),
    ({"a.b": {"$exists": False}}, [{}, {"a": 1}, {"a": []}, {"a": [1]}, {"a": [{}]}], [{"a": {"b": 1}}, {"a": [{}, {"b": 1}]}]),
    ({"a": {"$type": "string"}}, [{"a": "x"}, {"a": [1, "x"]}], [{"a": 1}, {}]),
    ({"a": {"$type": 2}}, [{"a": "x"}], [{"a": 1}]),
    ({"a": {"$type": "number"}}, [{"a": 1}, {"a": 1.5}, {"a": Int64(1)}, {"a": Decimal128("1")}], [{"a": "1"}, {"a": True}]),
    ({"a": {"$type": ["string", 10]}}, [{"a": "x"}, {"a": None}], [{"a": 1}, {}]),
    ({"a": {"$type": "array"}}, [{"a": []}, {"a": [1]}], [{"a": 1}]),
    ({"a": {"$type": "int"}}, [{"a": 1}], [{"a": Int64(1)}, {"a": 1.0}]),
    ({"a": {"$type": -1}}, [{"a": MinKey()}], [{"a": MaxKey()}]),
    ({"a": Regex("^x", "i")}, [{"a": "Xy"}, {"a": ["z", "x"]}, {"a": Regex("^x", "i")}], [{"a": "yx"}, {"a": 1}, {"a": Regex("^x")}]),
    ({"a": {"$regex": "x.y", "$options": "s"}}, [{"a": "x\ny"}], [{"a": "xy"}]),
    ({"a": {"$options": "i", "$regex": "x"}}, [{"a": "X"}], [{"a": "y"}]),
    ({"a": {"$regex": Regex("x", "i")}}, [{"a": "X"}], []),
    ({"a": {"$regex": Regex("x"), "$options": "i"}}, [{"a": "X"}], []),
    ({"a": {"$regex": "^b", "$options": "m"}}, [{"a": "a\nb"}], [{"a": "ab"}]),
    ({"a": {"$regex": "a b # c", "$options": "x"}}, [{"a": "ab"}], [{"a": "a b"}]),
    ({"a": {"$regex": "x", "$ne": "x"}}, [{"a": "xx"}], [{"a": "x"}]),
    ({"a": {"$mod": [4, 1]}}, [{"a": 5}, {"a": 1.9}, {"a": Int64(9)}, {"a": [2, 5]}, {"a": Decimal128("5.5")}], [{"a": 4}, {"a": "5"}, {}, {"a": NAN}, {"a": float("inf")}, {"a": 1e300}]),
    ({"a": {"$mod": [-4, -1]}}, [{"a": -5}], [{"a": 5}]),
    ({"a": {"$mod": [4.9, 1.2]}}, [{"a": 5}], []),
    ({"a": {"$size": 2}}, [{"a": [1, 2]}], [{"a": [1]}, {"a": [[1, 2]]}, {"a": "ab"}, {}]),
    ({"a": {"$size": 0.0}}, [{"a": []}], [{}]),
    ({"a.b": {"$size": 1}}, [{"a": {"b": [1]}}, {"a": [{"b": []}, {"b": [5]}]}], [{"a": [{"b": 1}]}]),
    ({"a": {"$all": [1, 2]}}, [{"a": [2, 3, 1]}], [{"a": [1]}, {"a": 1}]),
    ({"a": {"$all": [1]}}, [{"a": 1}, {"a": [1]}], [{}]),
    ({"a": {"$all": [[1, 2]]}}, [{"a": [1, 2]}, {"a": [[1, 2]]}], [{"a": [2, 1]}]),
    ({"a": {"$all": []}}, [], [{"a": []}, {}]),
    ({"a": {"$all": [Regex("^x"), "y"]}}, [{"a": ["xx", "y"]}], [{"a": ["y"]}]),
    ({"a": {"$all": [None]}}, [{}, {"a": None}], [{"a": 1}]),
    ({"a": {"$all": [{"$elemMatch": {"b": 1}}, {"$elemMatch": {"b": 2}}]}}, [{"a": [{"b": 2}, {"b": 1}]}], [{"a": [{"b": 1}]}]),
    ({"a": {"$elemMatch": {"b": 1, "c": 2}}}, [{"a": [{"b": 1, "c": 2}]}], [{"a": [{"b": 1}, {"c": 2}]}, {"a": {"b": 1, "c": 2}}, {"a": []}, {}]),
    ({"a": {"$elemMatch": {"$gte": 2, "$lt": 4}}}, [{"a": [1, 3]}], [{"a": [1, 5]}, {"a": 3}, {"a": [[3]]}]),
    ({"a": {"$elemMatch": {"$elemMatch": {"$eq": 3}}}}, [{"a": [[3]]}], [{"a": [3]}]),
    ({"a": {"$elemMatch": {"0": 7}}}, [{"a": [[7]]}, {"a": [{"0": 7}]}], [{"a": [7]}]),
    ({"a": {"$elemMatch": {"$or": [{"b": 1}, {"c": 1}]}}}, [{"a": [{"c": 1}]}], [{"a": [{"d": 1}]}]),
    ({"a": {"$elemMatch": {"$not": {"$gt": 1}}}}, [{"a": [2, 0]}], [{"a": [2]}]),
    ({"a": {"$elemMatch": {"$size": 1}}}, [{"a": [[5]]}], [{"a": [5]}]),
    ({"a": {"$elemMatch": {"$in": [1, 2]}}}, [{"a": [2]}], [{"a": [3]}]),
    ({"a": {"$elemMatch": {}}}, [{"a": [{}]}, {"a": [{"b": 1}]}], [{"a": [1]}, {"a": []}]),
    ({"a": {"$elemMatch": {"$exists": True}}}, [{"a": [None]}], [{"a": []}]),
    ({"a.b": {"$elemMatch": {"$gt": 1}}}, [{"a": {"b": [2]}}, {"a": [{"b": [2]}]}], [{"a": [{"b": 2}]}]),
    ({"a": {"$bitsAllSet": 5}}, [{"a": 7}, {"a": 5.0}, {"a": b"\x05"}, {"a": -1}], [{"a": 4}, {"a": 5.5}, {"a": "5"}, {"a": b""}]),
    ({"a": {"$bitsAllClear": [1, 200]}}, [{"a": 5}, {"a": b"\x05"}], [{"a": 2}, {"a": -3}]),
    ({"a": {"$bitsAnySet": b"\x06"}}, [{"a": 2}], [{"a": 1}]),
    ({"a": {"$bitsAnyClear": [0, 1]}}, [{"a": 1}], [{"a": 3}]),
    ({"a": {"$bitsAnySet": [2_000_000_000]}}, [{"a": -1}], [{"a": 1}, {"a": b"\xff"}]),
    ({"a": {"$bitsAllSet": Decimal128("5")}}, [{"a": Decimal128("5")}], [{"a": 2}]),
    ({"$expr": {"$gt": ["$a", "$b"]}}, [{"a": 2, "b": 1}], [{"a": 1, "b": 2}]),
    ({"$or": [{"$expr": {"$eq": ["$a", 1]}}, {"b": 1}]}, [{"a": 1}, {"b": 1}], [{}]),
    ({"a": DBRef("c", 1)}, [{"a": DBRef("c", 1)}, {"a": {"$ref": "c", "$id": 1}}], [{"a": DBRef("c", 2)}]),
    ({"a": {"$ref": "c", "$id": 1}}, [{"a": DBRef("c", 1)}], [{"a": DBRef("d", 1)}]),
    ({"a.$id": 1}, [{"a": DBRef("c", 1)}, {"a": [DBRef("c", 1)]}], [{"a": DBRef("c", 2)}]),
    ({"a": {"$elemMatch": {"$ref": "c", "$id": 1}}}, [{"a": [DBRef("c", 1)]}], [{"a": [DBRef("c", 2)]}]),
    ({"": 1}, [{"": 1}], [{}]),
    # paths
    ({"a.b": 1}, [{"a": {"b": 1}}, {"a": [{"b": 2}, {"b": 1}]}, {"a": [{"b": [1]}]}], [{"a": [[{"b": 1}]]}, {"a.b": 1}, {"a": 1}]),
    ({"a.0": 1}, [{"a": [1, 2]}, {"a": {"0": 1}}, {"a": [{"0": 1}]}], [{"a": [2, 1]}, {"a": [[1]]}, {"a": 1}]),
    ({"a.0.b": 1}, [{"a": [{"b": 1}]}, {"a": [[{"b": 1}]]}], [{"a": [{}, {"b": 1}]}]),
    ({"a.1.0": 5}, [{"a": [0, [5]]}], [{"a": [[5]]}]),
    ({"a.01": 1}, [{"a": {"01": 1}}], [{"a": [0, 1]}]),
    ({"a.b.c": 1}, [{"a": [{"b": [{"c": 1}]}]}, {"a": {"b": [{"c": [1]}]}}], [{"a": {"b": {"c": 2}}}]),
    # null where arrays are on the way
    ({"a.b": None}, [{}, {"a": 4}, {"a": {}}, {"a": None}, {"a": [{"b": 3}, {}]}, {"a": [{"b": None}]}], [{"a": []}, {"a": [[]]}, {"a": [1, "x"]}, {"a": [None]}, {"a": [{"b": 1}]}, {"a": {"b": 1}}]),
    ({"a.b": {"$ne": None}}, [{"a": []}, {"a": [1]}, {"a": {"b": 1}}], [{}, {"a": 4}, {"a": [{}]}]),
    ({"a.b": {"$in": [None, 75]}}, [{"a": {"b": 75}}, {}], [{"a": []}, {"a": {"b": 1}}]),
    # $jsonSchema
    ({"$jsonSchema": {"required": ["a"], "properties": {"a": {"bsonType": "int", "minimum": 2}}}}, [{"a": 2}], [{}, {"a": 1}, {"a": 2.5}]),
    ({"$jsonSchema": {}}, [{}], []),
    ({"$jsonSchema": {"title": "t", "description": "d"}}, [{}], []),
    ({"$jsonSchema": {"properties": {"a": {"type": ["string", "null"]}}}}, [{"a": "x"}, {"a": None}, {}], [{"a": 1}]),
    ({"$jsonSchema": {"properties": {"a": {"type": "number"}}}}, [{"a": Decimal128("1")}], [{"a": "x"}]),
    ({"$jsonSchema": {"properties": {"a": {"enum": [1, "x", {"b": 1}]}}}}, [{"a": 1.0}, {"a": {"b": 1}}], [{"a": 2}]),
    ({"$jsonSchema": {"properties": {"a": {"maximum": 5, "exclusiveMaximum": True}}}}, [{"a": 4}, {"a": "x"}], [{"a": 5}]),
    ({"$jsonSchema": {"properties": {"a": {"minimum": 5, "exclusiveMinimum": False}}}}, [{"a": 5}], [{"a": 4}]),
    ({"$jsonSchema": {"properties": {"a": {"multipleOf": 0.1}}}}, [{"a": 0.3}, {"a": "x"}], [{"a": 0.35}, {"a": float("inf")}]),
    ({"$jsonSchema": {"properties": {"a": {"minLength": 2, "maxLength": 3, "pattern": "^x"}}}}, [{"a": "xy"}, {"a": 5}], [{"a": "x"}, {"a": "xyzz"}, {"a": "yx"}]),
    ({"$jsonSchema": {"properties": {"a": {"minItems": 1, "maxItems": 2, "uniqueItems": True}}}}, [{"a": [1]}, {"a": 1}], [{"a": []}, {"a": [1, 2, 3]}, {"a": [1, 1.0]}]),
    ({"$jsonSchema": {"properties": {"a": {"uniqueItems": False}}}}, [{"a": [1, 1]}], []),
    ({"$jsonSchema": {"properties": {"a": {"items": {"bsonType": "string"}}}}}, [{"a": ["x"]}, {"a": []}], [{"a": ["x", 1]}]),
    ({"$jsonSchema": {"properties": {"a": {"items": [{"bsonType": "string"}], "additionalItems": False}}}}, [{"a": ["x"]}, {"a": []}], [{"a": ["x", 1]}, {"a": [1]}]),
    ({"$jsonSchema": {"properties": {"a": {"items": {}, "additionalItems": False}}}}, [{"a": [1, 2]}], []),
    ({"$jsonSchema": {"minProperties": 1, "maxProperties": 2}}, [{"a": 1}], [{}, {"a": 1, "b": 1, "c": 1}]),
    ({"$jsonSchema": {"properties": {"a": {}}, "patternProperties": {"^x": {"bsonType": "int"}}, "additionalProperties": False}}, [{"a": "q", "x1": 1}], [{"b": 1}, {"x1": "q"}]),
    ({"$jsonSchema": {"additionalProperties": {"bsonType": "int"}}}, [{"a": 1}], [{"a": "x"}]),
    ({"$jsonSchema": {"allOf": [{"required": ["a"]}, {"required": ["b"]}]}}, [{"a": 1, "b": 1}], [{"a": 1}]),
    ({"$jsonSchema": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}}, [{"a": 1}], [{}]),
    ({"$jsonSchema": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}}, [{"a": 1}], [{"a": 1, "b": 1}, {}]),
    ({"$jsonSchema": {"not": {"required": ["a"]}}}, [{}], [{"a": 1}]),
    ({"$jsonSchema": {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}}, [{"a": 1, "b": 1}, {"c": 1, "d": 1}, {}], [{"a": 1}, {"c": 1}]),
]  # fmt: skip


def sides() -> list[Any]:
    return [
        pytest.param(
            spec, document, expected, id=f"{spec} {'matches' if expected else 'leaves'} {document}"[:110]
        )
        for spec, good, bad in CASES
        for expected, group in ((True, good), (False, bad))
        for document in group
    ]


@pytest.mark.parametrize(("spec", "document", "expected"), sides())
def test_filter(spec: Document, document: Document, expected: bool) -> None:
    before = copy.deepcopy((spec, document))
    assert compile_filter(spec)(document) is expected
    assert (spec, document) == before or "nan" in str(before)


def test_conditions_on_one_path_may_hold_by_different_elements() -> None:
    matches = compile_filter({"a": {"$gt": 5, "$lt": 3}})
    assert matches({"a": [1, 9]})
    assert not matches({"a": 4})


@pytest.mark.parametrize(
    ("spec", "document", "expected"),
    [
        ({"a": 2}, {"a": [1, 2]}, 1),
        ({"a": 2}, {"a": 2}, None),
        ({"a.b": 2}, {"a": [{"b": 1}, {"b": [2, 2]}]}, 1),
        ({"a.b": 2}, {"a": {"b": [5, 2]}}, 1),
        ({"a.1.b": 2}, {"a": [0, {"b": [5, 2]}]}, 1),
        ({"a.0": 5}, {"a": [5]}, None),
        ({"a": {"$elemMatch": {"b": 2}}}, {"a": [{"b": 1}, {"b": 2}]}, 1),
        ({"a": {"$elemMatch": {"$gt": 1}}}, {"a": [1, 2]}, 1),
        ({"a": 1, "b": 2}, {"a": [0, 1], "b": [2]}, 0),
        ({"a": 1, "b": 2}, {"a": [0, 1], "b": 2}, 1),
        ({"$or": [{"a": 9}, {"b": 2}]}, {"a": [0], "b": [1, 1, 2]}, 2),
        ({"$and": [{"a": 1}]}, {"a": [0, 1]}, 1),
        ({"$nor": [{"a": 9}]}, {"a": [1]}, None),
        ({"a": {"$ne": 9}}, {"a": [1]}, None),
        ({"a": {"$in": [7]}}, {"a": [1, 7]}, 1),
        ({"a": {"$all": [1, 2]}}, {"a": [2, 1]}, 0),
        ({"a": {"$gt": 1, "$lt": 9}}, {"a": [1, 5]}, 0),
        ({"a": Regex("x")}, {"a": ["y", "x"]}, 1),
        ({"a.b.c": 1}, {"a": [{"b": []}, {"b": [{"c": 0}, {"c": 1}]}]}, 1),
        ({"a.0.0.b": 1}, {"a": [[{"b": [3, 1]}]]}, 1),
        ({}, {"a": [1]}, None),
    ],
    ids=str,
)
def test_position(spec: Document, document: Document, expected: int | None) -> None:
    assert compile_filter(spec)(document)
    assert compile_position(spec)(document) == expected


def test_element() -> None:
    assert compile_element({"b": 1})({"b": 1})
    assert compile_element({"$gt": 1})(2)
    assert not compile_element({"$gt": 1})([2])


@settings(max_examples=500)
@given(values, values)
def test_ranges_agree_with_the_order(value: Any, target: Any) -> None:
    same_class = order_key(value)[0] == order_key(target)[0]
    numbers = {CLASSES["number"]}
    nan = same_class and order_key(value)[0] in numbers and "NaN" in f"{order_key(value)}{order_key(target)}"
    if type(target).__name__ in {"Regex", "MinKey", "MaxKey"} or nan:
        return
    found = compare(value, target)
    expected = {"$gt": found > 0, "$gte": found >= 0, "$lt": found < 0, "$lte": found <= 0, "$eq": found == 0}
    for name, answer in expected.items():
        test = compile_element({name: target})
        assert test(value) is (same_class and answer), name


@given(documents, documents)
def test_a_document_matches_itself_as_a_filter(document: Document, other: Document) -> None:
    spec = {"$and": [{key: {"$eq": value}} for key, value in document.items()]} if document else {}
    assert compile_filter(spec)({**other, **document})
    negated = {"$nor": [spec]}
    assert not compile_filter(negated)({**other, **document})
