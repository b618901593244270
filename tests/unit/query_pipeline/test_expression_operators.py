"""Every expression operator against the rules of the MongoDB manual: values, null, missing, types and errors."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId, Regex
from bson.datetime_ms import DatetimeMS

from stilldb.query.errors import MongoError
from stilldb.query.expressions import compile_expression
from stilldb.query.values import MISSING

NEW_YEAR = DatetimeMS(1_704_067_200_000)  # 2024-01-01T00:00:00Z, a Monday
LEAP_DAY = DatetimeMS(1_709_211_845_678)  # 2024-02-29T13:04:05.678Z
DOCUMENT = {
    "i": 7,
    "l": Int64(7),
    "f": 2.5,
    "s": "héllo",
    "n": None,
    "a": [3, 1, 2],
    "o": {"x": 1, "y": [{"z": 1}, {"z": 2}, {"w": 3}]},
    "d": LEAP_DAY,
}

VALUES: list[tuple[Any, Any]] = [
    ("$o.x", 1),
    ("$o.y.z", [1, 2]),
    ("$a.0", []),
    ("$gone", MISSING),
    ("$i.x", MISSING),
    ("$$ROOT.i", 7),
    ("$$CURRENT.i", 7),
    ("$$REMOVE", MISSING),
    ({"$literal": "$i"}, "$i"),
    ({"p": "$i", "q": "$gone"}, {"p": 7}),
    (["$i", "$gone"], [7, None]),
    ({"$let": {"vars": {"x": 2}, "in": {"$add": ["$$x", "$i"]}}}, 9),
    ({"$add": []}, 0),
    ({"$add": ["$i", 0.5]}, 7.5),
    ({"$add": ["$i", None]}, None),
    ({"$add": ["$i", "$gone"]}, None),
    ({"$add": [2**31 - 1, 1]}, Int64(2**31)),
    ({"$add": [Int64(2**63 - 1), 1]}, float(2**63)),
    ({"$add": [NEW_YEAR, 1000]}, DatetimeMS(1_704_067_201_000)),
    ({"$add": [Decimal128("0.1"), 1]}, Decimal128("1.1")),
    ({"$subtract": [LEAP_DAY, NEW_YEAR]}, Int64(5_144_645_678)),
    ({"$subtract": [NEW_YEAR, 1000]}, DatetimeMS(1_704_067_199_000)),
    ({"$subtract": [1, 3]}, -2),
    ({"$multiply": [3, 4]}, 12),
    ({"$multiply": [2, None]}, None),
    ({"$divide": [6, 4]}, 1.5),
    ({"$divide": [6, 3]}, 2.0),
    ({"$mod": [-7, 3]}, -1),
    ({"$mod": [7.5, 2]}, 1.5),
    ({"$abs": -3}, 3),
    ({"$abs": "$n"}, None),
    ({"$ceil": 2.1}, 3.0),
    ({"$floor": -2.1}, -3.0),
    ({"$round": [2.5]}, 2.0),
    ({"$round": [1234, -2]}, 1200),
    ({"$trunc": [7.85, 1]}, 7.8),
    ({"$sqrt": 25}, 5.0),
    ({"$pow": [2, 10]}, 1024),
    ({"$pow": [2, -1]}, 0.5),
    ({"$pow": [2, 62]}, Int64(2**62)),
    ({"$pow": [2, 10**9]}, float("inf")),
    ({"$exp": 0}, 1.0),
    ({"$ln": 1}, 0.0),
    ({"$log10": 1000}, 3.0),
    ({"$log": [8, 2]}, 3.0),
    ({"$cmp": [1, 2]}, -1),
    ({"$eq": [1, 1.0]}, True),
    ({"$eq": ["$gone", None]}, False),
    ({"$ne": [1, 2]}, True),
    ({"$gt": ["a", 1]}, True),
    ({"$gte": [1, 1]}, True),
    ({"$lt": ["$n", 0]}, True),
    ({"$lte": [2, 1]}, False),
    ({"$and": []}, True),
    ({"$and": [1, "", 0]}, False),
    ({"$or": []}, False),
    ({"$or": [None, "x"]}, True),
    ({"$not": [0]}, True),
    ({"$not": ["$gone"]}, True),
    ({"$cond": ["$i", "y", "n"]}, "y"),
    ({"$cond": {"if": "$n", "then": {"$divide": [1, 0]}, "else": "n"}}, "n"),
    ({"$ifNull": ["$gone", "$n", 5]}, 5),
    ({"$switch": {"branches": [{"case": False, "then": 1}], "default": 2}}, 2),
    ({"$concat": ["a", "b"]}, "ab"),
    ({"$concat": ["a", "$gone"]}, None),
    ({"$substrBytes": ["$s", 0, 1]}, "h"),
    ({"$substr": ["abc", 1, -1]}, "bc"),
    ({"$substrCP": ["$s", 1, 2]}, "él"),
    ({"$substrCP": [None, 0, 2]}, ""),
    ({"$toLower": "ÄB"}, "Äb"),
    ({"$toUpper": None}, ""),
    ({"$strLenBytes": "$s"}, 6),
    ({"$strLenCP": "$s"}, 5),
    ({"$strcasecmp": ["AB", "ab"]}, 0),
    ({"$split": ["a-b-", "-"]}, ["a", "b", ""]),
    ({"$split": [None, "-"]}, None),
    ({"$indexOfBytes": ["$s", "l"]}, 3),
    ({"$indexOfCP": ["$s", "l"]}, 2),
    ({"$indexOfCP": ["$s", "h", 1]}, -1),
    ({"$indexOfCP": ["$gone", "h"]}, None),
    ({"$trim": {"input": " \n a "}}, "a"),
    ({"$ltrim": {"input": "xxa", "chars": "x"}}, "a"),
    ({"$rtrim": {"input": "$n"}}, None),
    ({"$regexMatch": {"input": "ABC", "regex": "b", "options": "i"}}, True),
    ({"$regexMatch": {"input": None, "regex": "b"}}, False),
    (
        {"$regexFind": {"input": "abc", "regex": Regex("(b)(x)?")}},
        {"match": "b", "idx": 1, "captures": ["b", None]},
    ),
    ({"$regexFind": {"input": "abc", "regex": "x"}}, None),
    (
        {"$regexFindAll": {"input": "aba", "regex": "a"}},
        [{"match": "a", "idx": 0, "captures": []}, {"match": "a", "idx": 2, "captures": []}],
    ),
    ({"$replaceOne": {"input": "aa", "find": "a", "replacement": "b"}}, "ba"),
    ({"$replaceAll": {"input": "aa", "find": "a", "replacement": "b"}}, "bb"),
    ({"$replaceAll": {"input": "$gone", "find": "a", "replacement": "b"}}, None),
    ({"$arrayElemAt": ["$a", -1]}, 2),
    ({"$arrayElemAt": ["$a", 3]}, MISSING),
    ({"$arrayElemAt": [None, 3]}, None),
    ({"$first": "$a"}, 3),
    ({"$last": ["$a"]}, 2),
    ({"$first": {"$literal": []}}, MISSING),
    ({"$concatArrays": ["$a", [9]]}, [3, 1, 2, 9]),
    ({"$concatArrays": ["$a", "$n"]}, None),
    ({"$filter": {"input": "$a", "as": "v", "cond": {"$gt": ["$$v", 1]}}}, [3, 2]),
    ({"$filter": {"input": "$n", "cond": True}}, None),
    ({"$in": [2, "$a"]}, True),
    ({"$indexOfArray": ["$a", 1]}, 1),
    ({"$indexOfArray": ["$a", 3, 1]}, -1),
    ({"$isArray": ["$a"]}, True),
    ({"$isArray": "$gone"}, False),
    ({"$map": {"input": "$a", "in": {"$multiply": ["$$this", "$i"]}}}, [21, 7, 14]),
    ({"$map": {"input": "$gone", "in": 1}}, None),
    ({"$range": [0, 5, 2]}, [0, 2, 4]),
    ({"$range": [5, 0, -2]}, [5, 3, 1]),
    ({"$reduce": {"input": "$a", "initialValue": 0, "in": {"$add": ["$$value", "$$this"]}}}, 6),
    ({"$reverseArray": "$a"}, [2, 1, 3]),
    ({"$size": "$a"}, 3),
    ({"$slice": ["$a", 2]}, [3, 1]),
    ({"$slice": ["$a", -2]}, [1, 2]),
    ({"$slice": ["$a", -5, 1]}, [3]),
    ({"$zip": {"inputs": ["$a", [1]]}}, [[3, 1]]),
    (
        {"$zip": {"inputs": [["x"], [1, 2]], "useLongestLength": True, "defaults": ["-", 0]}},
        [["x", 1], ["-", 2]],
    ),
    ({"$arrayToObject": [[["a", 1], ["b", 2]]]}, {"a": 1, "b": 2}),
    ({"$arrayToObject": {"$literal": [{"k": "a", "v": 1}]}}, {"a": 1}),
    ({"$objectToArray": {"$literal": {"a": 1}}}, [{"k": "a", "v": 1}]),
    ({"$mergeObjects": [{"a": 1}, "$n", {"a": 2}]}, {"a": 2}),
    ({"$sortArray": {"input": "$a", "sortBy": -1}}, [3, 2, 1]),
    ({"$sortArray": {"input": [{"q": 2}, {"q": 1}], "sortBy": {"q": 1}}}, [{"q": 1}, {"q": 2}]),
    ({"$setEquals": [[1, 2, 2], [2, 1]]}, True),
    ({"$setIntersection": [[1, 2], [2, 3]]}, [2]),
    ({"$setUnion": [[1, 2], [2, 3]]}, [1, 2, 3]),
    ({"$setUnion": [[1], None]}, None),
    ({"$setDifference": [[1, 2, 1], [2]]}, [1]),
    ({"$setIsSubset": [[1], [1, 2]]}, True),
    ({"$anyElementTrue": [[0, False]]}, False),
    ({"$allElementsTrue": [[1, "x"]]}, True),
    ({"$year": "$d"}, 2024),
    ({"$month": "$d"}, 2),
    ({"$dayOfMonth": ["$d"]}, 29),
    ({"$hour": {"date": "$d", "timezone": "+02:00"}}, 15),
    ({"$hour": {"date": "$d", "timezone": "America/New_York"}}, 8),
    ({"$hour": {"date": "$d", "timezone": "$gone"}}, None),
    ({"$minute": "$d"}, 4),
    ({"$second": "$d"}, 5),
    ({"$millisecond": "$d"}, 678),
    ({"$dayOfWeek": "$d"}, 5),
    ({"$dayOfYear": "$d"}, 60),
    ({"$week": "$d"}, 8),
    ({"$isoWeek": "$d"}, 9),
    ({"$isoWeekYear": "$d"}, Int64(2024)),
    ({"$isoDayOfWeek": "$d"}, 4),
    ({"$year": "$gone"}, None),
    ({"$dateToString": {"date": "$d"}}, "2024-02-29T13:04:05.678Z"),
    ({"$dateToString": {"date": "$d", "format": "%d/%m/%Y %H%%"}}, "29/02/2024 13%"),
    ({"$dateToString": {"date": "$d", "format": "%H:%M %z", "timezone": "-0330"}}, "09:34 -0330"),
    ({"$dateToString": {"date": "$n", "onNull": "none"}}, "none"),
    ({"$dateFromString": {"dateString": "2024-01-01"}}, NEW_YEAR),
    ({"$dateFromString": {"dateString": "2024-01-01T02:00:00+0200"}}, NEW_YEAR),
    ({"$dateFromString": {"dateString": "01.01.2024", "format": "%d.%m.%Y"}}, NEW_YEAR),
    ({"$dateFromString": {"dateString": "2023-12-31T19:00", "timezone": "America/New_York"}}, NEW_YEAR),
    ({"$dateFromString": {"dateString": "x", "onError": 0}}, 0),
    ({"$dateFromString": {"dateString": "$n", "onNull": 1}}, 1),
    (
        {"$dateAdd": {"startDate": DatetimeMS(1_706_659_200_000), "unit": "month", "amount": 1}},
        DatetimeMS(1_709_164_800_000),
    ),
    ({"$dateSubtract": {"startDate": NEW_YEAR, "unit": "day", "amount": 1}}, DatetimeMS(1_703_980_800_000)),
    ({"$dateAdd": {"startDate": "$n", "unit": "day", "amount": 1}}, None),
    ({"$dateDiff": {"startDate": NEW_YEAR, "endDate": LEAP_DAY, "unit": "month"}}, Int64(1)),
    ({"$dateDiff": {"startDate": NEW_YEAR, "endDate": LEAP_DAY, "unit": "day"}}, Int64(59)),
    ({"$dateDiff": {"startDate": NEW_YEAR, "endDate": LEAP_DAY, "unit": "week"}}, Int64(8)),
    ({"$dateDiff": {"startDate": LEAP_DAY, "endDate": NEW_YEAR, "unit": "year"}}, Int64(0)),
    ({"$dateTrunc": {"date": LEAP_DAY, "unit": "year"}}, NEW_YEAR),
    ({"$dateTrunc": {"date": LEAP_DAY, "unit": "hour"}}, DatetimeMS(1_709_211_600_000)),
    (
        {"$dateTrunc": {"date": LEAP_DAY, "unit": "week", "startOfWeek": "monday"}},
        DatetimeMS(1_708_905_600_000),
    ),
    ({"$dateFromParts": {"year": 2024}}, NEW_YEAR),
    ({"$dateFromParts": {"year": 2023, "month": 13}}, NEW_YEAR),
    ({"$dateFromParts": {"isoWeekYear": 2024, "isoWeek": 1}}, NEW_YEAR),
    (
        {"$dateToParts": {"date": NEW_YEAR}},
        {"year": 2024, "month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0, "millisecond": 0},
    ),
    ({"$type": "$gone"}, "missing"),
    ({"$type": "$l"}, "long"),
    ({"$isNumber": "$f"}, True),
    ({"$isNumber": True}, False),
    ({"$toBool": "false"}, True),
    ({"$toBool": 0}, False),
    ({"$toInt": "12"}, 12),
    ({"$toInt": 2.9}, 2),
    ({"$toLong": "$d"}, Int64(1_709_211_845_678)),
    ({"$toDouble": "2.5"}, 2.5),
    ({"$toDecimal": 1}, Decimal128("1")),
    ({"$toString": 2.0}, "2"),
    ({"$toString": True}, "true"),
    ({"$toString": NEW_YEAR}, "2024-01-01T00:00:00.000Z"),
    ({"$toDate": Int64(1_704_067_200_000)}, NEW_YEAR),
    ({"$toObjectId": "0" * 24}, ObjectId("0" * 24)),
    ({"$toInt": "$gone"}, None),
    ({"$convert": {"input": "x", "to": "int", "onError": -1}}, -1),
    ({"$convert": {"input": "$n", "to": "int", "onNull": -2}}, -2),
    ({"$convert": {"input": "5", "to": 16}}, 5),
    ({"$bsonSize": {"$literal": {}}}, 5),
    ({"$sum": "$a"}, 6),
    ({"$sum": ["$i", "x", 1]}, 8),
    ({"$avg": "$a"}, 2.0),
    ({"$avg": "$s"}, None),
    ({"$min": "$a"}, 1),
    ({"$max": ["$i", 9, None]}, 9),
    ({"$stdDevPop": [[2, 4]]}, 1.0),
    ({"$stdDevSamp": [[1]]}, None),
]


@pytest.mark.parametrize(("spec", "expected"), VALUES, ids=lambda item: str(item)[:60])
def test_value(spec: Any, expected: Any) -> None:
    found = compile_expression(spec)(DOCUMENT)
    if isinstance(expected, float):
        assert found == pytest.approx(expected)
    else:
        assert found == expected
    assert type(found) is type(expected)


ERRORS: list[tuple[Any, int]] = [
    ({"$nope": 1}, 168),
    ({"$abs": 1, "$add": []}, 15983),
    ("$", 16872),
    ("$a.", 40353),
    ("$a..b", 15998),
    ("$$unknown", 17276),
    ({"a.b": 1}, 16412),
    ({"$abs": [1, 2]}, 16020),
    ({"$subtract": [1]}, 16020),
    ({"$range": [1]}, 28667),
    ({"$add": ["x", 1]}, 14),
    ({"$add": [NEW_YEAR, NEW_YEAR]}, 16612),
    ({"$subtract": [1, "x"]}, 14),
    ({"$multiply": ["x"]}, 14),
    ({"$divide": [1, 0]}, 2),
    ({"$mod": [1, 0]}, 16610),
    ({"$abs": "x"}, 28765),
    ({"$abs": Int64(-(2**63))}, 28680),
    ({"$sqrt": -1}, 28714),
    ({"$ln": 0}, 28766),
    ({"$log10": -1}, 28761),
    ({"$log": [1, 1]}, 28759),
    ({"$pow": [0, -1]}, 28764),
    ({"$round": ["x"]}, 51081),
    ({"$cond": {"if": 1, "then": 1}}, 17082),
    ({"$cond": [1]}, 16020),
    ({"$ifNull": [1]}, 1257300),
    ({"$switch": {"branches": []}}, 40068),
    ({"$switch": {"branches": [{"case": False, "then": 1}]}}, 40066),
    ({"$let": {"vars": {"X": 1}, "in": 1}}, 16867),
    ({"$concat": [1]}, 16702),
    ({"$substrBytes": ["é", 1, 1]}, 28656),
    ({"$substrCP": ["a", -1, 1]}, 34455),
    ({"$strLenCP": None}, 34471),
    ({"$strLenBytes": 1}, 34473),
    ({"$toLower": [[]]}, 16007),
    ({"$split": ["a", ""]}, 40087),
    ({"$indexOfBytes": ["a", 1]}, 40092),
    ({"$indexOfCP": ["a", "a", -1]}, 40097),
    ({"$trim": {"input": 1}}, 50699),
    ({"$trim": {"chars": "x"}}, 50695),
    ({"$regexMatch": {"input": "a", "regex": "("}}, 51111),
    ({"$regexMatch": {"input": 1, "regex": "a"}}, 51104),
    ({"$replaceOne": {"input": 1, "find": "a", "replacement": "b"}}, 51746),
    ({"$arrayElemAt": [1, 0]}, 28689),
    ({"$concatArrays": [1]}, 28664),
    ({"$filter": {"input": 1, "cond": 1}}, 28651),
    ({"$in": [1, 1]}, 40081),
    ({"$map": {"input": 1, "in": 1}}, 16883),
    ({"$range": [0, 1, 0]}, 34449),
    ({"$reduce": {"input": 1, "initialValue": 1, "in": 1}}, 40080),
    ({"$size": "$n"}, 17124),
    ({"$slice": ["$a", 0, 0]}, 28729),
    ({"$arrayToObject": [[1]]}, 40398),
    ({"$objectToArray": 1}, 40390),
    ({"$mergeObjects": [1]}, 40400),
    ({"$setUnion": [1]}, 17043),
    ({"$setEquals": [[1], None]}, 17044),
    ({"$year": "x"}, 16006),
    ({"$year": {"date": NEW_YEAR, "timezone": "Mars/Base"}}, 40485),
    ({"$dateToString": {"date": NEW_YEAR, "format": "%Q"}}, 18536),
    ({"$dateToString": {"date": NEW_YEAR, "format": "%"}}, 18535),
    ({"$dateFromString": {"dateString": "x"}}, 241),
    ({"$dateAdd": {"startDate": NEW_YEAR, "unit": "eon", "amount": 1}}, 9),
    ({"$dateFromParts": {"month": 1}}, 40516),
    ({"$toInt": "x"}, 241),
    ({"$toInt": Int64(2**40)}, 241),
    ({"$toObjectId": "x"}, 241),
    ({"$toDate": 1}, 241),
    ({"$convert": {"input": 1, "to": "thing"}}, 2),
    ({"$convert": {"input": 1}}, 9),
]


@pytest.mark.parametrize(("spec", "code"), ERRORS, ids=lambda item: str(item)[:60])
def test_error_code(spec: Any, code: int) -> None:
    with pytest.raises(MongoError) as caught:
        compile_expression(spec)(DOCUMENT)
    assert caught.value.code == code


def test_argument_count_message() -> None:
    with pytest.raises(MongoError, match=r"Expression \$abs takes exactly 1 arguments\. 2 were passed in\."):
        compile_expression({"$abs": [1, 2]})


def test_unknown_operator_message() -> None:
    with pytest.raises(MongoError, match=r"Unrecognized expression '\$nope'"):
        compile_expression({"$nope": 1})


def test_hostile_nesting_is_refused() -> None:
    spec: Any = 1
    for _ in range(5000):
        spec = {"$not": [spec]}
    with pytest.raises(MongoError, match="nesting"):
        compile_expression(spec)


def test_rand_is_within_its_bounds() -> None:
    evaluate = compile_expression({"$rand": {}})
    drawn = {evaluate({}) for _ in range(50)}
    assert len(drawn) > 1
    assert all(0 <= value < 1 for value in drawn)


def test_user_variables_come_from_the_scope() -> None:
    evaluate = compile_expression({"$add": ["$$x.y", 1]}, frozenset({"x"}))
    assert evaluate({}, {"x": {"y": 2}}) == 3
