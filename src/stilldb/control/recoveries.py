"""RestoreDBClusterToPointInTime: a new cluster at a moment of another one, live or deleted, or a clone of it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from stilldb.control import clusters, encryption, restores, retained
from stilldb.control.clusters import NewCluster
from stilldb.control.context import Control
from stilldb.control.jobs import submit
from stilldb.control.outside import asked
from stilldb.control.ports import Transaction
from stilldb.control.snapshots import settings_of
from stilldb.control.views import ClusterView, cluster_view
from stilldb.domain.faults import (
    DBClusterNotFoundFault,
    InvalidDBClusterStateFault,
    InvalidParameterCombination,
    InvalidParameterValue,
    InvalidRestoreFault,
)
from stilldb.domain.resources import Cluster, ClusterStatus
from stilldb.domain.volumes import RestorableWindow, VolumeKey

FULL_COPY = "full-copy"
COPY_ON_WRITE = "copy-on-write"
_FROM = (ClusterStatus.AVAILABLE, ClusterStatus.STOPPED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What to restore to: a time (UTC), or the latest there is; or a clone, which is of the present."""

    restore_type: str = FULL_COPY
    time: datetime.datetime | None = None
    latest: bool = False

    def check(self) -> None:
        """Refuse what excludes itself."""
        if self.restore_type not in {FULL_COPY, COPY_ON_WRITE}:
            raise InvalidParameterValue(
                f"Invalid restore type: {self.restore_type}. Valid types are {FULL_COPY} and {COPY_ON_WRITE}."
            )
        if (self.time is not None) == self.latest:
            raise InvalidParameterCombination(
                "Specify exactly one of RestoreToTime and UseLatestRestorableTime."
            )
        if self.restore_type == COPY_ON_WRITE and not self.latest:
            raise InvalidParameterCombination(
                "A copy-on-write restore is a clone of the present: give UseLatestRestorableTime and no RestoreToTime."
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The cluster, live or deleted, that is restored from."""

    identifier: str
    volume: VolumeKey
    live: bool
    engine_version: str
    master_username: str
    settings: Mapping[str, Any]
    kms_key_arn: str | None


async def to_point_in_time(
    control: Control, new: NewCluster, source_identifier: str, moment: Moment
) -> ClusterView:
    """The new cluster in status creating, without instances, and the job that fills its volume.

    From the source: the data with its users, the engine version, the zones, the retention and the windows; the port and
    the rest are the defaults of a new cluster unless the request gives them.
    """
    moment.check()
    source = await control.store.run(lambda tx: _require(tx, source_identifier))
    payload = await _target(control, source, moment)
    key = await encryption.of_recovery(control, source.kms_key_arn, new.kms_key_id, source.identifier)
    settled = restores.settle(new, source.settings, engine_version=source.engine_version)

    def work(tx: Transaction) -> ClusterView:
        if _require(tx, source_identifier).volume != source.volume:
            raise DBClusterNotFoundFault(f"DBCluster {source_identifier} not found.")
        cluster = clusters.begin(
            tx,
            control,
            settled,
            master=restores.master_of(source.master_username),
            percent_progress=0,
            source_volume=source.volume.prefix,
            kms_key_arn=key,
        )
        submit(tx, control, "restore-cluster", cluster.resource_id, identifier=cluster.identifier, **payload)
        return cluster_view(tx, cluster)

    view = await control.store.run(work)
    control.wake()
    return view


def _require(tx: Transaction, identifier: str) -> _Source:
    """The live cluster with this identifier, else what is retained of a deleted one, by identifier or resource id."""
    cluster = tx.get(Cluster, identifier)
    if cluster is not None:
        return _live(cluster)
    row = retained.find(tx, identifier)
    if row is None:
        raise DBClusterNotFoundFault(f"DBCluster {identifier} not found.")
    return _Source(
        identifier=row.cluster_identifier,
        volume=row.volume,
        live=False,
        engine_version=row.engine_version,
        master_username=row.master_username,
        settings=row.settings,
        kms_key_arn=row.kms_key_arn,
    )


def _live(cluster: Cluster) -> _Source:
    if cluster.status not in _FROM:
        raise InvalidDBClusterStateFault(
            f"DbCluster {cluster.identifier} is in {cluster.status} state but expected it to be one of "
            f"{','.join(_FROM)}."
        )
    return _Source(
        identifier=cluster.identifier,
        volume=cluster.volume,
        live=True,
        engine_version=cluster.engine_version,
        master_username=cluster.master_username,
        settings=settings_of(cluster),
        kms_key_arn=cluster.kms_key_arn,
    )


async def _target(control: Control, source: _Source, moment: Moment) -> dict[str, Any]:
    """What the job is told; a fault when the moment can't be restored to, which is asked of the volume itself."""
    if moment.restore_type == COPY_ON_WRITE:
        if not source.live:
            raise InvalidParameterCombination(
                f"The cluster {source.identifier} is deleted, so there is nothing to clone. Restore it with {FULL_COPY}."
            )
        return {"clone": True, "of": f"a clone of {source.identifier}"}
    with asked(f"The backups of {source.identifier}"):
        window = await control.volumes.window(source.volume)
    if window is None:
        raise InvalidRestoreFault(
            f"The cluster {source.identifier} can't be restored to any point in time yet: it has no finished backup. "
            "Try again once its LatestRestorableTime shows, or restore a snapshot."
        )
    time = moment.time or window.latest
    if not window.holds(time):
        raise InvalidParameterValue(_outside(source.identifier, time, window))
    return {"time": time.isoformat(), "of": f"{source.identifier} as of {_shown(time)}"}


def _outside(identifier: str, time: datetime.datetime, window: RestorableWindow) -> str:
    spans = ", and from ".join(f"{_shown(first)} to {_shown(last)}" for first, last in window.shown().spans())
    return f"The cluster {identifier} can't be restored to {_shown(time)}. It can be restored to a time from {spans}."


def _shown(time: datetime.datetime) -> str:
    return time.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
