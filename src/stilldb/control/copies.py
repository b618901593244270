"""CopyDBClusterSnapshot and its job: a snapshot of this account and region made of one of any, under any key."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

from stilldb.control import encryption, events, sharing, snapshots, tags
from stilldb.control.context import Control
from stilldb.control.jobs import JobRun, NoLongerPossible, submit
from stilldb.control.ports import Transaction
from stilldb.domain import engine, transitions
from stilldb.domain.faults import InvalidDBClusterSnapshotStateFault, SnapshotQuotaExceeded
from stilldb.domain.names import Deployment, Place
from stilldb.domain.resources import Job, Snapshot, SnapshotStatus

LOOK_EVERY = 0.25  # seconds between looks whether the copy is still wanted


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewCopy:
    """What a caller asks of a copy."""

    identifier: str
    source: Place
    kms_key_id: str | None = None
    copy_tags: bool = False
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)


async def copy(control: Control, new: NewCopy) -> Snapshot:
    """CopyDBClusterSnapshot: the copy in status copying, and the job that makes it."""
    found = await control.store.run(lambda tx: _require_available(tx, control, new.source))
    key = await encryption.of_copy(control, new.source, found.kms_key_arn, new.kms_key_id)

    def work(tx: Transaction) -> Snapshot:
        source = _require_available(tx, control, new.source)
        snapshots.refuse_if_taken(tx, new.identifier)
        snapshots.refuse_over_quota(tx, control)
        _refuse_too_many(tx, control, new.source)
        return _begin(tx, control, new, source, key)

    snapshot = await control.store.run(work)
    control.wake()
    return snapshot


def _require_available(tx: Transaction, control: Control, place: Place) -> Snapshot:
    source = sharing.require(tx, control, place)
    if source.status is not SnapshotStatus.AVAILABLE:
        raise InvalidDBClusterSnapshotStateFault(
            f"The cluster snapshot {place.name} is in status {source.status}; a copy needs it to be available."
        )
    return source


def _refuse_too_many(tx: Transaction, control: Control, place: Place) -> None:
    here, most = control.deployment.region, engine.COPIES_ACROSS_REGIONS
    if place.region == here:
        return
    under_way = [job for job in tx.find(Job, kind="copy-snapshot") if job.payload["region"] != here]
    if len(under_way) >= most:
        raise SnapshotQuotaExceeded(f"Cannot copy more than {most} snapshots across regions")


def _begin(tx: Transaction, control: Control, new: NewCopy, source: Snapshot, key: str | None) -> Snapshot:
    place, zones = new.source, control.deployment.availability_zones
    source_arn = Deployment(place.account, place.region).arn("cluster-snapshot", source.identifier)
    made = dataclasses.replace(
        source,
        identifier=new.identifier,
        snapshot_id=uuid.uuid4().hex,
        status=SnapshotStatus.COPYING,
        status_reason="",
        snapshot_type=snapshots.MANUAL,
        percent_progress=0,
        created_at=control.now(),
        availability_zones=zones,
        kms_key_arn=key,
        source_arn=source_arn,
        restorable_by=(),
        settings=_settings(source, zones),
    )
    tx.add(made)
    given = new.tags
    if new.copy_tags and not given:  # Tags win, and then nothing is taken from the source, as on AWS
        given = tags.read(_at(tx, control, place), source_arn)
    tags.put(tx, snapshots.arn(control, made), given)
    events.record(tx, control, made, "backup", f"Started copy of cluster snapshot {source_arn}")
    submit(
        tx,
        control,
        "copy-snapshot",
        made.snapshot_id,
        identifier=made.identifier,
        account=place.account,
        region=place.region,
        snapshot_id=source.snapshot_id,
    )
    return made


def _settings(source: Snapshot, zones: tuple[str, ...]) -> dict[str, Any]:
    """The source's, with zones of this region."""
    known = [zone for zone in source.settings["availability_zones"] if zone in zones]
    return {**source.settings, "availability_zones": known or list(zones)}


def _at(tx: Transaction, control: Control, place: Place) -> Transaction:
    return tx if place.is_of(control.deployment) else tx.within(place.account, place.region)


async def run_copy(run: JobRun) -> None:
    """Make the copy in the store of this region, telling how far it is; then it is available. A deletion cancels it."""
    control = run.control
    made = await control.store.run(lambda tx: _wanted(tx, run.job))
    copying = asyncio.create_task(_copy(run, made), name=f"copy {made.identifier}")
    try:
        while not copying.done():
            await asyncio.wait({copying}, timeout=LOOK_EVERY)
            await control.store.run(lambda tx: _wanted(tx, run.job))
        await copying
        await run.reached("copy")
        await run.finish(lambda tx: _copied(tx, control, run.job))
    finally:
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        control.progress.pop(made.snapshot_id, None)


async def _copy(run: JobRun, made: Snapshot) -> None:
    control, asked = run.control, run.job.payload
    place = Place(asked["account"], asked["region"], asked["identifier"])
    origin = control if place.is_of(control.deployment) else control.across(place.account, place.region)
    if origin is None:
        raise NoLongerPossible(f"the region {place.region} of the source is not served here")

    def progress(percent: int) -> None:
        control.progress[made.snapshot_id] = percent

    await control.volumes.copy(
        origin=origin.volumes,
        source=made.volume,
        snapshot_id=asked["snapshot_id"],
        as_id=made.snapshot_id,
        kms_key_arn=made.kms_key_arn,
        progress=progress,
    )


def _wanted(tx: Transaction, job: Job) -> Snapshot:
    made = tx.get(Snapshot, job.payload["identifier"])
    if made is None or made.snapshot_id != job.resource or made.status is not SnapshotStatus.COPYING:
        raise NoLongerPossible("the copy was cancelled")
    return made


def _copied(tx: Transaction, control: Control, job: Job) -> None:
    made = _wanted(tx, job)
    status = transitions.after(made.status, "copied")
    tx.save(dataclasses.replace(made, status=status, status_reason="", percent_progress=100))
    events.record(tx, control, made, "backup", f"Finished copy of cluster snapshot {made.source_arn}")


def give_up_copy(tx: Transaction, control: Control, job: Job, reason: str) -> None:
    """The copy shows failed, with the reason, unless it was cancelled by its deletion."""
    made = tx.get(Snapshot, job.payload["identifier"])
    if made is None or made.snapshot_id != job.resource:
        return
    if made.status is not SnapshotStatus.COPYING:
        events.record(tx, control, made, "backup", f"Canceled copy of cluster snapshot {made.source_arn}")
        return
    status = transitions.after(made.status, "copy-failed")
    tx.save(dataclasses.replace(made, status=status, status_reason=reason))
    events.record(tx, control, made, "backup", f"Failed copy of cluster snapshot {made.source_arn}: {reason}")
