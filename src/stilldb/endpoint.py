"""The one object the management plane hands to the data plane: which endpoint serves which incarnation, and how.

The management plane writes it as a JSON file (mode 0600: it carries the master user's SCRAM verifiers and names the TLS
key); the gateway reads it at start. Nothing else crosses between the planes.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScramVerifier:
    """What a server keeps of a password (RFC 5802 section 3); all byte strings in base64."""

    mechanism: str  # "SCRAM-SHA-1" or "SCRAM-SHA-256"
    iterations: int
    salt: str
    stored_key: str
    server_key: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MasterUser:
    """The cluster's master user. ``version`` grows with each change of the password."""

    name: str
    version: int
    verifiers: tuple[ScramVerifier, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEndpoint:
    """Everything a gateway process needs to serve one DB instance."""

    cluster_resource_id: str
    incarnation: int
    instance_id: str  # the DB instance's resource id, db-...
    writer: bool
    engine_version: str  # "5.0.0"
    postgres_host: str  # directory of PostgreSQL's unix socket
    postgres_port: int
    postgres_user: str
    postgres_database: str
    listen: tuple[tuple[str, int], ...]  # every (address, port) this gateway answers on
    replica_set: str  # "rs0"
    hosts: tuple[str, ...]  # "address:port" of every instance of the cluster
    me: str
    primary: str
    tls_certificate: str | None  # PEM file: leaf, then CA
    tls_key: str | None
    health_socket: str  # unix socket that answers one JSON line: {"ready": bool, "reason": str, ...}
    max_connections: int
    master_user: MasterUser | None  # None: the users come from the data (a restored cluster)
    run_as: tuple[int, int] | None  # uid, gid to drop to when started as root
    guest: MasterUser | None = None  # a user that this endpoint alone knows: it is not in the data

    def to_json(self) -> str:
        """The endpoint as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> GatewayEndpoint:
        """Read what ``to_json`` wrote; raises ValueError, KeyError or TypeError on anything else."""
        raw: dict[str, Any] = json.loads(text)
        listen = tuple((str(address), int(port)) for address, port in raw.pop("listen"))
        run_as = raw.pop("run_as")
        return cls(
            listen=listen,
            hosts=tuple(raw.pop("hosts")),
            master_user=_user(raw.pop("master_user")),
            guest=_user(raw.pop("guest", None)),
            run_as=None if run_as is None else (int(run_as[0]), int(run_as[1])),
            **raw,
        )


def _user(raw: dict[str, Any] | None) -> MasterUser | None:
    if raw is None:
        return None
    verifiers = tuple(ScramVerifier(**verifier) for verifier in raw.pop("verifiers"))
    return MasterUser(verifiers=verifiers, **raw)
