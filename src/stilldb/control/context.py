"""What every use case is given: the deployment, the store and the ports of one account and region, bound together.

``Controls`` has them of all: what looks after everything that runs (worker, reconciler) or comes from a request starts there.
"""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Callable, Collection, Mapping

from stilldb.control.ports import Gateways, Host, Kms, Store, Volumes
from stilldb.domain import engine
from stilldb.domain.names import Deployment, Scope
from stilldb.domain.volumes import RestorableWindow


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
    """The management plane of one account and region. ``wake`` tells the worker that a job was written.

    ``across`` is the one way to another account or region of this deployment: None when it has no such one.
    """

    deployment: Deployment
    store: Store
    volumes: Volumes
    gateways: Gateways
    host: Host
    kms: Kms
    quotas: Quotas = Quotas()
    now: Callable[[], datetime.datetime] = utc_now
    chance: random.Random = dataclasses.field(default_factory=random.SystemRandom)
    wake: Callable[[], None] = lambda: None
    across: Callable[[str, str], Control | None] = lambda account, region: None
    regions: tuple[str, ...] = ()  # that this deployment serves, the default one first
    accounts: Callable[[], Collection[str]] = tuple  # that have a key or own something, at this moment
    progress: dict[str, int] = dataclasses.field(
        default_factory=dict
    )  # resource id of a cluster, or snapshot id -> percent of a running restore or copy
    windows: dict[str, RestorableWindow] = dataclasses.field(
        default_factory=dict
    )  # resource id -> as of the last look: a listing of clusters asks no volume


class Controls:
    """The Control of each account and region of this deployment, made when it is first asked for.

    ``volumes`` are those of each region served, the default one first; ``make`` gives a Control with its ports.
    """

    def __init__(
        self,
        store: Store,
        volumes: Mapping[str, Volumes],
        make: Callable[[Scope], Control],
        accounts: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.store = store
        self.volumes = volumes
        self.awaken: Callable[[], None] = lambda: None  # the worker's
        self._make = make
        self._with_keys = accounts
        self._made: dict[Scope, Control] = {}

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions served, the default one first."""
        return tuple(self.volumes)

    def wake(self) -> None:
        """Tell the worker that a job was written."""
        self.awaken()

    def accounts(self) -> frozenset[str]:
        """The accounts that have a key, own something or have asked for something."""
        return frozenset(self._with_keys()) | {scope.account for scope in self._made}

    def of(self, scope: Scope) -> Control:
        """The Control of an account in a region that is served."""
        if scope not in self._made:
            control = self._make(scope)
            control.wake = self.wake
            control.across, control.regions, control.accounts = self.across, self.regions, self.accounts
            self._made[scope] = control
        return self._made[scope]

    def across(self, account: str, region: str) -> Control | None:
        """The Control of an account in a region; None when the account is not known or the region not served."""
        known = region in self.volumes and account in self.accounts()
        return self.of(Scope(account, region)) if known else None
