"""Bytes that are no good HTTP, or too much of it, over a real socket: a typed answer or a closed door, and no error of ours."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from support.service import Service, service

FORM = b"content-type: application/x-www-form-urlencoded\r\n"
LIST = b"Action=DescribeDBClusters&Version=2014-10-31"


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service("--auth", "any") as it:
        yield it


def exchange(running: Service, *parts: bytes) -> bytes:
    """What came back until the server closed or had nothing more to say."""
    url = urlsplit(running.endpoint)
    received = b""
    with socket.create_connection((url.hostname, url.port), timeout=5) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            while chunk := connection.recv(65536):
                received += chunk
        except (ConnectionError, TimeoutError):
            pass
    return received


def post(body: bytes, headers: bytes = FORM) -> bytes:
    return b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%bcontent-length: %d\r\n\r\n%b" % (
        headers,
        len(body),
        body,
    )


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (post(b""), 400, b"MissingAction"),
        (post(LIST + b"&MaxRecords=%00"), 400, b"InvalidQueryParameter"),
        (post(b"x" * 3_000_000), 413, b"RequestEntityTooLarge"),
        (post(LIST, b"content-encoding: gzip\r\n"), 400, b"InvalidQueryParameter"),
        (b"DELETE / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 405, b"MethodNotAllowed"),
        (b"GET /admin HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404, b"NotFound"),
        (b"GET /?Action=%FF HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404, b"MalformedQueryString"),
        (b"GET /?\xff\xfe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 400, b""),
        (
            b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: \xff\xfe\r\n\r\n",
            400,
            b"MissingAction",
        ),
        (b"\x16\x03\x01\x02\x00\x01", 400, b""),
        (b"GET / HTTP/9.9\r\n\r\n", 400, b""),
    ],
)
def test_a_bad_request_is_answered_as_what_it_is(
    running: Service, request_: bytes, status: int, code: bytes
) -> None:
    answer = exchange(running, request_)
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer[:200]
    assert code in answer
    good = exchange(running, post(LIST))
    assert good.startswith(b"HTTP/1.1 200"), "and the next one is served"
    assert b"<DBClusters/>" in good


def test_a_body_in_chunks_and_one_that_never_comes(running: Service) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + FORM
    chunked = head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(LIST), LIST)
    assert exchange(running, chunked).startswith(b"HTTP/1.1 200")
    url = urlsplit(running.endpoint)
    with socket.create_connection((url.hostname, url.port), timeout=5) as connection:
        connection.sendall(head + b"content-length: 100\r\n\r\nAction=")
    assert exchange(running, post(LIST)).startswith(b"HTTP/1.1 200")
