"""What an S3 service can do wrong: a bucket that is gone, refusals, answers that are no S3's, silence, half an answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from stilldb.volume.objects.configure import open_store, probe
from stilldb.volume.objects.remote import RemoteStore, s3
from stilldb.volume.objects.store import ObjectMissing, ObjectStore, StoreFull, StoreRefused, StoreUnavailable
from support.s3 import ACCESS_KEY, REGION, SECRET_KEY, client, new_bucket, s3_settings


async def listed(store: ObjectStore) -> list[str]:
    return [entry.key async for entry in store.list("")]


def calls(store: ObjectStore) -> list[Callable[[], Awaitable[Any]]]:
    return [
        lambda: store.put("a/b", b"x"),
        lambda: store.get("a/b"),
        lambda: store.size("a/b"),
        lambda: listed(store),
        lambda: store.delete(["a/b"]),
    ]


@contextlib.asynccontextmanager
async def server(answer: bytes, *, then_close: bool = True) -> AsyncIterator[tuple[RemoteStore, list[bytes]]]:
    """A store whose service gives this answer to every request, and the requests that came."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(head)
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
        writer.write(answer)
        await writer.drain()
        if not then_close:
            await reader.read()  # until the client has had enough
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        settings = s3_settings(f"http://127.0.0.1:{port}", "bucket", timeout=1.0, retry_timeout=1.0)
        yield s3(settings), requests


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def error(code: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>'.encode()


async def test_a_bucket_that_is_gone_is_not_taken_for_missing_objects(endpoint: str) -> None:
    bucket = new_bucket(endpoint)
    store = s3(s3_settings(endpoint, bucket))
    await store.put("a/b", b"x")
    await store.delete(["a/b"])
    client("s3", endpoint).delete_bucket(Bucket=bucket)
    for call in calls(store):
        with pytest.raises(StoreRefused, match=f"(?s){bucket}.*NoSuchBucket"):
            await call()


async def test_objects_lie_below_the_prefix_and_others_are_not_seen(endpoint: str) -> None:
    bucket = new_bucket(endpoint)
    s3_client = client("s3", endpoint)
    for key in ("some/prefixes/x", "some/x", "x"):
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"others")
    store = s3(s3_settings(endpoint, bucket))
    await store.put("a/b", b"mine")
    assert s3_client.get_object(Bucket=bucket, Key="some/prefix/a/b")["Body"].read() == b"mine"
    assert await listed(store) == ["a/b"]


async def test_a_setting_with_credentials_of_the_environment(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    url = f"s3://{new_bucket(endpoint)}/p?endpoint={endpoint}&region={REGION}&allow_http=true"
    await probe(open_store(url))


async def test_a_large_object(endpoint: str) -> None:
    store = s3(s3_settings(endpoint, new_bucket(endpoint)))
    data = bytes(range(256)) * (1 << 16)
    await store.put("a", data)
    assert await store.get("a") == data


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (http("503 Slow Down", error("SlowDown")), StoreUnavailable),
        (http("500 Internal Server Error", error("InternalError")), StoreUnavailable),
        (http("404 Not Found", b"<html>no such site</html>"), StoreUnavailable),
        (http("404 Not Found", b""), StoreUnavailable),
        (http("403 Forbidden", error("AccessDenied")), StoreRefused),
        (http("401 Unauthorized", b""), StoreRefused),
        (http("400 Bad Request", error("ExpiredToken")), StoreRefused),
        (http("507 Insufficient Storage", error("XMinioStorageFull")), StoreFull),
        (b"", StoreUnavailable),
        (b"SSH-2.0-OpenSSH_9.2\r\n", StoreUnavailable),
    ],
)
async def test_bad_answers_to_every_call(answer: bytes, expected: type[Exception]) -> None:
    async with server(answer) as (store, requests):
        for call in calls(store):
            with pytest.raises(StoreUnavailable, match="s3://bucket/some/prefix") as raised:
                await call()
            assert type(raised.value) is expected
            assert len(str(raised.value)) < 1_000
        assert all(SECRET_KEY.encode() not in request for request in requests)


async def test_that_the_object_is_missing_is_believed_only_where_one_is_asked_for() -> None:
    async with server(http("404 Not Found", error("NoSuchKey"))) as (store, _):
        with pytest.raises(ObjectMissing, match="a/b"):
            await store.get("a/b")
        assert await store.size("a/b") is None
        with pytest.raises(StoreUnavailable):
            await store.put("a/b", b"x")
        with pytest.raises(StoreUnavailable):
            await listed(store)


async def test_a_look_at_a_store_that_is_down_is_not_repeated_as_a_get() -> None:
    async with server(http("503 Slow Down", b"")) as (store, requests):
        with pytest.raises(StoreUnavailable):
            await store.size("a/b")
        assert {request[:5] for request in requests} == {b"HEAD "}


async def test_half_an_answer_is_not_an_object() -> None:
    whole = http("200 OK", b"x" * 100_000, 'ETag: "1"', "Last-Modified: Tue, 24 Nov 2026 09:00:00 GMT")
    async with server(whole) as (store, _):
        assert await store.get("a/b") == b"x" * 100_000
    async with server(whole[:-1]) as (store, _):
        with pytest.raises(StoreUnavailable, match="a/b"):
            await store.get("a/b")


async def test_silence_ends() -> None:
    async with server(b"", then_close=False) as (store, _):
        began = time.monotonic()
        for call in (store.get("a/b"), store.put("a/b", b"x")):
            with pytest.raises(StoreUnavailable, match="a/b"):
                await call
        assert time.monotonic() - began < 30


async def test_nobody_there() -> None:
    store = s3(s3_settings("http://127.0.0.1:1", "bucket"))
    for call in calls(store):
        with pytest.raises(StoreUnavailable):
            await call()
