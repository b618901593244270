"""CreateDBClusterSnapshot, DescribeDBClusterSnapshots, DeleteDBClusterSnapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi import paging
from stilldb.awsapi.operations import filters, shapes
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.control import snapshots
from stilldb.control.context import Control
from stilldb.control.views import Page
from stilldb.domain import names
from stilldb.domain.faults import InvalidParameterValue
from stilldb.domain.tags import validated

_TYPES = ("manual", "automated", "shared", "public")
_OWN = ("manual", "automated")


@operation("CreateDBClusterSnapshot", takes="DBClusterSnapshotIdentifier DBClusterIdentifier Tags")
async def create_db_cluster_snapshot(control: Control, params: Params) -> Mapping[str, Any]:
    """A manual snapshot of a cluster's data at this moment."""
    snapshot = await snapshots.create(
        control,
        identifier=names.snapshot_identifier(
            params["DBClusterSnapshotIdentifier"], "DBClusterSnapshotIdentifier"
        ),
        given_tags=validated(params.get("Tags", ())),
        cluster_identifier=names.reference(
            params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment
        ),
    )
    return {"DBClusterSnapshot": shapes.snapshot(control, snapshot)}


@operation(
    "DescribeDBClusterSnapshots",
    takes="DBClusterIdentifier DBClusterSnapshotIdentifier SnapshotType Filters MaxRecords Marker IncludeShared IncludePublic",
)
async def describe_db_cluster_snapshots(control: Control, params: Params) -> Mapping[str, Any]:
    """One snapshot by name or ARN, or a page of those of a cluster, of a type, or all.

    Nothing is shared with this account or public, so those types list nothing and IncludeShared and IncludePublic add
    nothing. A cluster and a snapshot name together narrow the answer, as on AWS.
    """
    limit, name = paging.limit(params), _named(control, params)
    equals = filters.equals(control, params.get("Filters", ()), _FILTERS)
    narrowed = _narrowed(control, params)
    if name is None:
        for field, values in narrowed.items():
            equals[field] = [value for value in values if value in equals.get(field, values)]
    page = Page(limit, paging.after("DescribeDBClusterSnapshots", params, name), equals)
    found = await snapshots.describe(control, name, page)
    fitting = [row for row in found if all(getattr(row, field) in narrowed[field] for field in narrowed)]
    listed, marker = paging.cut("DescribeDBClusterSnapshots", params, fitting, lambda row: row.identifier)
    return {"DBClusterSnapshots": [shapes.snapshot(control, row) for row in listed], **marker}


_FILTERS = {
    "db-cluster-id": "cluster_identifier",
    "db-cluster-snapshot-id": "identifier",
    "snapshot-type": "snapshot_type",
    "engine": None,
}


def _narrowed(control: Control, params: Params) -> dict[str, list[str]]:
    """What the parameters leave of each field: unlike a filter, they make an empty list of a named snapshot."""
    wanted: dict[str, list[str]] = {}
    if "DBClusterIdentifier" in params:
        wanted["cluster_identifier"] = [
            names.reference(
                params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment
            )
        ]
    kind = params.get("SnapshotType")
    if kind is not None:
        if kind not in _TYPES:
            raise InvalidParameterValue(
                f"Invalid snapshot type: {kind}. Valid types are {', '.join(_TYPES)}."
            )
        wanted["snapshot_type"] = [kind] if kind in _OWN else []
    return wanted


def _named(control: Control, params: Params) -> str | None:
    if "DBClusterSnapshotIdentifier" not in params:
        return None
    return names.reference(
        params["DBClusterSnapshotIdentifier"],
        "DBClusterSnapshotIdentifier",
        "cluster-snapshot",
        control.deployment,
    )


@operation("DeleteDBClusterSnapshot", takes="DBClusterSnapshotIdentifier")
async def delete_db_cluster_snapshot(control: Control, params: Params) -> Mapping[str, Any]:
    """The snapshot goes, and what only it needed; the answer shows it as it was."""
    name = names.reference(
        params["DBClusterSnapshotIdentifier"],
        "DBClusterSnapshotIdentifier",
        "cluster-snapshot",
        control.deployment,
    )
    return {"DBClusterSnapshot": shapes.snapshot(control, await snapshots.delete(control, name))}
