"""What the request chain knows about a request when it reaches an operation."""

from __future__ import annotations

import dataclasses

from stilldb.domain.names import Scope


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and in which region."""

    access_key_id: str | None
    account: str
    region: str

    @property
    def scope(self) -> Scope:
        """What the caller sees."""
        return Scope(self.account, self.region)


@dataclasses.dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks for what, and under which id the answer and the log speak of it."""

    request_id: str
    operation: str
    caller: Caller
