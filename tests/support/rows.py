"""One plausible row of each kind, for tests to vary with dataclasses.replace."""

from __future__ import annotations

import datetime

from stilldb.domain.resources import (
    Cluster,
    ClusterStatus,
    Instance,
    InstanceStatus,
    Job,
    Snapshot,
    SnapshotStatus,
    Tag,
)

MOMENT = datetime.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=datetime.UTC)


def cluster() -> Cluster:
    return Cluster(
        identifier="alpha",
        resource_id="cluster-A",
        incarnation=1,
        status=ClusterStatus.CREATING,
        engine_version="5.0.0",
        port=27017,
        master_username="keeper",
        master_version=1,
        master_verifiers=({"mechanism": "SCRAM-SHA-256", "iterations": 15000},),
        availability_zones=("us-east-1a", "us-east-1b", "us-east-1c"),
        backup_retention_period=1,
        preferred_backup_window="03:00-03:30",
        preferred_maintenance_window="sun:05:00-sun:05:30",
        parameter_group="default.docdb5.0",
        subnet_group="default",
        security_groups=("sg-1",),
        deletion_protection=False,
        storage_type=None,
        copy_tags_to_snapshot=False,
        address="127.70.0.1",
        reader_address="127.70.0.2",
        created_at=MOMENT,
    )


def instance() -> Instance:
    return Instance(
        identifier="alpha-1",
        resource_id="db-A",
        cluster_resource_id="cluster-A",
        status=InstanceStatus.CREATING,
        instance_class="db.r6g.large",
        address="127.70.0.3",
        availability_zone="us-east-1a",
        preferred_maintenance_window="sun:05:00-sun:05:30",
        promotion_tier=1,
        auto_minor_version_upgrade=True,
        copy_tags_to_snapshot=False,
        ca_certificate="rds-ca-rsa2048-g1",
        writer=True,
        created_at=None,
    )


def snapshot() -> Snapshot:
    return Snapshot(
        identifier="before-release",
        snapshot_id="5b0c",
        cluster_identifier="alpha",
        cluster_resource_id="cluster-A",
        incarnation=1,
        status=SnapshotStatus.AVAILABLE,
        snapshot_type="manual",
        percent_progress=100,
        created_at=MOMENT,
        cluster_created_at=MOMENT,
        engine_version="5.0.0",
        master_username="keeper",
        availability_zones=("us-east-1a",),
        storage_type="iopt1",
        settings={"port": 27017},
    )


def tag() -> Tag:
    return Tag(arn="arn:aws:rds:us-east-1:1:cluster:alpha", key="team", value="blue")


def job() -> Job:
    return Job(
        job_id="0001",
        kind="create-snapshot",
        resource="5b0c",
        payload={},
        results={"mark": {"lsn": 12}},
        attempts=0,
        error="",
        created_at=MOMENT,
        updated_at=MOMENT,
    )
