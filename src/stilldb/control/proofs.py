"""Trial restores: every available snapshot is really restored and checked, now when asked, and in the background when due.

One at a time. What a trial finds is kept as the snapshot's last proof; a snapshot that could not be tried, for want of disk or a closed
key, has none and is tried again later.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
from typing import Final

import prometheus_client

from stilldb.control import events
from stilldb.control.browsing import Progress, available, readable
from stilldb.control.context import Control
from stilldb.control.ports import Looks, Transaction
from stilldb.domain import proofs
from stilldb.domain.faults import Fault, InvalidDBClusterSnapshotStateFault
from stilldb.domain.proofs import Candidate, Proof
from stilldb.domain.resources import Snapshot, SnapshotStatus
from stilldb.domain.volumes import VolumeError
from stilldb.util.log import event
from stilldb.util.metrics import REGISTRY

log = logging.getLogger("stilldb.proofs")

LOOK_EVERY: Final = 5.0  # seconds between looks for a due snapshot
PUT_OFF: Final = datetime.timedelta(hours=1)  # before one that could not be tried is tried again


TRIALS: Final = prometheus_client.Counter(
    "stilldb_trial_restores",
    "Trial restores of snapshots, by outcome: proven, failed (the snapshot does not restore) or not-tried.",
    ["outcome"],
    registry=REGISTRY,
)
SECONDS: Final = prometheus_client.Histogram(
    "stilldb_trial_restore_seconds",
    "How long trial restores took.",
    registry=REGISTRY,
    buckets=(1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
)


class Proofs:
    """The proofs of one account and region."""

    def __init__(
        self,
        control: Control,
        looks: Looks,
        *,
        every: datetime.timedelta | None,
        turn: asyncio.Lock | None = None,
    ) -> None:
        """``every``: how long a proof counts (``domain.proofs.interval``), None switches the background off.

        ``turn`` is shared by all accounts of a region, so that one trial runs at a time.
        """
        self._control = control
        self._looks = looks
        self._every = every
        self._turn = turn or asyncio.Lock()
        self._put_off: dict[str, datetime.datetime] = {}
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look for due snapshots in the background, if that is not switched off."""
        if self._every is not None:
            self._loop = asyncio.create_task(self._prove_when_due(self._every), name="proofs")

    async def stop(self) -> None:
        """Break off what runs; it leaves no proof."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def prove(self, identifier: str, *, progress: Progress) -> Proof:
        """Try a snapshot now, after the trial that runs; its proof, good or bad, is kept.

        Raises SnapshotNotReadable when it could not be tried, and KMSKeyNotAccessibleFault.
        """
        snapshot = await self._control.store.run(lambda tx: available(tx, identifier))
        with readable(identifier):
            return await self._try(snapshot, progress)

    async def _try(self, snapshot: Snapshot, progress: Progress) -> Proof:
        async with self._turn:
            before = await self._control.store.run(lambda tx: tx.get(Proof, snapshot.snapshot_id))
            try:
                proof = await self._looks.prove(
                    snapshot.volume,
                    snapshot.snapshot_id,
                    expected=before.documents if before is not None and before.documents else None,
                    progress=progress,
                )
            except (VolumeError, Fault) as error:
                TRIALS.labels("not-tried").inc()
                log.warning(event("snapshot could not be tried", snapshot=snapshot.identifier, reason=error))
                raise
            if not proof.ok and before is not None:  # what was right stays the measure of later trials
                proof = dataclasses.replace(proof, documents=before.documents)
            await self._control.store.run(lambda tx: self._keep(tx, snapshot, proof))
            _tell(snapshot, proof)
            return proof

    def _keep(self, tx: Transaction, snapshot: Snapshot, proof: Proof) -> None:
        """Keep the proof as the last one, and tell of it, unless the snapshot went meanwhile."""
        if not tx.count(Snapshot, snapshot_id=snapshot.snapshot_id, status=SnapshotStatus.AVAILABLE):
            raise InvalidDBClusterSnapshotStateFault(
                f"The cluster snapshot {snapshot.identifier} was deleted while it was tried."
            )
        if tx.get(Proof, proof.snapshot_id) is None:
            tx.add(proof)
        else:
            tx.save(proof)
        documents = sum(proof.documents.values())
        said = (
            f"Cluster snapshot proven by a trial restore in {proof.seconds:.0f} seconds: {documents} documents"
            if proof.ok
            else f"Cluster snapshot does not restore: {proof.reason}"
        )
        events.record(tx, self._control, snapshot, "backup", said)

    async def last(self) -> dict[str, Proof]:
        """The last proof of each snapshot that has one, by the snapshot's identifier."""

        def work(tx: Transaction) -> dict[str, Proof]:
            kept = {proof.snapshot_id: proof for proof in tx.find(Proof)}
            rows = tx.find(Snapshot)
            return {row.identifier: kept[row.snapshot_id] for row in rows if row.snapshot_id in kept}

        return await self._control.store.run(work)

    # -- in the background

    async def _prove_when_due(self, every: datetime.timedelta) -> None:
        while True:
            snapshot = await self._control.store.run(lambda tx: self._due(tx, every))
            if snapshot is None:
                await asyncio.sleep(LOOK_EVERY)
                continue
            try:
                await self._try(snapshot, lambda percent: None)
            except (VolumeError, Fault):  # told already
                self._put_off[snapshot.snapshot_id] = self._control.now() + PUT_OFF
            except Exception:  # a defect must not end the proofs of all others
                log.exception(event("trial restore failed", snapshot=snapshot.identifier))
                self._put_off[snapshot.snapshot_id] = self._control.now() + PUT_OFF

    def _due(self, tx: Transaction, every: datetime.timedelta) -> Snapshot | None:
        """The next snapshot to try. Proofs of snapshots that are gone go too."""
        now = self._control.now()
        rows = {row.snapshot_id: row for row in tx.find(Snapshot)}
        kept = {proof.snapshot_id: proof for proof in tx.find(Proof)}
        for proof in [proof for proof in kept.values() if proof.snapshot_id not in rows]:
            tx.remove(proof)
        self._put_off = {key: until for key, until in self._put_off.items() if until > now and key in rows}
        candidates = [
            Candidate(row.snapshot_id, row.created_at)
            for row in rows.values()
            if row.status is SnapshotStatus.AVAILABLE and row.snapshot_id not in self._put_off
        ]
        wanted = proofs.due(candidates, kept, now=now, every=every)
        return rows[wanted[0]] if wanted else None


def _tell(snapshot: Snapshot, proof: Proof) -> None:
    SECONDS.observe(proof.seconds)
    if proof.ok:
        TRIALS.labels("proven").inc()
        documents = sum(proof.documents.values())
        seconds = round(proof.seconds, 1)
        log.info(event("snapshot proven", snapshot=snapshot.identifier, seconds=seconds, documents=documents))
    else:
        TRIALS.labels("failed").inc()
        log.error(event("snapshot does not restore", snapshot=snapshot.identifier, reason=proof.reason))
