"""What Describe operations see: a resource together with what belongs to it, read in one transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from stilldb.control.ports import Transaction
from stilldb.domain.resources import Cluster, Instance


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster and its instances."""

    cluster: Cluster
    members: tuple[Instance, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceView:
    """An instance and its cluster."""

    instance: Instance
    cluster: Cluster


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Which rows to list: field filters, at most ``limit`` rows after the key ``after``."""

    limit: int
    after: str | None = None
    equals: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``Transaction.find``; one row more than the page tells whether there is another."""
        after = None if self.after is None else (self.after,)
        return {**self.equals, "after": after, "limit": self.limit + 1}

    def named(self, identifier: str) -> dict[str, Any]:
        """The keyword arguments of ``Transaction.find`` for the one row with this identifier, if no filter excludes it."""
        fitting = self.equals.get("identifier", [identifier])
        return {**self.equals, "identifier": [identifier] if identifier in fitting else []}


def cluster_view(tx: Transaction, cluster: Cluster) -> ClusterView:
    """The cluster with its members."""
    return ClusterView(cluster, tuple(tx.find(Instance, cluster_resource_id=cluster.resource_id)))


def instance_view(tx: Transaction, instance: Instance) -> InstanceView:
    """The instance with its cluster, which outlives its instances."""
    (cluster,) = tx.find(Cluster, resource_id=instance.cluster_resource_id)
    return InstanceView(instance, cluster)
