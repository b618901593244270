"""What an account has in every region: resources with their statuses, and the work that is pending."""

from __future__ import annotations

import dataclasses

from stilldb.control.context import Control
from stilldb.control.ports import Transaction
from stilldb.control.views import ClusterView, cluster_view
from stilldb.domain.resources import Cluster, Instance, Job, Snapshot


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RegionStatus:
    """Everything of one account in one region."""

    region: str
    clusters: list[ClusterView]
    instances: list[Instance]
    snapshots: list[Snapshot]
    jobs: list[Job]


async def overview(control: Control) -> list[RegionStatus]:
    """The status of each region that is served, of one moment."""
    account = control.deployment.account

    def work(tx: Transaction) -> list[RegionStatus]:
        return [_status(tx.within(account, region), region) for region in control.regions]

    return await control.store.run(work)


def _status(tx: Transaction, region: str) -> RegionStatus:
    return RegionStatus(
        region=region,
        clusters=[cluster_view(tx, cluster) for cluster in tx.find(Cluster)],
        instances=tx.find(Instance),
        snapshots=tx.find(Snapshot),
        jobs=tx.find(Job),
    )
