"""Signature Version 4, with botocore's signers as the oracle."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.awsapi import sigv4
from stilldb.awsapi.errors import (
    IncompleteSignature,
    InvalidClientTokenId,
    MissingAuthenticationToken,
    RequestExpired,
    SignatureDoesNotMatch,
)
from stilldb.awsapi.sigv4 import HttpRequest
from stilldb.domain.faults import Fault
from support.signing import BODY, KEY, REGION, SECRET, URL, signed


def verify(request: HttpRequest, after: datetime.timedelta = datetime.timedelta()) -> str:
    return sigv4.verify(
        request,
        regions=[REGION],
        now=datetime.datetime.now(datetime.UTC) + after,
        secret_of={KEY: SECRET}.get,
    ).access_key


def minutes(number: float) -> datetime.timedelta:
    return datetime.timedelta(minutes=number)


def test_a_post_that_botocore_signed() -> None:
    assert verify(signed()) == KEY


@pytest.mark.parametrize(
    "query", ["Action=DescribeDBClusters&Version=2014-10-31", "b=%C3%A9&a=x%20y&a=%2F&empty=", ""]
)
def test_a_get_that_botocore_signed(query: str) -> None:
    assert verify(signed(method="GET", body="", url=f"{URL}?{query}" if query else URL)) == KEY


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_presigned_url(method: str) -> None:
    request = signed(method=method, body="", url=f"{URL}?{BODY}", presigned=3600)
    assert "X-Amz-Signature=" in request.query
    assert verify(request) == KEY
    assert verify(request, minutes(59)) == KEY
    with pytest.raises(RequestExpired):
        verify(request, minutes(61))


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
def test_any_query_that_botocore_signed(params: dict[str, str]) -> None:
    from botocore.compat import urlencode

    clean = {k: v for k, v in params.items() if not any("\ud800" <= c <= "\udfff" for c in k + v) and k}
    query = urlencode(clean).replace("+", "%20")
    assert verify(signed(method="GET", body="", url=f"{URL}?{query}" if query else URL)) == KEY


def changed(request: HttpRequest, **headers: str | None) -> HttpRequest:
    kept = {name: list(values) for name, values in request.headers.items()}
    for name, value in headers.items():
        wire = name.replace("_", "-")
        kept.pop(wire, None)
        if value is not None:
            kept[wire] = [value]
    return dataclasses.replace(request, headers=kept)


def authorization(old: str, new: str) -> Callable[[HttpRequest], HttpRequest]:
    def edit(request: HttpRequest) -> HttpRequest:
        before = request.header("authorization")
        assert old in before
        return changed(request, authorization=before.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("edit", "fault", "code", "status"),
    [
        (
            lambda r: changed(r, authorization=None),
            MissingAuthenticationToken,
            "MissingAuthenticationToken",
            403,
        ),
        (lambda r: changed(r, authorization="Basic eDp5"), IncompleteSignature, "IncompleteSignature", 400),
        (lambda r: changed(r, authorization="AWS4"), IncompleteSignature, "IncompleteSignature", 400),
        (lambda r: changed(r, x_amz_date=None), IncompleteSignature, "IncompleteSignature", 400),
        (lambda r: changed(r, x_amz_date="yesterday"), IncompleteSignature, "IncompleteSignature", 400),
        (lambda r: changed(r, x_amz_date="99991231T235959Z"), RequestExpired, "RequestExpired", 400),
        (lambda r: changed(r, x_amz_date="00010101T000000Z"), RequestExpired, "RequestExpired", 400),
        (authorization("Signature=", "Signatur="), IncompleteSignature, "IncompleteSignature", 400),
        (authorization("/aws4_request", ""), IncompleteSignature, "IncompleteSignature", 400),
        (authorization("SignedHeaders=", "SignedHeaders=x"), IncompleteSignature, "IncompleteSignature", 400),
        (authorization(KEY, KEY + "B"), InvalidClientTokenId, "InvalidClientTokenId", 403),
        (authorization("Signature=", "Signature=0"), SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
        (authorization("Signature=", "Signature=é"), SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
        (lambda r: changed(r, host="evil.example"), SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
        (lambda r: dataclasses.replace(r, body=b"x"), SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
        (lambda r: dataclasses.replace(r, query="x=1"), SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
        (lambda r: dataclasses.replace(r, method="GET"), SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
        (
            lambda r: changed(r, x_amz_content_sha256="0" * 64),
            SignatureDoesNotMatch,
            "SignatureDoesNotMatch",
            403,
        ),
        (lambda r: changed(r, x_amz_security_token="x"), InvalidClientTokenId, "InvalidClientTokenId", 403),
    ],
)
def test_each_way_to_fail(
    edit: Callable[[HttpRequest], HttpRequest], fault: type[Fault], code: str, status: int
) -> None:
    request = signed()
    edited = edit(request)
    before, after = request.header("x-amz-date")[:8], edited.header("x-amz-date")[:8]
    if after.isdigit():  # keep the scope's date in step
        text = edited.header("authorization").replace(f"/{before}/", f"/{after}/")
        edited = changed(edited, authorization=text or None)
    with pytest.raises(fault) as caught:
        verify(edited)
    assert (caught.value.code, caught.value.status) == (code, status)


@pytest.mark.parametrize("other", [{"secret": "wrong"}, {"region": "eu-west-1"}, {"service": "docdb"}])
def test_another_secret_region_or_service(other: dict[str, str]) -> None:
    with pytest.raises(SignatureDoesNotMatch):
        verify(signed(**other))


def test_a_quarter_of_an_hour_of_skew_either_way() -> None:
    request = signed()
    assert verify(request, minutes(14.9)) == verify(request, minutes(-14.9)) == KEY
    for late in (15.1, -15.1, 60 * 24 * 400):
        with pytest.raises((RequestExpired, SignatureDoesNotMatch)):
            verify(request, minutes(late))
    with pytest.raises(RequestExpired, match="Signature expired"):
        verify(request, minutes(15.1))
    with pytest.raises(RequestExpired, match="not yet current"):
        verify(request, minutes(-15.1))


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Signature=x",
        "X-Amz-Signature=x&X-Amz-Algorithm=a&X-Amz-Credential=c&X-Amz-SignedHeaders=host&X-Amz-Date=d&X-Amz-Expires=1",
        "X-Amz-Signature=%E9&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-SignedHeaders=host"
        "&X-Amz-Date=d&X-Amz-Expires=99999999999999999999",
        "X-Amz-Signature=x&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA/20260101/us-east-1/rds/aws4_request"
        "&X-Amz-SignedHeaders=x&X-Amz-Date=20260101T000000Z&X-Amz-Expires=1",
        "&&X-Amz-Signature=&=&%",
    ],
)
def test_made_up_presigned_queries_are_faults(query: str) -> None:
    with pytest.raises(Fault):
        verify(HttpRequest("GET", "/", query, {"host": ["x"]}, b""))


def test_an_emulator_takes_any_key_and_any_token() -> None:
    request = signed(secret="wrong", token="session")
    assert sigv4.credential(request) == sigv4.Credential(KEY, REGION)
    assert sigv4.credential(HttpRequest("POST", "/", "", {}, b"")) is None
    assert sigv4.credential(changed(request, authorization="rubbish")) is None


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_no_rubbish_is_anything_but_a_fault(header: bytes, query: bytes, date: bytes) -> None:
    headers = {
        "authorization": [f"AWS4-HMAC-SHA256 {header.decode('latin-1')}"],
        "x-amz-date": [date.decode("latin-1")],
    }
    for request in (
        HttpRequest("POST", "/", query.decode("latin-1"), headers, b""),
        HttpRequest("GET", "/", f"X-Amz-Signature={query.decode('latin-1')}", {}, b""),
    ):
        with pytest.raises(Fault):
            verify(request)
