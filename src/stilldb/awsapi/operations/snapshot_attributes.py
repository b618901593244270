"""ModifyDBClusterSnapshotAttribute and DescribeDBClusterSnapshotAttributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi.operations import shapes
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.awsapi.operations.snapshots import own_name
from stilldb.control import sharing
from stilldb.control.context import Control
from stilldb.domain.resources import Snapshot


def _answer(snapshot: Snapshot) -> Mapping[str, Any]:
    return {"DBClusterSnapshotAttributesResult": shapes.snapshot_attributes(snapshot)}


@operation(
    "ModifyDBClusterSnapshotAttribute",
    takes="DBClusterSnapshotIdentifier AttributeName ValuesToAdd ValuesToRemove",
)
async def modify_db_cluster_snapshot_attribute(control: Control, params: Params) -> Mapping[str, Any]:
    """Let other accounts, or all, restore and copy a manual snapshot, or no longer."""
    snapshot = await sharing.modify(
        control,
        own_name(control, params),
        params["AttributeName"],
        params.get("ValuesToAdd", ()),
        params.get("ValuesToRemove", ()),
    )
    return _answer(snapshot)


@operation("DescribeDBClusterSnapshotAttributes", takes="DBClusterSnapshotIdentifier")
async def describe_db_cluster_snapshot_attributes(control: Control, params: Params) -> Mapping[str, Any]:
    """Who may restore and copy a snapshot of this account."""
    return _answer(await sharing.attributes(control, own_name(control, params)))
