"""Requests as older, hand-written and hostile clients send them: read, or refused with a typed fault."""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.awsapi import model, parser
from stilldb.awsapi.errors import InvalidAction, InvalidQueryParameter, MalformedQueryString, MissingAction
from stilldb.domain.faults import Fault, InvalidParameterValue


def read(operation: str, **params: str) -> dict[str, Any]:
    query = urlencode({name.replace("__", "."): value for name, value in params.items()})
    return parser.parameters(operation, parser.fields(query.encode()))


@pytest.mark.parametrize(
    "params",
    [
        {"Tags__Tag__1__Key": "a", "Tags__Tag__1__Value": "b"},
        {"Tags__member__1__Key": "a", "Tags__member__1__Value": "b"},
        {"Tags__1__Key": "a", "Tags__1__Value": "b"},
        {"Tag__1__Key": "a", "Tag__1__Value": "b"},
        {"Tags__Tag__7__Value": "b", "Tags__Tag__7__Key": "a"},
    ],
)
def test_forms_of_tags(params: dict[str, str]) -> None:
    assert read("AddTagsToResource", ResourceName="r", **params) == {
        "ResourceName": "r",
        "Tags": [{"Key": "a", "Value": "b"}],
    }


@pytest.mark.parametrize(
    "params", [{"TagKeys__member__1": "a"}, {"TagKeys__TagKey__1": "a"}, {"TagKeys__1": "a"}]
)
def test_forms_of_tag_keys(params: dict[str, str]) -> None:
    assert read("RemoveTagsFromResource", ResourceName="r", **params)["TagKeys"] == ["a"]


def test_items_come_in_the_order_of_their_numbers() -> None:
    params = {f"TagKeys__member__{n}": str(n) for n in (10, 2, 1)}
    assert read("RemoveTagsFromResource", ResourceName="r", **params)["TagKeys"] == ["1", "2", "10"]


def test_an_empty_list_and_what_the_shape_does_not_have() -> None:
    assert read("DescribeDBClusters", Filters="", FiltersX__Filter__1="x", Surprise="y") == {"Filters": []}
    assert read("DescribeDBClusters", **{"Filter": "", "": "x", "__": "y"}) == {"Filters": []}


def test_raw_utf8_is_read_and_other_encodings_are_refused() -> None:
    assert parser.fields("a=é&b=%C3%A9&c=x+y".encode()) == {"a": "é", "b": "é", "c": "x y"}
    for query in (b"a=%E9", b"a=\xe9", b"a=%ED%A0%80", b"a", b"a=1&&b=2", b'{"a": 1}'):
        with pytest.raises(MalformedQueryString):
            parser.fields(query)


def test_doubled_names_and_nul_are_refused() -> None:
    for query in (b"a=1&a=2", b"a=%00", b"%00=a"):
        with pytest.raises(InvalidQueryParameter):
            parser.fields(query)
    with pytest.raises(MalformedQueryString):
        parser.fields(b"&".join(b"k%d=" % n for n in range(5001)))


def test_action_and_version() -> None:
    assert parser.operation({"Action": "DescribeDBClusters"}) == "DescribeDBClusters"
    with pytest.raises(MissingAction):
        parser.operation({"Version": "2014-10-31"})
    for wrong in ({"Action": "Explode"}, {"Action": "DescribeDBClusters", "Version": "2010-01-01"}):
        with pytest.raises(InvalidAction, match="Could not find operation"):
            parser.operation(wrong)


@pytest.mark.parametrize(
    ("operation", "params", "message"),
    [
        (
            "DescribeDBClusters",
            {"MaxRecords": "many"},
            "Invalid value many for MaxRecords. Must be between 20",
        ),
        ("DescribeDBClusters", {"MaxRecords": "9" * 30}, "Must be between 20 and 100"),
        ("CreateDBCluster", {"Port": "1e3"}, "Invalid value 1e3 for Port. Must be an integer"),
        ("CreateDBCluster", {"Port": "٣"}, "Must be an integer"),
        ("CreateDBCluster", {"StorageEncrypted": "yes"}, "Must be true or false"),
        ("CreateDBCluster", {"ServerlessV2ScalingConfiguration__MinCapacity": "nan"}, "Must be a number"),
        ("DescribeEvents", {"StartTime": "soon"}, "Must be an ISO 8601 time"),
        ("CreateDBCluster", {"AvailabilityZones": "us-east-1a"}, "AvailabilityZones is a list"),
        ("CreateDBCluster", {"AvailabilityZones__AvailabilityZone__0": "x"}, "numbered from 1"),
        ("CreateDBCluster", {"AvailabilityZones__AvailabilityZone__01": "x"}, "numbered from 1"),
        ("CreateDBCluster", {"AvailabilityZones__AvailabilityZone__x": "x"}, "numbered from 1"),
        ("CreateDBCluster", {"Port__x": "1"}, "not a structure"),
        ("CreateDBCluster", {"Port": "1", "Port__": "2"}, "not a structure"),
        ("CreateDBCluster", {"Port__": "2"}, "not a structure"),
    ],
)
def test_wrong_types(operation: str, params: dict[str, str], message: str) -> None:
    with pytest.raises((InvalidParameterValue, InvalidQueryParameter), match=message):
        read(operation, **{"DBClusterIdentifier": "a", "Engine": "docdb", **params})


def test_a_list_has_an_end() -> None:
    params = {f"TagKeys__member__{n}": "x" for n in range(1, 1002)}
    with pytest.raises(InvalidParameterValue, match="more than 1000 items"):
        read("RemoveTagsFromResource", ResourceName="r", **params)


def test_a_key_of_any_depth_is_read_in_time_of_its_length() -> None:
    deep = {"Tags." * 50_000: "x", ".".join("a" * 17): "y"}
    assert parser.parameters("DescribeDBClusters", deep) == {}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020-01-01T02:03:04.567000Z", datetime.datetime(2020, 1, 1, 2, 3, 4, 567000, datetime.UTC)),
        ("2020-01-01T00:00:00Z", datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
        ("2020-01-01T02:00:00+02:00", datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
        ("2020-01-01T00:00:00", datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
    ],
)
def test_times(text: str, moment: datetime.datetime) -> None:
    assert read("DescribeEvents", StartTime=text)["StartTime"] == moment


def refused(fault: Fault) -> None:
    assert 400 <= fault.status < 500


_part = st.sampled_from(
    ["", "Tags", "Tag", "member", "1", "2", "Key", "Value", "Filters", "Filter", "Name", "x"]
)
_key = st.lists(_part, min_size=1, max_size=6).map(".".join)
_taggable = sorted(name for name in model.operations() if "Tags" in model.operation(name).input_shape.members)


@given(st.sampled_from(_taggable), st.dictionaries(_key, st.text(max_size=4), max_size=6))
def test_any_tree_of_keys_is_read_or_refused(operation: str, found: dict[str, str]) -> None:
    try:
        parser.parameters(operation, found)
    except Fault as fault:
        refused(fault)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(query: bytes) -> None:
    try:
        parser.operation(parser.fields(query))
    except Fault as fault:
        refused(fault)
