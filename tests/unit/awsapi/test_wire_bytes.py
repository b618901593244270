"""The byte form of answers, against the lengths that were recorded from AWS (content-length headers of real answers)."""

from __future__ import annotations

import pytest

from stilldb.awsapi import serializer
from stilldb.domain.faults import Fault

REQUEST_ID = "6d9e0f0a-0f6c-4c1e-9d2b-6f6f3f0e8a11"


@pytest.mark.parametrize(
    ("operation", "result", "length"),
    [
        ("DeleteDBClusterParameterGroup", {}, 237),
        ("AddTagsToResource", {}, 213),
        ("RemoveTagsFromResource", {}, 223),
        ("ListTagsForResource", {"TagList": []}, 293),
    ],
)
def test_recorded_lengths_of_answers(operation: str, result: dict[str, object], length: int) -> None:
    assert len(serializer.answer(operation, result, REQUEST_ID)) == length


def made(code: str, message: str) -> Fault:
    fault = Fault(message)
    fault.code = code
    return fault


@pytest.mark.parametrize(
    ("code", "message", "length"),
    [
        ("SnapshotQuotaExceeded", "Cannot copy more than 5 snapshots across regions", 300),
        ("DBParameterGroupNotFound", "DBClusterParameterGroup not found: " + "p" * 15, 305),
    ],
)
def test_recorded_lengths_of_errors(code: str, message: str, length: int) -> None:
    assert len(serializer.error(made(code, message), REQUEST_ID)) == length


def test_an_error_to_the_letter() -> None:
    assert (
        serializer.error(made("DBClusterSnapshotNotFoundFault", "DBClusterSnapshot not found: x"), REQUEST_ID)
        == f"""\
<ErrorResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/">
  <Error>
    <Type>Sender</Type>
    <Code>DBClusterSnapshotNotFoundFault</Code>
    <Message>DBClusterSnapshot not found: x</Message>
  </Error>
  <RequestId>{REQUEST_ID}</RequestId>
</ErrorResponse>
""".encode()
    )


def test_an_answer_to_the_letter() -> None:
    result = {
        "Marker": None,
        "DBClusters": [{"DBClusterIdentifier": "a", "MultiAZ": False, "DBClusterMembers": [], "Port": 27017}],
    }
    assert (
        serializer.answer("DescribeDBClusters", result, REQUEST_ID)
        == f"""\
<DescribeDBClustersResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/">
  <DescribeDBClustersResult>
    <DBClusters>
      <DBCluster>
        <DBClusterIdentifier>a</DBClusterIdentifier>
        <MultiAZ>false</MultiAZ>
        <Port>27017</Port>
        <DBClusterMembers/>
      </DBCluster>
    </DBClusters>
  </DescribeDBClustersResult>
  <ResponseMetadata>
    <RequestId>{REQUEST_ID}</RequestId>
  </ResponseMetadata>
</DescribeDBClustersResponse>
""".encode()
    )


def test_what_xml_can_not_carry_is_replaced_and_a_long_message_is_cut() -> None:
    body = serializer.error(made("X", "a\0b\x1f\ufffe\r<&>" + "z" * 100_000), REQUEST_ID)
    assert "a\ufffdb\ufffd\ufffd&#xD;&lt;&amp;&gt;z".encode() in body
    assert len(body) < 2500


def test_a_fault_of_ours_says_receiver() -> None:
    fault = made("InternalFailure", "x")
    fault.status = 500
    assert b"<Type>Receiver</Type>" in serializer.error(fault, REQUEST_ID)
