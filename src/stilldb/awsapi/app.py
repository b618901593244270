"""The management API as an ASGI application: the path of a request is the list in ``Api.answer``.

request id -> size and time limits -> SigV4 -> parse by the model -> dispatch -> serialise by the model; every error goes
through one funnel.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from stilldb.awsapi import errors, model, parser, serializer, sigv4
from stilldb.awsapi.context import RequestContext
from stilldb.awsapi.sigv4 import HttpRequest
from stilldb.domain.faults import Fault, OperationNotImplemented
from stilldb.util.log import event

log = logging.getLogger("stilldb.api")

MAX_BODY = 1 << 20  # bytes; the largest request of this API is far smaller
BODY_WITHIN = 20.0  # seconds: a slow client holds no connection for ever

Handler = Callable[[RequestContext, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
Authenticator = Callable[[HttpRequest], str | None]  # the access key, or a Fault


def signed(region: str, secret_of: Callable[[str], str | None]) -> Authenticator:
    """Every request must be signed with a known key."""

    def authenticate(request: HttpRequest) -> str | None:
        now = datetime.datetime.now(datetime.UTC)
        return sigv4.verify(request, region=region, now=now, secret_of=secret_of)

    return authenticate


def anyone(request: HttpRequest) -> str | None:
    """Any signature or none: for use as an emulator on loopback."""
    return sigv4.access_key(request)


class Api:
    """The operations behind one URL."""

    def __init__(self, handlers: Mapping[str, Handler], authenticate: Authenticator) -> None:
        self._handlers = handlers
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: whatever the method and the path, the answer is in the API's own form."""
        try:
            response = await self.answer(Request(scope, receive))
        except ClientDisconnect:
            return  # nobody is left to answer
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """One request of the Query protocol; raises ClientDisconnect."""
        request_id = str(uuid.uuid4())
        try:
            received = await _receive(request)
            access_key = self._authenticate(received)
            found = parser.fields(_query_of(received))
            context = RequestContext(request_id, parser.operation(found), access_key)
            result = await self._dispatch(context, found)
            return _response(serializer.answer(context.operation, result, request_id), 200, request_id)
        except ClientDisconnect:
            raise
        except Fault as fault:
            return _failure(fault, request_id)
        except Exception:
            log.exception(event("internal failure", request=request_id))
            message = (
                f"An internal error occurred. The server's log tells more under the request id {request_id}."
            )
            return _failure(errors.InternalFailure(message), request_id)

    async def _dispatch(self, context: RequestContext, found: Mapping[str, str]) -> Mapping[str, Any]:
        handler = self._handlers.get(context.operation)
        if handler is None:
            raise OperationNotImplemented(
                f"The operation {context.operation} is not available in this release of StillDB. Nothing was changed."
            )
        return await handler(context, parser.parameters(context.operation, found))


async def _receive(request: Request) -> HttpRequest:
    if request.url.path != "/":
        raise errors.NoSuchPath("There is nothing at this path. The management API answers at /.")
    if request.method not in {"GET", "POST"}:
        raise errors.MethodNotAllowed(f"The method {request.method} is not allowed. Use POST or GET.")
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


def _query_of(received: HttpRequest) -> bytes:
    """The form body of a POST, or the query string of a GET."""
    return received.body if received.method == "POST" and received.body else received.query.encode("latin-1")


def _response(body: bytes, status: int, request_id: str) -> Response:
    return Response(body, status, {"x-amzn-requestid": request_id, "content-type": "text/xml"})


def _failure(fault: Fault, request_id: str) -> Response:
    return _response(serializer.error(fault, request_id), fault.status, request_id)


def build(
    handlers: Mapping[str, Handler], authenticate: Authenticator, extra: Sequence[BaseRoute] = ()
) -> Starlette:
    """The application: further routes, and the Query protocol; refuses handlers the model does not have."""
    unknown = set(handlers) - model.operations()
    if unknown:
        raise ValueError(f"the service model has no operations {sorted(unknown)}")
    api = Api(handlers, authenticate)
    return Starlette(routes=[*extra, Route("/{path:path}", api)])
