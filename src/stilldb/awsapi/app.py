"""The management API as an ASGI application: the path of a request of the Query protocol is the list in ``Api.respond``.

size and time limits -> SigV4 -> parse by the model -> dispatch -> serialise by the model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stilldb.awsapi import errors, model, parser, serializer
from stilldb.awsapi.callers import Authenticator
from stilldb.awsapi.chain import Chain, Exchange
from stilldb.awsapi.context import RequestContext
from stilldb.awsapi.receive import receive
from stilldb.awsapi.sigv4 import HttpRequest
from stilldb.domain.faults import Fault, OperationNotImplemented

Handler = Callable[[RequestContext, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Api(Chain):
    """The operations behind one URL."""

    def __init__(self, handlers: Mapping[str, Handler], authenticate: Authenticator) -> None:
        self._handlers = handlers
        self._authenticate = authenticate

    async def respond(self, request: Request, exchange: Exchange) -> Response:
        """One request of the Query protocol."""
        received = await _receive(request)
        caller = self._authenticate(received)
        found = parser.fields(_query_of(received))
        exchange.operation = parser.operation(found)
        context = RequestContext(exchange.request_id, exchange.operation, caller)
        result = await self._dispatch(context, found)
        return _response(
            serializer.answer(context.operation, result, context.request_id), 200, context.request_id
        )

    def failure(self, fault: Fault, request_id: str) -> Response:
        """The XML that tells a fault."""
        return _response(serializer.error(fault, request_id), fault.status, request_id)

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
    return await receive(request)


def _query_of(received: HttpRequest) -> bytes:
    """The form body of a POST, or the query string of a GET."""
    return received.body if received.method == "POST" and received.body else received.query.encode("latin-1")


def _response(body: bytes, status: int, request_id: str) -> Response:
    return Response(body, status, {"x-amzn-requestid": request_id, "content-type": "text/xml"})


def build(
    handlers: Mapping[str, Handler], authenticate: Authenticator, extra: Sequence[BaseRoute] = ()
) -> Starlette:
    """The application: further routes, and the Query protocol; refuses handlers the model does not have."""
    unknown = set(handlers) - model.operations()
    if unknown:
        raise ValueError(f"the service model has no operations {sorted(unknown)}")
    api = Api(handlers, authenticate)
    return Starlette(routes=[*extra, Route("/{path:path}", api)])
