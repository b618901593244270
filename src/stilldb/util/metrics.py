"""The one registry of metrics of this process; rooms make their gauges, counters and histograms in it.

Names begin with ``stilldb_`` and end in their unit; labels have few values, and never what a client can make up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import prometheus_client

REGISTRY: Final = prometheus_client.CollectorRegistry()
CONTENT_TYPE: Final = prometheus_client.CONTENT_TYPE_LATEST

Look = Callable[[], Awaitable[None]]


async def render(looks: Sequence[Look]) -> bytes:
    """Every metric in Prometheus' text form, after ``looks`` have set the gauges that are looked up when asked for."""
    for look in looks:
        await look()
    return prometheus_client.generate_latest(REGISTRY)
