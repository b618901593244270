"""What the connections of one gateway share."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from bson import Int64, ObjectId

from stilldb.gateway.cursors import Cursors
from stilldb.query.errors import MongoError
from stilldb.query.values import Document

if TYPE_CHECKING:
    from stilldb.endpoint import GatewayEndpoint
    from stilldb.gateway.ports import DocumentStore


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a peer may hold, in seconds and bytes."""

    first_message: float = 10.0  # until a new connection has said something whole
    unauthenticated_idle: float = (
        300.0  # drivers' monitors are never authenticated, and speak every few seconds
    )
    stalled: float = 120.0  # a message that began and does not grow
    unauthenticated_bytes: int = 64 * 1024  # of one message
    sweep: float = 2.0  # how often the above are looked at
    drain: float = 5.0  # what running commands get at shutdown
    expiry: float = 60.0  # between two looks at TTL indexes


class Context:
    """The endpoint, the documents, the cursors and some counts."""

    def __init__(self, endpoint: GatewayEndpoint, limits: Limits | None = None) -> None:
        self.endpoint = endpoint
        self.limits = limits or Limits()
        self.cursors = Cursors()
        self.started = time.monotonic()
        self.process_id = ObjectId()
        self.commands = 0
        self.connections = 0
        self.connections_made = 0
        self._documents: DocumentStore | None = None

    @property
    def documents(self) -> DocumentStore:
        """The documents; raises HostUnreachable as long as PostgreSQL was never reached."""
        if self._documents is None:
            raise MongoError("HostUnreachable", "the instance is starting: its storage does not answer yet")
        return self._documents

    @documents.setter
    def documents(self, opened: DocumentStore) -> None:
        self._documents = opened

    @property
    def opened(self) -> bool:
        """Whether there are documents."""
        return self._documents is not None

    @property
    def topology_version(self) -> Document:
        """It never changes while the process lives: another topology is another gateway."""
        return {"processId": self.process_id, "counter": Int64(0)}
