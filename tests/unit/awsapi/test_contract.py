"""Every operation of the model, 55 and counting, against botocore: its serializer feeds our parser, our serializer feeds its parser."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import botocore.serialize
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stilldb.awsapi import model, parser, serializer
from stilldb.awsapi.operations import OPERATIONS
from support.asgi import read
from support.shapes import full, some

EVERY = sorted(model.operations())
BUILT = {
    "CreateDBCluster",
    "DescribeDBClusters",
    "ModifyDBCluster",
    "DeleteDBCluster",
    "CreateDBInstance",
    "DescribeDBInstances",
    "DescribeGlobalClusters",
    "DeleteDBInstance",
    "CreateDBClusterSnapshot",
    "DescribeDBClusterSnapshots",
    "DeleteDBClusterSnapshot",
    "RestoreDBClusterFromSnapshot",
    "RestoreDBClusterToPointInTime",
    "CopyDBClusterSnapshot",
    "ModifyDBClusterSnapshotAttribute",
    "DescribeDBClusterSnapshotAttributes",
    "StopDBCluster",
    "StartDBCluster",
    "DescribeEvents",
    "DescribeEventCategories",
    "AddTagsToResource",
    "ListTagsForResource",
    "RemoveTagsFromResource",
}
REQUEST_ID = "6d9e0f0a-0f6c-4c1e-9d2b-6f6f3f0e8a11"


def as_botocore_sends(operation: str, params: dict[str, Any]) -> bytes:
    serializer_ = botocore.serialize.create_serializer("query", include_validation=False)
    return urlencode(serializer_.serialize_to_request(params, model.operation(operation))["body"]).encode()


def as_we_read(query: bytes) -> tuple[str, dict[str, Any]]:
    found = parser.fields(query)
    operation = parser.operation(found)
    return operation, parser.parameters(operation, found)


def test_the_model_has_55_operations_or_more_and_these_are_built() -> None:
    assert len(EVERY) >= 55  # botocore 1.43.11; later ones only add
    assert set(OPERATIONS) == BUILT


@pytest.mark.parametrize("operation", EVERY)
def test_a_request_with_every_member_is_read_as_it_was_sent(operation: str) -> None:
    params = full(model.operation(operation).input_shape)
    assert as_we_read(as_botocore_sends(operation, params)) == (operation, params)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
@pytest.mark.parametrize("operation", EVERY)
def test_any_request_is_read_as_it_was_sent(operation: str, data: st.DataObject) -> None:
    params = data.draw(some(model.operation(operation).input_shape))
    assert as_we_read(as_botocore_sends(operation, params)) == (operation, params)


@pytest.mark.parametrize("operation", EVERY)
def test_an_answer_with_every_member_is_read_as_it_was_meant(operation: str) -> None:
    shape = model.operation(operation).output_shape
    result = {} if shape is None else full(shape)
    assert read(operation, serializer.answer(operation, result, REQUEST_ID)) == result


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
@pytest.mark.parametrize("operation", [name for name in EVERY if model.operation(name).output_shape])
def test_any_answer_is_read_as_it_was_meant(operation: str, data: st.DataObject) -> None:
    result = data.draw(some(model.operation(operation).output_shape))
    assert read(operation, serializer.answer(operation, result, REQUEST_ID)) == result


@pytest.mark.parametrize("operation", EVERY)
def test_a_missing_required_parameter_is_named(operation: str) -> None:
    shape = model.operation(operation).input_shape
    for missing in shape.required_members:
        others = {name: full(shape.members[name]) for name in shape.required_members if name != missing}
        with pytest.raises(parser.MissingParameter, match=f"must contain the parameter {missing}$"):
            as_we_read(as_botocore_sends(operation, others))


@pytest.mark.parametrize("operation", sorted(BUILT))
def test_every_parameter_of_the_model_is_taken_or_refused_on_purpose(operation: str) -> None:
    declared = OPERATIONS[operation]
    members = set(model.operation(operation).input_shape.members)
    if operation != "ModifyDBCluster":  # which takes a few of its parameters so far
        assert members <= declared.takes | set(declared.refuses)
    assert not declared.takes & set(declared.refuses)
    for name, hint in declared.refuses.items():
        assert hint.endswith("."), (name, hint)


def test_an_answer_that_the_model_does_not_have_is_our_bug() -> None:
    for result in (
        {"DBCluster": {"NoSuchMember": "x"}},
        {"DBCluster": {"Port": "27017"}},
        {"DBCluster": {"Port": True}},
        {"DBCluster": {"MultiAZ": 1}},
        {"Surprise": 1},
    ):
        with pytest.raises(serializer.ContractError):
            serializer.answer("CreateDBCluster", result, REQUEST_ID)
    with pytest.raises(serializer.ContractError):
        serializer.answer("AddTagsToResource", {"TagList": []}, REQUEST_ID)
