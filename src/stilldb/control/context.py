"""What every use case is given: the deployment, the store and the ports, bound together once at start."""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Callable

from stilldb.control.ports import Gateways, Host, Store, Volumes
from stilldb.domain import engine
from stilldb.domain.names import Deployment


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """How many of each the account can have (Developer Guide, limits)."""

    clusters: int = engine.CLUSTER_QUOTA
    instances: int = engine.INSTANCE_QUOTA
    manual_snapshots: int = engine.MANUAL_SNAPSHOT_QUOTA


def utc_now() -> datetime.datetime:
    """The present moment, aware, in UTC."""
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass(slots=True, kw_only=True)
class Control:
    """The management plane's dependencies. ``wake`` tells the worker that a job was written."""

    deployment: Deployment
    store: Store
    volumes: Volumes
    gateways: Gateways
    host: Host
    quotas: Quotas = Quotas()
    now: Callable[[], datetime.datetime] = utc_now
    chance: random.Random = dataclasses.field(default_factory=random.SystemRandom)
    wake: Callable[[], None] = lambda: None
    progress: dict[str, int] = dataclasses.field(
        default_factory=dict
    )  # resource id -> percent of a running restore
