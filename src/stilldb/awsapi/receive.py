"""What was received, whole: the body within limits of size and time, headers as lists, path and query as they came."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from stilldb.awsapi import errors
from stilldb.awsapi.sigv4 import HttpRequest

MAX_BODY = 1 << 20  # bytes; the largest request of this API is far smaller
BODY_WITHIN = 20.0  # seconds: a slow client holds no connection for ever


async def receive(request: Request) -> HttpRequest:
    """The request with its body; faults for one that is encoded, too large or too slow. Raises ClientDisconnect."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise errors.InvalidQueryParameter("The body must not be encoded (content-encoding, aws-chunked).")
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        headers.setdefault(name, []).append(value)
    return HttpRequest(
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1"),
        query=request.scope["query_string"].decode("latin-1"),
        headers=headers,
        body=await _body(request),
    )


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise errors.RequestTooLarge(f"The request is larger than {MAX_BODY} bytes.")
    except TimeoutError:
        raise errors.RequestTimeout(f"The request did not arrive within {BODY_WITHIN:.0f} seconds.") from None
    return bytes(body)
