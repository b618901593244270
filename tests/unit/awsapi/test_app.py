"""The request chain: authentication, dispatch, the one funnel of errors, hostile requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from stilldb.awsapi import app, callers, model
from stilldb.awsapi.context import RequestContext
from stilldb.awsapi.keys import AccessKey
from stilldb.awsapi.operations import OPERATIONS
from stilldb.domain.faults import DBClusterNotFoundFault
from support.api import TwinApi
from support.asgi import call
from support.signing import BODY, KEY, SECRET, signed

REFUSED = sorted(model.operations() - set(OPERATIONS))


async def test_answers_carry_the_request_id_and_the_recorded_headers(api: TwinApi) -> None:
    answer = await api.raw(BODY)
    assert answer.status == 200
    assert set(answer.headers) == {"x-amzn-requestid", "content-type", "content-length"}
    assert answer.headers["content-type"] == "text/xml"
    assert f"<RequestId>{answer.headers['x-amzn-requestid']}</RequestId>".encode() in answer.body


async def test_get_with_a_query_string(api: TwinApi) -> None:
    answer = await api.raw(b"", method="GET", query=BODY.encode())
    assert answer.result("DescribeDBClusters") == {"DBClusters": []}
    answer = await api.raw(b"", method="POST", query=BODY.encode())
    assert answer.result("DescribeDBClusters") == {"DBClusters": []}


@pytest.mark.parametrize("operation", REFUSED)
async def test_what_is_not_built_says_so_and_nothing_else(api: TwinApi, operation: str) -> None:
    for body in (f"Action={operation}", f"Action={operation}&Version=2014-10-31&Tags=x&MaxRecords=soon"):
        answer = await api.raw(body)
        assert answer.status == 501
        error = answer.error()
        assert error["Code"] == "NotImplemented"
        assert error["Message"].startswith(f"The operation {operation} is not available in this release")


@pytest.mark.parametrize(
    ("body", "more", "status", "code"),
    [
        ("", {}, 400, "MissingAction"),
        ("Version=2014-10-31", {}, 400, "MissingAction"),
        ("Action=Explode&Version=2014-10-31", {}, 400, "InvalidAction"),
        ("Action=DescribeDBClusters&Version=2099-01-01", {}, 400, "InvalidAction"),
        ("Action=%FF", {}, 404, "MalformedQueryString"),
        ('{"Action": "DescribeDBClusters"}', {}, 404, "MalformedQueryString"),
        ("x" * (1 << 20) + "=1", {}, 413, "RequestEntityTooLarge"),
        (BODY, {"method": "PUT"}, 405, "MethodNotAllowed"),
        (BODY, {"method": "BREW"}, 405, "MethodNotAllowed"),
        (BODY, {"path": "//"}, 404, "NotFound"),
        (BODY, {"path": "/../../etc/passwd"}, 404, "NotFound"),
        (BODY, {"headers": {"content-encoding": "gzip"}}, 400, "InvalidQueryParameter"),
        (BODY + "&MaxRecords=\x01", {}, 400, "InvalidParameterValue"),
        (BODY + "&Marker=%00", {}, 400, "InvalidQueryParameter"),
        (
            BODY + "&Filters.Filter.1.Name=%0B%EF%BF%BE&Filters.Filter.1.Values=",
            {},
            400,
            "InvalidParameterValue",
        ),
        (BODY + "&DBClusterIdentifier=" + "%3C%01%3E" * 20_000, {}, 404, "DBClusterNotFoundFault"),
    ],
)
async def test_hostile_requests_get_a_typed_answer(
    api: TwinApi, body: str, more: dict[str, Any], status: int, code: str
) -> None:
    answer = await api.raw(body, **more)
    assert (answer.status, answer.error()["Code"]) == (status, code)
    assert answer.headers["content-type"] == "text/xml"
    assert len(answer.body) < 10_000


async def test_a_client_that_goes_away_is_no_failure_of_ours(
    api: TwinApi, caplog: pytest.LogCaptureFixture
) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there to be answered")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
    }
    with caplog.at_level(logging.DEBUG):
        await api.app(scope, receive, send)
    assert not caplog.records


def with_handler(failing: Exception) -> Any:
    async def handle(context: RequestContext, params: Mapping[str, Any]) -> Mapping[str, Any]:
        raise failing

    return app.build({"DescribeDBClusters": handle}, callers.anyone(["us-east-1"]))


async def test_an_unknown_exception_is_an_internal_failure_that_is_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = await call(with_handler(KeyError("the secret of the house")), BODY.encode())
    assert (answer.status, answer.error()["Code"], answer.error()["Type"]) == (
        500,
        "InternalFailure",
        "Receiver",
    )
    assert b"secret" not in answer.body
    assert answer.headers["x-amzn-requestid"] in answer.error()["Message"]
    (record,) = caplog.records
    assert answer.headers["x-amzn-requestid"] in record.getMessage()
    assert record.exc_info is not None


async def test_a_fault_is_told_with_its_status() -> None:
    answer = await call(with_handler(DBClusterNotFoundFault("DBCluster x not found.")), BODY.encode())
    assert (answer.status, answer.error()["Code"]) == (404, "DBClusterNotFoundFault")


def test_a_handler_without_a_modelled_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="no operations"):
        app.build({"Explode": OPERATIONS["DescribeDBClusters"].run}, callers.anyone(["us-east-1"]))  # type: ignore[dict-item]


async def test_signed_requests_reach_the_operation_and_others_do_not() -> None:
    seen: list[str | None] = []

    async def handle(context: RequestContext, params: Mapping[str, Any]) -> Mapping[str, Any]:
        seen.append(context.caller.access_key_id)
        return {"DBClusters": []}

    built = app.build(
        {"DescribeDBClusters": handle}, callers.signed(["us-east-1"], {KEY: AccessKey(KEY, SECRET)}.get)
    )
    request = signed()
    headers = {name: values[0] for name, values in request.headers.items()}
    assert (await call(built, request.body, headers=headers)).status == 200
    assert seen == [KEY]
    presigned = signed(method="GET", body="", url=f"http://127.0.0.1:8010/?{BODY}", presigned=60)
    answer = await call(
        built,
        method="GET",
        query=presigned.query.encode(),
        headers={"host": presigned.header("host")},
    )
    assert answer.status == 200
    for body in (BODY.encode(), urlencode({"Action": "Explode"}).encode()):
        answer = await call(built, body)
        assert (answer.status, answer.error()["Code"]) == (403, "MissingAuthenticationToken")
