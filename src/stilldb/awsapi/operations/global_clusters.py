"""DescribeGlobalClusters: there are none, and none can be made yet. Terraform asks for them after each new cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi import paging
from stilldb.awsapi.operations import filters
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.control.context import Control
from stilldb.domain.faults import GlobalClusterNotFoundFault


@operation("DescribeGlobalClusters", takes="GlobalClusterIdentifier Filters MaxRecords Marker")
async def describe_global_clusters(control: Control, params: Params) -> Mapping[str, Any]:
    """No global cluster; the fault for a named one."""
    paging.limit(params)
    name = params.get("GlobalClusterIdentifier")
    filters.equals(control, params.get("Filters", ()), {"db-cluster-id": "identifier"})
    if name is not None:
        raise GlobalClusterNotFoundFault(f"Global cluster '{name}' not found")
    paging.after("DescribeGlobalClusters", params, None)
    return {"GlobalClusters": []}
