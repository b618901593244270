"""What the request chain knows about a request when it reaches an operation."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks, and under which id the answer and the log speak of it."""

    request_id: str
    operation: str
    access_key_id: str | None
