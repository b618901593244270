"""CreateDBClusterSnapshot, CopyDBClusterSnapshot, DescribeDBClusterSnapshots, DeleteDBClusterSnapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from stilldb.awsapi import paging
from stilldb.awsapi.operations import filters, shapes
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.control import copies, sharing, snapshots
from stilldb.control.context import Control
from stilldb.control.copies import NewCopy
from stilldb.control.sharing import OWN, PUBLIC, SHARED
from stilldb.control.views import Page
from stilldb.domain import names
from stilldb.domain.faults import InvalidParameterValue
from stilldb.domain.resources import Snapshot
from stilldb.domain.tags import validated

_TYPES = (*OWN, SHARED, PUBLIC)


def _answer(control: Control, snapshot: Snapshot) -> Mapping[str, Any]:
    return {"DBClusterSnapshot": shapes.snapshot(control, sharing.own_view(control, snapshot))}


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
    return _answer(control, snapshot)


@operation(
    "CopyDBClusterSnapshot",
    takes="SourceDBClusterSnapshotIdentifier TargetDBClusterSnapshotIdentifier KmsKeyId PreSignedUrl CopyTags Tags",
    refuses={"SourceRegion": "Give the ARN of the source, which has its region in it."},
)
async def copy_db_cluster_snapshot(control: Control, params: Params) -> Mapping[str, Any]:
    """A manual snapshot made of another one, of this region or another, of this account or shared with it."""
    new = NewCopy(
        identifier=names.snapshot_identifier(
            params["TargetDBClusterSnapshotIdentifier"], "TargetDBClusterSnapshotIdentifier"
        ),
        source=names.place(
            params["SourceDBClusterSnapshotIdentifier"],
            "SourceDBClusterSnapshotIdentifier",
            "cluster-snapshot",
            control.deployment,
        ),
        kms_key_id=params.get("KmsKeyId"),
        copy_tags=params.get("CopyTags", False),
        tags=validated(params.get("Tags", ())),
    )
    _check_presigned(params)
    return _answer(control, await copies.copy(control, new))


def _check_presigned(params: Params) -> None:
    """A presigned URL isn't needed, since one service has every region; one that asks for another copy is refused."""
    url = params.get("PreSignedUrl")
    if url is None:
        return
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    source = "SourceDBClusterSnapshotIdentifier"
    if asked.get("Action") != "CopyDBClusterSnapshot" or asked.get(source) != params[source]:
        raise InvalidParameterValue("PreSignedUrl could not be authenticated.")


@operation(
    "DescribeDBClusterSnapshots",
    takes="DBClusterIdentifier DBClusterSnapshotIdentifier SnapshotType Filters MaxRecords Marker IncludeShared IncludePublic",
)
async def describe_db_cluster_snapshots(control: Control, params: Params) -> Mapping[str, Any]:
    """One snapshot by name or ARN, or a page of those of a cluster, of a type, or all.

    A cluster and a snapshot name together narrow the answer, as on AWS.
    """
    limit = paging.limit(params)
    equals = filters.equals(control, params.get("Filters", ()), _FILTERS)
    kinds, cluster = _kinds(params), _cluster(control, params)
    if "DBClusterSnapshotIdentifier" in params:
        view = await sharing.named(control, _named(control, params), Page(limit, None, equals))
        fits = (kinds is None or view.kind in kinds) and cluster in {None, view.snapshot.cluster_identifier}
        views = [view] if fits else []
    else:
        listed_kinds = _listed_kinds(params) if kinds is None else kinds
        wanted = equals.pop("snapshot_type", listed_kinds)
        listed_kinds = tuple(kind for kind in listed_kinds if kind in wanted)
        if cluster is not None:
            field = "cluster_identifier"
            equals[field] = [value for value in [cluster] if value in equals.get(field, [cluster])]
        page = Page(limit, paging.after("DescribeDBClusterSnapshots", params, None), equals)
        views = await sharing.listed(control, listed_kinds, page)
    listed, marker = paging.cut("DescribeDBClusterSnapshots", params, views, lambda view: view.identifier)
    return {"DBClusterSnapshots": [shapes.snapshot(control, view) for view in listed], **marker}


_FILTERS = {
    "db-cluster-id": "cluster_identifier",
    "db-cluster-snapshot-id": "identifier",
    "snapshot-type": "snapshot_type",
    "engine": None,
}


def _kinds(params: Params) -> tuple[str, ...] | None:
    """The one type that is asked for; None when none is."""
    kind = params.get("SnapshotType")
    if kind is None:
        return None
    if kind not in _TYPES:
        raise InvalidParameterValue(f"Invalid snapshot type: {kind}. Valid types are {', '.join(_TYPES)}.")
    return (kind,)


def _listed_kinds(params: Params) -> tuple[str, ...]:
    """Without a type: this account's, and with the flags those of others."""
    shared = (SHARED,) if params.get("IncludeShared", False) else ()
    public = (PUBLIC,) if params.get("IncludePublic", False) else ()
    return (*OWN, *shared, *public)


def _cluster(control: Control, params: Params) -> str | None:
    if "DBClusterIdentifier" not in params:
        return None
    return names.reference(
        params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment
    )


def _named(control: Control, params: Params) -> names.Place:
    return names.reference_place(
        params["DBClusterSnapshotIdentifier"],
        "DBClusterSnapshotIdentifier",
        "cluster-snapshot",
        control.deployment,
    )


def own_name(control: Control, params: Params) -> str:
    """The name of a snapshot that must be this account's."""
    return names.reference(
        params["DBClusterSnapshotIdentifier"],
        "DBClusterSnapshotIdentifier",
        "cluster-snapshot",
        control.deployment,
    )


@operation("DeleteDBClusterSnapshot", takes="DBClusterSnapshotIdentifier")
async def delete_db_cluster_snapshot(control: Control, params: Params) -> Mapping[str, Any]:
    """The snapshot goes, and what only it needed; the answer shows it as it was."""
    return _answer(control, await snapshots.delete(control, own_name(control, params)))
