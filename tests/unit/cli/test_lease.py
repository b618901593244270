"""A look is kept open while the service answers, and given up when it has not for as long as the lease lasts."""

from __future__ import annotations

import threading
import time
from typing import Any

from botocore.exceptions import EndpointConnectionError

from stilldb.cli.service import Refused, Service

LEASE = 0.2  # seconds


class Answers(Service):
    """A service that answers so many times and then fails."""

    def __init__(self, good: int, failure: Exception) -> None:
        self.good, self.failure, self.asked = good, failure, 0

    def call(self, verb: str, **params: Any) -> dict[str, Any]:
        assert (verb, params) == ("RenewLook", {"look_id": "l"})
        self.asked += 1
        if self.asked > self.good:
            raise self.failure
        return {}


def kept(service: Answers) -> float:
    """Seconds until the look is given up."""
    lost = threading.Event()
    began = time.monotonic()
    service._keep({"look_id": "l", "lease_seconds": LEASE}, threading.Event(), lost)
    assert lost.is_set()
    return time.monotonic() - began


def test_a_service_that_is_gone_is_given_up_with_the_lease() -> None:
    assert LEASE < kept(Answers(0, EndpointConnectionError(endpoint_url="http://gone"))) < 10
    service = Answers(3, EndpointConnectionError(endpoint_url="http://gone"))
    assert kept(service) > LEASE * 1.7, "counted from the last renewal"
    assert service.asked > 4


def test_a_closed_look_is_given_up_at_once() -> None:
    service = Answers(0, Refused("LookNotFound", "closed"))
    kept(service)
    assert service.asked == 1
