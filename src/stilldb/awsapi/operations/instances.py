"""CreateDBInstance, DescribeDBInstances, DeleteDBInstance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi import paging
from stilldb.awsapi.operations import filters, shapes
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.control import instances
from stilldb.control.context import Control
from stilldb.control.instances import NewInstance
from stilldb.control.views import Page
from stilldb.domain import engine, names
from stilldb.domain.tags import validated

_INSIGHTS = "Performance Insights is not available yet: leave it out."


@operation(
    "CreateDBInstance",
    takes="DBInstanceIdentifier DBInstanceClass Engine AvailabilityZone PreferredMaintenanceWindow "
    "AutoMinorVersionUpgrade Tags DBClusterIdentifier CopyTagsToSnapshot PromotionTier CACertificateIdentifier",
    refuses={"EnablePerformanceInsights": _INSIGHTS, "PerformanceInsightsKMSKeyId": _INSIGHTS},
)
async def create_db_instance(control: Control, params: Params) -> Mapping[str, Any]:
    """A PostgreSQL server and a gateway for a cluster."""
    engine.engine_of_cluster(params["Engine"])
    new = NewInstance(
        identifier=names.identifier(params["DBInstanceIdentifier"], "DBInstanceIdentifier"),
        cluster_identifier=names.reference(
            params["DBClusterIdentifier"], "DBClusterIdentifier", "cluster", control.deployment
        ),
        instance_class=params["DBInstanceClass"],
        availability_zone=params.get("AvailabilityZone"),
        preferred_maintenance_window=params.get("PreferredMaintenanceWindow"),
        auto_minor_version_upgrade=params.get("AutoMinorVersionUpgrade", True),
        copy_tags_to_snapshot=params.get("CopyTagsToSnapshot", False),
        promotion_tier=params.get("PromotionTier"),
        ca_certificate=params.get("CACertificateIdentifier"),
        tags=validated(params.get("Tags", ())),
    )
    return {"DBInstance": shapes.instance(control, await instances.create(control, new))}


_FILTERS = {
    "db-instance-id": "identifier",
    "db-cluster-id": "cluster_identifier",
    "dbi-resource-id": "resource_id",
    "engine": None,
}


@operation("DescribeDBInstances", takes="DBInstanceIdentifier Filters MaxRecords Marker")
async def describe_db_instances(control: Control, params: Params) -> Mapping[str, Any]:
    """One instance by name or ARN, or a page of all."""
    limit, name = paging.limit(params), _named(control, params)
    equals = filters.equals(control, params.get("Filters", ()), _FILTERS)
    page = Page(limit, paging.after("DescribeDBInstances", params, name), equals)
    views = await instances.describe(control, name, page)
    listed, marker = paging.cut("DescribeDBInstances", params, views, lambda view: view.instance.identifier)
    return {"DBInstances": [shapes.instance(control, view) for view in listed], **marker}


def _named(control: Control, params: Params) -> str | None:
    if "DBInstanceIdentifier" not in params:
        return None
    return names.reference(params["DBInstanceIdentifier"], "DBInstanceIdentifier", "db", control.deployment)


@operation("DeleteDBInstance", takes="DBInstanceIdentifier")
async def delete_db_instance(control: Control, params: Params) -> Mapping[str, Any]:
    """The servers stop; the cluster and its data stay."""
    name = names.reference(params["DBInstanceIdentifier"], "DBInstanceIdentifier", "db", control.deployment)
    return {"DBInstance": shapes.instance(control, await instances.delete(control, name))}
