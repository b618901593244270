"""Tags of resources: AddTagsToResource, ListTagsForResource, RemoveTagsFromResource, and tags given at creation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stilldb.control.context import Control
from stilldb.control.ports import Transaction
from stilldb.domain.faults import (
    DBClusterNotFoundFault,
    DBClusterSnapshotNotFoundFault,
    DBInstanceNotFound,
    InvalidParameterValue,
)
from stilldb.domain.names import Deployment, resource_arn
from stilldb.domain.resources import Cluster, Instance, Snapshot, Tag
from stilldb.domain.tags import within_limit

_TAGGABLE = {
    "cluster": (Cluster, DBClusterNotFoundFault, "DBCluster {} not found."),
    "db": (Instance, DBInstanceNotFound, "DBInstance {} not found."),
    "cluster-snapshot": (Snapshot, DBClusterSnapshotNotFoundFault, "DBClusterSnapshot not found: {}"),
}


def _require(tx: Transaction, deployment: Deployment, resource_name: str) -> str:
    """The canonical ARN of an existing resource of ours; faults otherwise."""
    kind, name = resource_arn(resource_name, deployment)
    if kind not in _TAGGABLE:
        raise InvalidParameterValue(f"Invalid resource name:  {resource_name}")
    row, missing, message = _TAGGABLE[kind]
    if tx.count(row, identifier=name) == 0:
        raise missing(message.format(name))
    return deployment.arn(kind, name)


def put(tx: Transaction, arn: str, tags: Mapping[str, str]) -> None:
    """Set tags on a resource; a key that is there gets the new value."""
    present = read(tx, arn)
    within_limit({**present, **tags})
    for key, value in tags.items():
        tag = Tag(arn=arn, key=key, value=value)
        if key in present:
            tx.save(tag)
        else:
            tx.add(tag)


def read(tx: Transaction, arn: str) -> dict[str, str]:
    """Key to value of a resource's tags."""
    return {tag.key: tag.value for tag in tx.find(Tag, arn=arn)}


def drop_all(tx: Transaction, arn: str) -> None:
    """Remove a resource's tags with it."""
    for tag in tx.find(Tag, arn=arn):
        tx.remove(tag)


async def add(control: Control, resource_name: str, tags: Mapping[str, str]) -> None:
    """AddTagsToResource."""
    await control.store.run(
        lambda tx: put(tx, _require(tx, control.deployment, resource_name), tags),
    )


async def listed(control: Control, resource_name: str) -> dict[str, str]:
    """ListTagsForResource."""
    return await control.store.run(lambda tx: read(tx, _require(tx, control.deployment, resource_name)))


async def remove(control: Control, resource_name: str, keys: Iterable[str]) -> None:
    """RemoveTagsFromResource; an absent key is no error."""
    wanted = list(keys)

    def work(tx: Transaction) -> None:
        arn = _require(tx, control.deployment, resource_name)
        for tag in tx.find(Tag, arn=arn, key=wanted):
            tx.remove(tag)

    await control.store.run(work)
