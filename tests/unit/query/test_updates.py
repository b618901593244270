"""What updates make of a document, operator by operator; the rules are the MongoDB manual's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from bson import DBRef, Decimal128, Int64, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given

from stilldb.query.errors import MongoError
from stilldb.query.update import compile_update, is_replacement, upsert_document
from stilldb.query.values import Document, encode
from support.bsonvalues import documents, values

# The change, the document before, the document after.
CASES: list[tuple[Document, Document, Document]] = [
    ({"$set": {"a": 1}}, {"_id": 1}, {"_id": 1, "a": 1}),
    ({"$set": {"b": 1, "a": 2}}, {}, {"a": 2, "b": 1}),
    ({"$set": {"10": 1, "9": 2, "a": 3}}, {}, {"9": 2, "10": 1, "a": 3}),
    ({"$set": {"a.b": 1}}, {}, {"a": {"b": 1}}),
    ({"$set": {"a.b": 1, "a.c": 2}}, {"a": {"c": 0, "d": 0}}, {"a": {"c": 2, "d": 0, "b": 1}}),
    ({"$set": {"a": 1}}, {"x": 0, "a": 0, "y": 0}, {"x": 0, "a": 1, "y": 0}),
    ({"$set": {"a.1": 9}}, {"a": [1, 2]}, {"a": [1, 9]}),
    ({"$set": {"a.3": 9}}, {"a": [1]}, {"a": [1, None, None, 9]}),
    ({"$set": {"a.1.b": 9}}, {"a": [1]}, {"a": [1, {"b": 9}]}),
    ({"$set": {"a.0.b": 9}}, {}, {"a": {"0": {"b": 9}}}),
    ({"$set": {"a.b.c": {"d": 1}}}, {"a": {}}, {"a": {"b": {"c": {"d": 1}}}}),
    ({"$set": {"_id": 1}}, {"_id": 1}, {"_id": 1}),
    ({"$set": {"r.$id": 2}}, {"r": DBRef("c", 1)}, {"r": {"$ref": "c", "$id": 2}}),
    ({"$set": {}}, {"a": 1}, {"a": 1}),
    ({"$setOnInsert": {"a": 1}}, {"_id": 1}, {"_id": 1}),
    ({"$unset": {"a": ""}}, {"a": 1, "b": 2}, {"b": 2}),
    ({"$unset": {"a.b": 1}}, {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
    ({"$unset": {"a.0": 1}}, {"a": [1, 2]}, {"a": [None, 2]}),
    ({"$unset": {"a.9": 1}}, {"a": [1, 2]}, {"a": [1, 2]}),
    ({"$unset": {"a.b": 1}}, {"a": 5}, {"a": 5}),
    ({"$unset": {"a.b": 1}}, {"a": [1]}, {"a": [1]}),
    ({"$unset": {"a.b.c": 1}}, {}, {}),
    ({"$inc": {"a": 2}}, {"a": 1}, {"a": 3}),
    ({"$inc": {"a": 2}}, {}, {"a": 2}),
    ({"$inc": {"a": 1}}, {"a": 2**31 - 1}, {"a": Int64(2**31)}),
    ({"$inc": {"a": Int64(1)}}, {"a": 1}, {"a": Int64(2)}),
    ({"$inc": {"a": 1.5}}, {"a": 1}, {"a": 2.5}),
    ({"$inc": {"a": 1}}, {"a": Decimal128("0.1")}, {"a": Decimal128("1.1")}),
    ({"$inc": {"a": Decimal128("0.1")}}, {"a": 0.2}, {"a": Decimal128("0.3")}),
    ({"$inc": {"a.b": -1}}, {"a": {"b": 1}}, {"a": {"b": 0}}),
    ({"$mul": {"a": 3}}, {"a": 2}, {"a": 6}),
    ({"$mul": {"a": 3}}, {}, {"a": 0}),
    ({"$mul": {"a": 3.0}}, {}, {"a": 0.0}),
    ({"$mul": {"a": Int64(3)}}, {}, {"a": Int64(0)}),
    ({"$mul": {"a": Decimal128("3")}}, {}, {"a": Decimal128("0")}),
    ({"$mul": {"a": 2**20}}, {"a": 2**20}, {"a": Int64(2**40)}),
    ({"$mul": {"a": 0.5}}, {"a": 3}, {"a": 1.5}),
    ({"$min": {"a": 1}}, {"a": 2}, {"a": 1}),
    ({"$min": {"a": 3}}, {"a": 2}, {"a": 2}),
    ({"$min": {"a": 3}}, {}, {"a": 3}),
    ({"$min": {"a": 1}}, {"a": "x"}, {"a": 1}),
    ({"$max": {"a": 3}}, {"a": 2}, {"a": 3}),
    ({"$max": {"a": 3}}, {"a": "x"}, {"a": "x"}),
    ({"$max": {"a": 2.0}}, {"a": 2}, {"a": 2}),
    ({"$rename": {"a": "b"}}, {"a": 1, "c": 2}, {"c": 2, "b": 1}),
    ({"$rename": {"a": "b"}}, {"a": 1, "b": 2, "c": 3}, {"b": 1, "c": 3}),
    ({"$rename": {"a": "b.c"}}, {"a": 1}, {"b": {"c": 1}}),
    ({"$rename": {"a.b": "c"}}, {"a": {"b": 1}}, {"a": {}, "c": 1}),
    ({"$rename": {"x": "b"}}, {"b": 2}, {"b": 2}),
    ({"$push": {"a": 1}}, {}, {"a": [1]}),
    ({"$push": {"a": [1, 2]}}, {"a": [0]}, {"a": [0, [1, 2]]}),
    ({"$push": {"a": {"b": 1}}}, {"a": []}, {"a": [{"b": 1}]}),
    ({"$push": {"a": {"$each": [1, 2]}}}, {"a": [0]}, {"a": [0, 1, 2]}),
    ({"$push": {"a": {"$each": []}}}, {}, {"a": []}),
    ({"$push": {"a": {"$each": [8, 9], "$position": 1}}}, {"a": [1, 2]}, {"a": [1, 8, 9, 2]}),
    ({"$push": {"a": {"$each": [9], "$position": 99}}}, {"a": [1, 2]}, {"a": [1, 2, 9]}),
    ({"$push": {"a": {"$each": [9], "$position": -1}}}, {"a": [1, 2]}, {"a": [1, 9, 2]}),
    ({"$push": {"a": {"$each": [9], "$position": -5}}}, {"a": [1, 2]}, {"a": [9, 1, 2]}),
    ({"$push": {"a": {"$each": [5], "$slice": 2}}}, {"a": [1, 2, 3]}, {"a": [1, 2]}),
    ({"$push": {"a": {"$each": [5], "$slice": -2}}}, {"a": [1, 2, 3]}, {"a": [3, 5]}),
    ({"$push": {"a": {"$each": [5], "$slice": 0}}}, {"a": [1]}, {"a": []}),
    ({"$push": {"a": {"$each": [2], "$sort": -1}}}, {"a": [1, 3]}, {"a": [3, 2, 1]}),
    ({"$push": {"a": {"$each": [], "$sort": 1}}}, {"a": ["x", 3, None]}, {"a": [None, 3, "x"]}),
    (
        {"$push": {"a": {"$each": [{"s": 2}], "$sort": {"s": 1, "t": -1}, "$slice": -2}}},
        {"a": [{"s": 3}, {"s": 2, "t": 5}, 7]},
        {"a": [{"s": 2}, {"s": 3}]},
    ),
    ({"$push": {"a": {"$each": [{"b": {"c": 1}}], "$sort": {"b.c": 1}}}}, {"a": [{"b": {"c": 2}}]}, {"a": [{"b": {"c": 1}}, {"b": {"c": 2}}]}),
    ({"$addToSet": {"a": 1}}, {"a": [1.0]}, {"a": [1.0]}),
    ({"$addToSet": {"a": 1}}, {"a": [2]}, {"a": [2, 1]}),
    ({"$addToSet": {"a": [1]}}, {"a": [1]}, {"a": [1, [1]]}),
    ({"$addToSet": {"a": {"x": 1, "y": 2}}}, {"a": [{"y": 2, "x": 1}]}, {"a": [{"y": 2, "x": 1}, {"x": 1, "y": 2}]}),
    ({"$addToSet": {"a": {"$each": [1, 2, 2]}}}, {"a": [1]}, {"a": [1, 2]}),
    ({"$addToSet": {"a": {"$each": [1, 1]}}}, {}, {"a": [1]}),
    ({"$addToSet": {"a": {"$each": []}}}, {}, {"a": []}),
    ({"$pop": {"a": 1}}, {"a": [1, 2]}, {"a": [1]}),
    ({"$pop": {"a": -1}}, {"a": [1, 2]}, {"a": [2]}),
    ({"$pop": {"a": 1.0}}, {"a": []}, {"a": []}),
    ({"$pop": {"a.b": 1}}, {}, {}),
    ({"$pull": {"a": 1}}, {"a": [1, 2, 1.0]}, {"a": [2]}),
    ({"$pull": {"a": {"$gt": 1}}}, {"a": [1, 2, 3, "x"]}, {"a": [1, "x"]}),
    ({"$pull": {"a": {"$in": [1, "x"]}}}, {"a": [1, 2, "x"]}, {"a": [2]}),
    ({"$pull": {"a": {"b": 1}}}, {"a": [{"b": 1, "c": 2}, {"b": 2}, 1]}, {"a": [{"b": 2}, 1]}),
    ({"$pull": {"a": {"b": {"$gte": 2}, "c": 1}}}, {"a": [{"b": 2, "c": 1}, {"b": 2}]}, {"a": [{"b": 2}]}),
    ({"$pull": {"a": {"b": {"$elemMatch": {"c": 1}}}}}, {"a": [{"b": [{"c": 1}]}, {"b": []}]}, {"a": [{"b": []}]}),
    ({"$pull": {"a": {"$elemMatch": {"$eq": 1}}}}, {"a": [[1], [2]]}, {"a": [[2]]}),
    ({"$pull": {"a": {"$or": [{"b": 1}, {"b": 2}]}}}, {"a": [{"b": 1}, {"b": 3}]}, {"a": [{"b": 3}]}),
    ({"$pull": {"a": Regex("^x")}}, {"a": ["xa", "ax", 1]}, {"a": ["ax", 1]}),
    ({"$pull": {"a": [1, 2]}}, {"a": [[1, 2], [2, 1], 1]}, {"a": [[2, 1], 1]}),
    ({"$pull": {"a": None}}, {"a": [None, 1]}, {"a": [1]}),
    ({"$pull": {"a": 1}}, {}, {}),
    ({"$pull": {"a.b": 1}}, {"a": 1}, {"a": 1}),
    ({"$pullAll": {"a": [1, "x"]}}, {"a": [1, 2, "x", 1.0]}, {"a": [2]}),
    ({"$pullAll": {"a": [{"b": 1}]}}, {"a": [{"b": 1}, {"b": 1, "c": 1}]}, {"a": [{"b": 1, "c": 1}]}),
    ({"$bit": {"a": {"and": 6}}}, {"a": 3}, {"a": 2}),
    ({"$bit": {"a": {"or": 4, "xor": 1}}}, {"a": 1}, {"a": 4}),
    ({"$bit": {"a": {"or": Int64(4)}}}, {"a": 1}, {"a": Int64(5)}),
    ({"$bit": {"a": {"or": 5}}}, {}, {"a": 5}),
    ({"$set": {"a.$[].b": 0}}, {"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 0}, {"b": 0}]}),
    ({"$inc": {"a.$[]": 1}}, {"a": [1, 2]}, {"a": [2, 3]}),
    ({"$inc": {"a.$[].$[]": 1}}, {"a": [[1], [2, 3]]}, {"a": [[2], [3, 4]]}),
    ({"$set": {"a.$[]": 0}}, {"a": []}, {"a": []}),
    ({"$unset": {"a.$[].b": 0}}, {"a": [{"b": 1}, {}]}, {"a": [{}, {}]}),
    ({"$inc": {"a": 1}, "$set": {"b": 2}, "$push": {"c": 3}}, {"a": 1}, {"a": 2, "b": 2, "c": [3]}),
    ({"b": 1}, {"_id": 5, "a": 1}, {"_id": 5, "b": 1}),
    ({"b": 1, "_id": 5.0}, {"_id": 5, "a": 1}, {"_id": 5.0, "b": 1}),
    ({}, {"_id": 5, "a": 1}, {"_id": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "before", "after"), CASES, ids=lambda item: str(item)[:70])
def test_update(change: Document, before: Document, after: Document) -> None:
    kept = copy.deepcopy((change, before))
    update = compile_update(change)
    for _ in range(2):
        assert encode(update.apply(before)) == encode(after)
    assert (change, before) == kept, "what an update is given stays as it was"


POSITIONS: list[tuple[Document, Document, list[Document], Document, Document]] = [
    ({"a": 2}, {"$set": {"a.$": 9}}, [], {"a": [1, 2, 2]}, {"a": [1, 9, 2]}),
    ({"a.b": 2}, {"$set": {"a.$.c": 9}}, [], {"a": [{}, {"b": 2}]}, {"a": [{}, {"b": 2, "c": 9}]}),
    ({"a": {"$elemMatch": {"b": 1, "c": 2}}}, {"$unset": {"a.$.b": 1}}, [], {"a": [{"b": 1}, {"b": 1, "c": 2}]}, {"a": [{"b": 1}, {"c": 2}]}),
    ({"a": {"$gt": 1}}, {"$inc": {"a.$": 10}, "$set": {"z": 1}}, [], {"a": [1, 5]}, {"a": [1, 15], "z": 1}),
    ({"a": 1}, {"$push": {"b.$": 1}}, [], {"a": [0, 1], "b": [[], []]}, {"a": [0, 1], "b": [[], [1]]}),
    ({}, {"$set": {"a.$[x]": 0}}, [{"x": {"$gte": 2}}], {"a": [1, 2, 3]}, {"a": [1, 0, 0]}),
    ({}, {"$set": {"a.$[x].b": 0}}, [{"x.c": 1}], {"a": [{"c": 1}, {"c": 2}]}, {"a": [{"c": 1, "b": 0}, {"c": 2}]}),
    ({}, {"$inc": {"a.$[x].b.$[y]": 1}}, [{"x.c": 1}, {"y": {"$gt": 1}}], {"a": [{"c": 1, "b": [1, 2]}, {"c": 2, "b": [5]}]}, {"a": [{"c": 1, "b": [1, 3]}, {"c": 2, "b": [5]}]}),
    ({}, {"$set": {"a.$[x].v": 1, "a.$[y].w": 2}}, [{"x.k": 1}, {"y.l": 1}], {"a": [{"k": 1, "l": 1}]}, {"a": [{"k": 1, "l": 1, "v": 1, "w": 2}]}),
    ({}, {"$set": {"a.$[x].v": 1}}, [{"$or": [{"x.k": 1}, {"x.k": 2}]}], {"a": [{"k": 1}, {"k": 2}, {"k": 3}]}, {"a": [{"k": 1, "v": 1}, {"k": 2, "v": 1}, {"k": 3}]}),
    ({}, {"$set": {"a.$[x]": 1}}, [{"x": 9}], {"a": []}, {"a": []}),
    ({"a": 2}, {"$set": {"a.$": 9, "a.0": 8}}, [], {"a": [1, 2]}, {"a": [8, 9]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "change", "filters", "before", "after"), POSITIONS, ids=lambda item: str(item)[:60]
)
def test_positions(
    spec: Document, change: Document, filters: list[Document], before: Document, after: Document
) -> None:
    kept = copy.deepcopy(before)
    assert compile_update(change, filters, filter_spec=spec).apply(before) == after
    assert before == kept


@pytest.mark.parametrize(
    ("spec", "change", "expected"),
    [
        ({"a": 1}, {"$set": {"b": 2}}, {"a": 1, "b": 2}),
        ({"a": 1}, {"$setOnInsert": {"b": 2}}, {"a": 1, "b": 2}),
        ({"a": 1}, {"$inc": {"a": 2}}, {"a": 3}),
        ({"_id": 7, "a": 1}, {"b": 2}, {"_id": 7, "b": 2}),
        ({"a": 1}, {"b": 2}, {"b": 2}),
        ({"a": 1}, {"b": 2, "_id": 3}, {"_id": 3, "b": 2}),
        ({"a": {"$gt": 1}}, {"$set": {"_id": 3}}, {"_id": 3}),
        ({"_id": 3}, {"$set": {"_id": 3, "b": 1}}, {"_id": 3, "b": 1}),
        ({"a": [1]}, {"$push": {"a": 2}}, {"a": [1, 2]}),
    ],
    ids=str,
)
def test_inserting(spec: Document, change: Document, expected: Document) -> None:
    assert compile_update(change, filter_spec=spec).insert(upsert_document(spec)) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {}),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
        ({"a": {"$eq": 1}}, {"a": 1}),
        ({"a": None}, {"a": None}),
        ({"a": {"$gt": 1}, "b": {"$in": [1, 2]}, "c": {"$exists": True}}, {}),
        ({"a": {"$in": [5]}}, {"a": 5}),
        ({"a": {"$all": [5]}}, {"a": 5}),
        ({"a.b": 1, "a.c": 2}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"$and": [{"a": 1}, {"b": {"$eq": 2}}]}, {"a": 1, "b": 2}),
        ({"$or": [{"a": 1}]}, {"a": 1}),
        ({"$or": [{"a": 1}, {"b": 2}], "c": 3}, {"c": 3}),
        ({"a": Regex("x"), "b": {"$not": {"$eq": 1}}, "c": {"$ne": 1}}, {}),
        ({"a": {"$elemMatch": {"b": 1}}, "$nor": [{"b": 1}]}, {}),
        ({"a": {"$eq": Regex("x")}}, {"a": Regex("x")}),
        ({"a": DBRef("c", 1)}, {"a": DBRef("c", 1)}),
        ({"$comment": "x", "a.0": 1}, {"a": {"0": 1}}),
    ],
    ids=str,
)
def test_upsert_documents(spec: Document, expected: Document) -> None:
    found = upsert_document(spec)
    assert found == expected
    assert list(found) == list(expected)


def test_current_date() -> None:
    update = compile_update(
        {"$currentDate": {"a": True, "b": {"$type": "date"}, "c.d": {"$type": "timestamp"}}}
    )
    found = update.apply({})
    assert type(found["a"]) is DatetimeMS
    assert found["a"] == found["b"]
    assert type(found["c"]["d"]) is Timestamp
    assert found["c"]["d"].time == int(found["a"]) // 1000


def test_replacements_are_told_apart() -> None:
    assert is_replacement({})
    assert is_replacement({"a": 1})
    assert not is_replacement({"$set": {}})


@given(documents, values, values)
def test_set_then_unset_leaves_the_rest(document: Document, value: Any, other: Any) -> None:
    before = encode(document)
    made = compile_update({"$set": {"x": value, "y.z": other}}).apply(document)
    assert encode(made) == encode({**document, "x": value, "y": {"z": other}})
    back = compile_update({"$unset": {"x": 1, "y": 1}}).apply(made)
    assert encode(back) == before == encode(document)


@given(documents, values)
def test_min_and_max_meet(document: Document, value: Any) -> None:
    low = compile_update({"$min": {"a": value}}).apply(document)["a"]
    high = compile_update({"$max": {"a": value}}).apply({**document, "a": low})["a"]
    assert encode({"v": high}) in {encode({"v": value}), encode({"v": low})}


def test_large_arrays_are_copied_once() -> None:
    document = {"a": [{"b": i} for i in range(20_000)]}
    made = compile_update({"$inc": {"a.$[].b": 1}}).apply(document)
    assert [item["b"] for item in made["a"][:3]] == [1, 2, 3]
    assert document["a"][0] == {"b": 0}


ERRORS: list[tuple[Document, Document, int, str]] = [
    ({"$set": {"a.b": 1}}, {"a": 5}, 28, "Cannot create field 'b' in element {a: 5}"),
    ({"$set": {"a.b": 1}}, {"a": None}, 28, "Cannot create field 'b' in element {a: null}"),
    ({"$set": {"a.b": 1}}, {"a": [1]}, 28, "Cannot create field 'b' in element {a: [ 1 ]}"),
    ({"$set": {"a.b.c": 1}}, {"a": {"b": "x"}}, 28, "Cannot create field 'c' in element {b: \"x\"}"),
    ({"$set": {"a.2000000": 1}}, {"a": []}, 34, "can't backfill more than 1500000 elements"),
    ({"$set": {"_id": 2}}, {"_id": 1}, 66, "would modify the immutable field '_id'"),
    ({"$unset": {"_id": 1}}, {"_id": 1}, 66, "immutable field '_id'"),
    ({"$set": {"_id.a": 2}}, {"_id": {"a": 1}}, 66, "immutable field '_id'"),
    ({"$rename": {"_id": "x"}}, {"_id": 1}, 66, "immutable field '_id'"),
    ({"_id": 2}, {"_id": 1}, 66, "was found to have been altered to _id: 2"),
    ({"$inc": {"a": 1}}, {"_id": 1, "a": "x"}, 14, "Cannot apply $inc to a value of non-numeric type. {_id: 1} has the field 'a' of non-numeric type string"),
    ({"$mul": {"a": 1}}, {"a": None}, 14, "Cannot apply $mul to a value of non-numeric type"),
    ({"$inc": {"a": 1}}, {"a": Int64(2**63 - 1)}, 2, "Failed to apply $inc operations to current value ((NumberLong)9223372036854775807)"),
    ({"$push": {"a": 1}}, {"_id": 1, "a": 5}, 2, "The field 'a' must be an array but is of type int in document {_id: 1}"),
    ({"$addToSet": {"a": 1}}, {"a": 5}, 2, "Cannot apply $addToSet to non-array field. Field named 'a' has non-array type int"),
    ({"$pop": {"a": 1}}, {"a": 5}, 14, "Path 'a' contains an element of non-array type 'int'"),
    ({"$pop": {"a.b": 1}}, {"a": "x"}, 28, "Cannot use the part (b) of (a.b) to traverse the element ({a: \"x\"})"),
    ({"$pull": {"a": 1}}, {"a": 5}, 2, "Cannot apply $pull to a non-array value"),
    ({"$pullAll": {"a": [1]}}, {"a": 5}, 2, "Cannot apply $pull to a non-array value"),
    ({"$bit": {"a": {"or": 1}}}, {"_id": 1, "a": 1.5}, 2, "Cannot apply $bit to a value of non-integral type.{_id: 1} has the field a of non-integer type double"),
    ({"$rename": {"a.0": "b"}}, {"_id": 1, "a": [1]}, 2, "The source field cannot be an array element, 'a.0' in doc with _id: 1 has an array field called 'a'"),
    ({"$rename": {"b": "a.0"}}, {"_id": 1, "a": [1], "b": 2}, 2, "The destination field cannot be an array element, 'a.0'"),
    ({"$rename": {"a.b": "c"}}, {"a": 1}, 28, "Cannot use the part (b) of (a.b)"),
    ({"$set": {"a.$": 1}}, {"a": [1]}, 2, "The positional operator did not find the match needed from the query."),
    ({"$set": {"a.$[]": 1}}, {"a": 5}, 2, "Cannot apply array updates to non-array element a: 5"),
    ({"$set": {"a.$[]": 1}}, {}, 2, "The path 'a' must exist in the document in order to apply array updates."),
]  # fmt: skip


@pytest.mark.parametrize(("change", "document", "code", "words"), ERRORS, ids=lambda item: str(item)[:60])
def test_errors_of_documents(change: Document, document: Document, code: int, words: str) -> None:
    update = compile_update(change)
    with pytest.raises(MongoError) as caught:
        update.apply(document)
    assert caught.value.code == code
    assert words in caught.value.message


def test_an_id_from_the_filter_is_immutable_too() -> None:
    with pytest.raises(MongoError) as caught:
        compile_update({"$set": {"_id": 2}}).insert(upsert_document({"_id": 1}))
    assert caught.value.code == 66


MALFORMED: list[tuple[Any, list[Any], int, str]] = [
    ({"$foo": {"a": 1}}, [], 9, "Unknown modifier: $foo."),
    ({"$set": {"a": 1}, "b": 2}, [], 9, "Unknown modifier: b."),
    ({"b": 2, "$set": {"a": 1}}, [], 52, "The dollar ($) prefixed field '$set'"),
    ({"$set": 1}, [], 9, "Modifiers operate on fields but we found type int instead"),
    ({"$set": {"": 1}}, [], 56, "An empty update path is not valid."),
    ({"$set": {"a.": 1}}, [], 56, "contains an empty field name"),
    ({"$set": {"a..b": 1}}, [], 56, "contains an empty field name"),
    ({"$set": {"$a": 1}}, [], 52, "The dollar ($) prefixed field '$a' in '$a'"),
    ({"$set": {"a.$b": 1}}, [], 52, "The dollar ($) prefixed field '$b' in 'a.$b'"),
    ({"$set": {"$": 1}}, [], 2, "element in the first position in path '$'"),
    ({"$set": {"a.$.b.$": 1}}, [], 2, "Too many positional"),
    ({"$set": {"$[].a": 1}}, [], 2, "in the first position in path '$[].a'"),
    ({"$set": {"a": 1}, "$inc": {"a": 1}}, [], 40, "Updating the path 'a' would create a conflict at 'a'"),
    ({"$set": {"a.b": 1, "a": 1}}, [], 40, "Updating the path 'a' would create a conflict at 'a'"),
    ({"$set": {"a": 1, "a.b": 1}}, [], 40, "Updating the path 'a.b' would create a conflict at 'a'"),
    ({"$set": {"b": 1}, "$rename": {"a": "b"}}, [], 40, "conflict at 'b'"),
    ({"$set": {"a": 1}, "$rename": {"a": "b"}}, [], 40, "conflict at 'a'"),
    ({"$set": {"a.$[].b": 1, "a.0": 1}}, [], 40, "conflict at 'a'"),
    ({"$setOnInsert": {"a": 1}, "$set": {"a": 1}}, [], 40, "conflict at 'a'"),
    ({"$inc": {"a": "x"}}, [], 14, "Cannot increment with non-numeric argument: {a: \"x\"}"),
    ({"$mul": {"a": True}}, [], 14, "Cannot multiply with non-numeric argument"),
    ({"$currentDate": {"a": 1}}, [], 2, "int is not valid type for $currentDate"),
    ({"$currentDate": {"a": {"$type": "x"}}}, [], 2, "The '$type' string field is required"),
    ({"$currentDate": {"a": {"x": 1}}}, [], 2, "Unrecognized $currentDate option: x"),
    ({"$rename": {"a": 1}}, [], 2, "The 'to' field for $rename must be a string: a: 1"),
    ({"$rename": {"a": "a"}}, [], 2, "must differ"),
    ({"$rename": {"a": "a.b"}}, [], 2, "must not be on the same path"),
    ({"$rename": {"a.$": "b"}}, [], 2, "The source field for $rename may not be dynamic: a.$"),
    ({"$rename": {"a": "b.$[]"}}, [], 2, "The destination field for $rename may not be dynamic"),
    ({"$rename": {"a": "b\0"}}, [], 2, "embedded null byte"),
    ({"$push": {"a": {"$each": 1}}}, [], 2, "The argument to $each in $push must be an array but it was of type: int"),
    ({"$push": {"a": {"$each": [], "$x": 1}}}, [], 2, "Unrecognized clause in $push: $x"),
    ({"$push": {"a": {"$each": [], "$slice": "x"}}}, [], 2, "The value for $slice must be an integer value but was given type: string"),
    ({"$push": {"a": {"$each": [], "$position": 1.5}}}, [], 2, "The value for $position must be an integer value, not of type: double"),
    ({"$push": {"a": {"$each": [], "$sort": 2}}}, [], 2, "The $sort element value must be either 1 or -1"),
    ({"$push": {"a": {"$each": [], "$sort": "x"}}}, [], 2, "The $sort is invalid"),
    ({"$push": {"a": {"$each": [], "$sort": {}}}}, [], 2, "The $sort pattern is empty"),
    ({"$push": {"a": {"$each": [], "$sort": {"": 1}}}}, [], 2, "The $sort field cannot be empty"),
    ({"$push": {"a": {"$each": [], "$sort": {"a.": 1}}}}, [], 2, "has an empty part: a."),
    ({"$addToSet": {"a": {"$each": 1}}}, [], 14, "The argument to $each in $addToSet must be an array"),
    ({"$addToSet": {"a": {"$each": [], "x": 1}}}, [], 2, "Found unexpected fields after $each in $addToSet"),
    ({"$pop": {"a": "x"}}, [], 9, "Expected a number in: a: \"x\""),
    ({"$pop": {"a": 1.5}}, [], 9, "Expected an integer: a: 1.5"),
    ({"$pop": {"a": 2}}, [], 9, "$pop expects 1 or -1, found: 2"),
    ({"$pull": {"a": {"$foo": 1}}}, [], 2, "unknown top level operator: $foo"),
    ({"$pullAll": {"a": 1}}, [], 2, "$pullAll requires an array argument but was given a int"),
    ({"$bit": {"a": 1}}, [], 2, "The $bit modifier is not compatible with a int"),
    ({"$bit": {"a": {}}}, [], 2, "at least one bitwise operation"),
    ({"$bit": {"a": {"not": 1}}}, [], 2, "not 'not' which is an unknown operator"),
    ({"$bit": {"a": {"and": 1.5}}}, [], 2, "a 'double' is not supported here: {and: 1.5}"),
    ({"$set": {"a.$[x]": 1}}, [], 2, "No array filter found for identifier 'x' in path 'a.$[x]'"),
    ({"$set": {"a": 1}}, [{"x": 1}], 9, "The array filter for identifier 'x' was not used"),
    ({"$set": {"a.$[x]": 1}}, [{"x": 1}, {"x": 2}], 9, "Found multiple array filters with the same top-level field name x"),
    ({"$set": {"a.$[x]": 1}}, [{"x": 1, "y": 2}], 9, "found 'x' and 'y'"),
    ({"$set": {"a.$[x]": 1}}, [{}], 9, "without a top-level field name"),
    ({"$set": {"a.$[X]": 1}}, [{"X": 1}], 2, "beginning with a lowercase letter, found 'X'"),
    ({"$set": {"a.$[x]": 1}}, [{"x": {"$foo": 1}}], 2, "unknown operator: $foo"),
    ({"$set": {"a.$[x]": 1}}, [1], 14, "must be a document"),
    ({"a": 1}, [{"x": 1}], 9, "arrayFilters may not be specified for replacement-style updates"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "filters", "code", "words"), MALFORMED, ids=lambda item: str(item)[:60].replace("\0", "0")
)
def test_malformed_updates(change: Any, filters: list[Any], code: int, words: str) -> None:
    with pytest.raises(MongoError) as caught:
        compile_update(change, filters)
    assert caught.value.code == code
    assert words in caught.value.message


def test_dynamic_paths_that_meet_conflict() -> None:
    update = compile_update({"$set": {"a.$": 1, "a.0": 2}}, filter_spec={"a": 1})
    with pytest.raises(MongoError) as caught:
        update.apply({"a": [1]})
    assert caught.value.code == 40


def test_a_replacement_is_not_for_many() -> None:
    with pytest.raises(MongoError, match="multi update is not supported for replacement-style update"):
        compile_update({"a": 1}, multi=True)


@pytest.mark.parametrize(
    ("spec", "words", "code"),
    [
        ({"a": 1, "$and": [{"a": 2}]}, "path 'a' is matched twice", 54),
        ({"a": {"b": 1}, "a.b": 1}, "both paths 'a.b' and 'a' are matched", 54),
        ({"a": {"$all": [1, 2]}}, "path 'a' is matched twice", 54),
        ({"$expr": True}, "$expr is not allowed in the query predicate for an upsert", 224),
    ],
    ids=str,
)
def test_upserts_that_say_too_much(spec: Document, words: str, code: int) -> None:
    with pytest.raises(MongoError) as caught:
        upsert_document(spec)
    assert caught.value.code == code
    assert words in caught.value.message
