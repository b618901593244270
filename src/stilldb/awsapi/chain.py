"""The path that every signed request takes, whatever its form: request id -> answer or fault -> metrics.

Every error goes through this one funnel: a Fault is told, anything else is InternalFailure, and the log has its stack.
"""

from __future__ import annotations

import abc
import dataclasses
import logging
import time
import uuid

import prometheus_client
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stilldb.awsapi import errors
from stilldb.domain.faults import Fault
from stilldb.util.log import event
from stilldb.util.metrics import REGISTRY

log = logging.getLogger("stilldb.api")

REQUESTS = prometheus_client.Counter(
    "stilldb_api_requests",
    "Requests to the management API, by operation and outcome: ok, or the code of the error.",
    ["operation", "outcome"],
    registry=REGISTRY,
)
SECONDS = prometheus_client.Histogram(
    "stilldb_api_request_seconds",
    "How long requests to the management API took, from the first byte of the body to the answer.",
    ["operation"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


@dataclasses.dataclass(slots=True)
class Exchange:
    """A request that is being answered; ``operation`` is known once it is one that there is."""

    request_id: str
    operation: str = "unknown"


class Chain(abc.ABC):
    """An ASGI application that answers each request in its own form."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whatever the method and the path, the answer is in this form."""
        try:
            response = await self.answer(Request(scope, receive))
        except ClientDisconnect:
            return  # nobody is left to answer
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """One request; raises ClientDisconnect."""
        exchange, started = Exchange(str(uuid.uuid4())), time.perf_counter()
        try:
            response, outcome = await self.respond(request, exchange), "ok"
        except ClientDisconnect:
            raise
        except Fault as fault:
            response, outcome = self.failure(fault, exchange.request_id), fault.code
        except Exception:
            log.exception(event("internal failure", request=exchange.request_id))
            unknown = errors.InternalFailure(
                "An internal error occurred. The server's log tells more under the request id "
                f"{exchange.request_id}."
            )
            response, outcome = self.failure(unknown, exchange.request_id), unknown.code
        REQUESTS.labels(exchange.operation, outcome).inc()
        SECONDS.labels(exchange.operation).observe(time.perf_counter() - started)
        return response

    @abc.abstractmethod
    async def respond(self, request: Request, exchange: Exchange) -> Response:
        """The answer; raises Fault."""

    @abc.abstractmethod
    def failure(self, fault: Fault, request_id: str) -> Response:
        """The answer that tells a fault."""
