"""DescribeStatus: what runs, and what work is pending or in trouble, in every region of the caller's account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from stilldb.awsapi.admin import Params, Progress, verb
from stilldb.control import status
from stilldb.control.context import Control
from stilldb.control.status import RegionStatus
from stilldb.control.views import ClusterView
from stilldb.domain.resources import Instance, Job, Snapshot


class Tools(Protocol):
    """What this verb works with."""

    @property
    def control(self) -> Control: ...


@verb("DescribeStatus")
async def describe_status(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Clusters, instances, snapshots and durable jobs, by region."""
    found = await status.overview(tools.control)
    return {"account": tools.control.deployment.account, "regions": [_region(each) for each in found]}


def _region(found: RegionStatus) -> dict[str, Any]:
    return {
        "region": found.region,
        "clusters": [_cluster(view) for view in found.clusters],
        "instances": [_instance(instance) for instance in found.instances],
        "snapshots": [_snapshot(snapshot) for snapshot in found.snapshots],
        "jobs": [_job(job) for job in found.jobs],
    }


def _cluster(view: ClusterView) -> dict[str, Any]:
    cluster = view.cluster
    return {
        "identifier": cluster.identifier,
        "status": cluster.status,
        "reason": cluster.status_reason,
        "endpoint": cluster.address,
        "port": cluster.port,
        "instances": [member.identifier for member in view.members],
    }


def _instance(instance: Instance) -> dict[str, Any]:
    return {
        "identifier": instance.identifier,
        "status": instance.status,
        "reason": instance.status_reason,
        "address": instance.address,
    }


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "identifier": snapshot.identifier,
        "cluster": snapshot.cluster_identifier,
        "type": snapshot.snapshot_type,
        "status": snapshot.status,
        "reason": snapshot.status_reason,
        "created_at": snapshot.created_at,
    }


def _job(job: Job) -> dict[str, Any]:
    return {
        "kind": job.kind,
        "resource": job.payload.get("identifier", job.resource),
        "attempts": job.attempts,
        "error": job.error,
        "since": job.created_at,
        "updated_at": job.updated_at,
    }
