"""``GET /metrics``: every metric in Prometheus' text form. From this host anybody may read it, from elsewhere who signs."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from stilldb.awsapi import errors
from stilldb.awsapi.callers import Authenticator
from stilldb.awsapi.chain import Chain, Exchange
from stilldb.awsapi.receive import receive
from stilldb.domain.faults import Fault
from stilldb.util import metrics

PATH: Final = "/metrics"
_BY_PROXY = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Scrape(Chain):
    """The endpoint. ``looks`` set the gauges that are looked up when they are asked for."""

    def __init__(self, authenticate: Authenticator, looks: Sequence[metrics.Look]) -> None:
        self._authenticate = authenticate
        self._looks = looks

    async def respond(self, request: Request, exchange: Exchange) -> Response:
        """All metrics of this process."""
        exchange.operation = "metrics"
        if request.method != "GET":
            raise errors.MethodNotAllowed(f"The method {request.method} is not allowed. Use GET.")
        received = await receive(request)
        if not _from_here(request):
            self._authenticate(received)
        return Response(await metrics.render(self._looks), headers={"content-type": metrics.CONTENT_TYPE})

    def failure(self, fault: Fault, request_id: str) -> Response:
        """A line that tells a fault."""
        headers = {"x-amzn-requestid": request_id, "content-type": "text/plain; charset=utf-8"}
        return Response(f"{fault.code}: {fault.message}\n", fault.status, headers)


def _from_here(request: Request) -> bool:
    """Whether the client is on this host; what a proxy hands on is not."""
    if request.client is None or any(name in request.headers for name in _BY_PROXY):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
