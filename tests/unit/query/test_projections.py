"""What find's projections keep, and their errors; the rules are the MongoDB manual's."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stilldb.query.errors import MongoError
from stilldb.query.projection import compile_projection
from stilldb.query.values import Document

DOCUMENT: Document = {
    "_id": 1,
    "a": 2,
    "l": [1, 2, 3, 4],
    "o": {"x": 1, "y": {"z": 2}},
    "d": [{"k": 1, "v": [1, 2]}, {"k": 2, "v": [3, 4]}, 5],
}

CASES: list[tuple[Document, Document, Document]] = [
    ({}, {}, DOCUMENT),
    ({"a": 1}, {}, {"_id": 1, "a": 2}),
    ({"a": True, "_id": 0}, {}, {"a": 2}),
    ({"_id": 1}, {}, {"_id": 1}),
    ({"_id": 0, "d": 0, "l": False, "o": 0.0}, {}, {"a": 2}),
    ({"d": 0, "l": 0, "o": 0, "_id": 1}, {}, {"_id": 1, "a": 2}),
    ({"l": 1, "a": 1}, {}, {"_id": 1, "a": 2, "l": [1, 2, 3, 4]}),
    ({"o.y.z": 1}, {}, {"_id": 1, "o": {"y": {"z": 2}}}),
    ({"o": {"y": {"z": 1}}}, {}, {"_id": 1, "o": {"y": {"z": 2}}}),
    ({"o.y": 0, "l": 0, "d": 0}, {}, {"_id": 1, "a": 2, "o": {"x": 1}}),
    ({"d.k": 1}, {}, {"_id": 1, "d": [{"k": 1}, {"k": 2}]}),
    ({"d.k": 0, "l": 0, "o": 0, "a": 0}, {}, {"_id": 1, "d": [{"v": [1, 2]}, {"v": [3, 4]}, 5]}),
    ({"none": 1}, {}, {"_id": 1}),
    # $slice
    ({"a": 1, "l": {"$slice": 2}}, {}, {"_id": 1, "a": 2, "l": [1, 2]}),
    ({"d": 0, "o": 0, "l": {"$slice": -1}}, {}, {"_id": 1, "a": 2, "l": [4]}),
    ({"l": {"$slice": 1}}, {}, {**DOCUMENT, "l": [1]}),
    ({"l": {"$slice": 0}}, {}, {**DOCUMENT, "l": []}),
    ({"a": {"$slice": 1}}, {}, DOCUMENT),
    ({"_id": 0, "l": {"$slice": 1}, "d": 0}, {}, {"a": 2, "l": [1], "o": DOCUMENT["o"]}),
    ({"_id": 1, "l": {"$slice": 1}}, {}, {"_id": 1, "l": [1]}),
    ({"a": 1, "l": {"$slice": [1, 2]}}, {}, {"_id": 1, "a": 2, "l": [2, 3]}),
    ({"a": 1, "l": {"$slice": [-2, 1]}}, {}, {"_id": 1, "a": 2, "l": [3]}),
    ({"a": 1, "l": {"$slice": [-9, 2]}}, {}, {"_id": 1, "a": 2, "l": [1, 2]}),
    ({"a": 1, "l": {"$slice": [9, 2]}}, {}, {"_id": 1, "a": 2, "l": []}),
    ({"a": 1, "d.v": {"$slice": 1}}, {}, {"_id": 1, "a": 2, "d": [{"v": [1]}, {"v": [3]}]}),
    ({"a": 1, "d": {"v": {"$slice": 1}}}, {}, {"_id": 1, "a": 2, "d": [{"v": [1]}, {"v": [3]}]}),
    ({"l": {"$slice": ["$l", 2]}}, {}, {"_id": 1, "l": [1, 2]}),
    # $elemMatch
    ({"d": {"$elemMatch": {"k": 2}}}, {}, {"_id": 1, "d": [{"k": 2, "v": [3, 4]}]}),
    ({"l": {"$elemMatch": {"$gt": 2}}, "_id": 0}, {}, {"l": [3]}),
    ({"d": {"$elemMatch": {"k": 9}}}, {}, {"_id": 1}),
    ({"a": {"$elemMatch": {"$gt": 1}}}, {}, {"_id": 1}),
    ({"d": {"$elemMatch": {"k": 2}}, "a": 1}, {}, {"_id": 1, "a": 2, "d": [{"k": 2, "v": [3, 4]}]}),
    ({"d": {"$elemMatch": {"k": 2}}, "l": {"$slice": 1}}, {}, {"_id": 1, "l": [1], "d": [{"k": 2, "v": [3, 4]}]}),
    # positional
    ({"l.$": 1}, {"l": 3}, {"_id": 1, "l": [3]}),
    ({"l.$": 1, "a": 1}, {"l": {"$gt": 1}}, {"_id": 1, "a": 2, "l": [2]}),
    ({"d.$": 1}, {"d.k": 2}, {"_id": 1, "d": [{"k": 2, "v": [3, 4]}]}),
    ({"d.$": 1, "_id": 0}, {"d": {"$elemMatch": {"k": 1, "v": 2}}}, {"d": [{"k": 1, "v": [1, 2]}]}),
    ({"none.$": 1}, {"l": 1}, {"_id": 1}),
    ({"a.$": 1}, {"a": 2}, {"_id": 1, "a": 2}),
    # expressions
    ({"s": {"$add": ["$a", 1]}}, {}, {"_id": 1, "s": 3}),
    ({"a": "$o.x"}, {}, {"_id": 1, "a": 1}),
    ({"a": 1, "t": "text"}, {}, {"_id": 1, "a": 2, "t": "text"}),
    ({"t": ["$a", {"$literal": 1}]}, {}, {"_id": 1, "t": [2, 1]}),
    ({"_id": "$a"}, {}, {"_id": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "filter_spec", "expected"), CASES, ids=lambda item: str(item)[:60])
def test_projection(spec: Document, filter_spec: Document, expected: Document) -> None:
    before = copy.deepcopy(DOCUMENT)
    found = compile_projection(spec, filter_spec)(DOCUMENT)
    assert found == expected
    assert list(found) == list(expected)
    assert before == DOCUMENT


ERRORS: list[tuple[Any, int, str]] = [
    ({"a": 1, "b": 0}, 31254, "Cannot do exclusion on field b in inclusion projection"),
    ({"a": 0, "b": 1}, 31253, "Cannot do inclusion on field b in exclusion projection"),
    ({"a": 1, "a.b": 1}, 31250, "Path collision"),
    ({"a": 1, "a.$": 1}, 31250, "Path collision"),
    ({"a": {"$slice": 1}, "b": 1, "b.c": 1}, 31250, "Path collision"),
    ({"a": {}}, 51270, "An empty sub-projection is not a valid value"),
    ({"": 1}, 40352, "FieldPath cannot be constructed with empty string"),
    ({"a.": 1}, 40353, "FieldPath must not end with a '.'."),
    ({"$a": 1}, 16410, "FieldPath field names may not start with '$'"),
    ({"a": {"$foo": 1}}, 168, "Unrecognized expression '$foo'"),
    ({"a": {"$meta": "textScore"}}, 115, "$meta is not supported"),
    ({"a": {"$elemMatch": 1}}, 31274, "object required, but got int"),
    ({"a.b": {"$elemMatch": {}}}, 31255, "Cannot use $elemMatch projection on a nested field"),
    ({"a": {"$elemMatch": {"$foo": 1}}}, 2, "unknown operator: $foo"),
    ({"a": {"$elemMatch": {"b": 1}}, "c": 0}, 31254, "Cannot do exclusion on field c"),
    ({"a": {"$elemMatch": {"b": 1}}, "c.$": 1}, 31256, "Cannot specify positional operator and $elemMatch."),
    ({"a.$": 0}, 31395, "positional projection cannot be used with exclusion"),
    ({"a.$": 1, "b.$": 1}, 31276, "Cannot specify more than one positional projection per query."),
    ({"a.$": 1, "c": 0}, 31254, "Cannot do exclusion on field c"),
    ({"a.$.b": 1}, 31394, "positional projection may only be used at the end"),
    ({"a": {"$slice": [1, 0]}}, 28724, "$slice limit must be positive"),
    ({"a": {"$slice": [1, "x"]}}, 28724, "$slice requires numbers"),
    ({"a": {"$slice": "x"}}, 28667, "$slice"),
]


@pytest.mark.parametrize(("spec", "code", "words"), ERRORS, ids=lambda item: str(item)[:60])
def test_errors(spec: Any, code: int, words: str) -> None:
    with pytest.raises(MongoError) as caught:
        compile_projection(spec)
    assert caught.value.code == code
    assert words in caught.value.message
    assert "$project" not in caught.value.message


def test_a_position_must_be_found() -> None:
    with pytest.raises(MongoError) as caught:
        compile_projection({"l.$": 1}, {"a": 2})(DOCUMENT)
    assert caught.value.code == 51246
    with pytest.raises(MongoError) as caught:
        compile_projection({"s.$": 1}, {"l": 3})({"l": [1, 2, 3], "s": [1]})
    assert caught.value.code == 51247
