"""Durable jobs: work written with its intent in one transaction, run by this process, resumed by the next one.

A job's row goes in the same transaction that makes its outcome visible, so there is no moment in which work is neither
pending nor done. Steps that must not be done twice keep their results (``JobRun.once``); all others are idempotent.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import prometheus_client

from stilldb.control.context import Control, Controls
from stilldb.control.ports import Transaction
from stilldb.domain.resources import Job
from stilldb.util import failpoints
from stilldb.util.log import event
from stilldb.util.metrics import REGISTRY

log = logging.getLogger("stilldb.jobs")

ENDED = prometheus_client.Counter(
    "stilldb_jobs",
    "Attempts at durable jobs, by kind and outcome: done, failed (it is tried again) or given-up.",
    ["kind", "outcome"],
    registry=REGISTRY,
)
SECONDS = prometheus_client.Histogram(
    "stilldb_job_seconds",
    "How long durable jobs took that were done, from their submission, by kind.",
    ["kind"],
    registry=REGISTRY,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
)

FIRST_DELAY = 0.25  # seconds before the second attempt, doubled for each further one
LONGEST_DELAY = 30.0
POLL = 0.05  # seconds between looks of a job that waits for another


class NoLongerPossible(Exception):
    """The job can't succeed by trying again; the message is the reason its resource shows."""


class JobRun:
    """One job while it runs."""

    def __init__(self, control: Control, job: Job) -> None:
        self.control = control
        self.job = job

    async def once(self, step: str, work: Callable[[], Awaitable[Mapping[str, Any]]]) -> Mapping[str, Any]:
        """The JSON result of ``step``, done at most once: kept before the next step sees it."""
        kept: Mapping[str, Any] | None = self.job.results.get(step)
        if kept is not None:
            return kept
        result = await work()
        job = dataclasses.replace(
            self.job, results={**self.job.results, step: result}, updated_at=self.control.now()
        )
        await self.control.store.run(lambda tx: tx.save(job))
        self.job = job
        await self.reached(step)
        return result

    async def reached(self, step: str) -> None:
        """The failpoint ``<kind>.<step>``."""
        await failpoints.reach(f"{self.job.kind}.{step}")

    async def finish(self, outcome: Callable[[Transaction], None]) -> None:
        """Make the outcome visible and end the job, in one transaction."""

        def work(tx: Transaction) -> None:
            outcome(tx)
            tx.remove(self.job)

        await self.control.store.run(work)

    async def wait_for(self, condition: Callable[[Transaction], bool]) -> None:
        """Wait until ``condition`` holds in the store."""
        while not await self.control.store.run(condition):
            await asyncio.sleep(POLL)


@dataclasses.dataclass(frozen=True, slots=True)
class JobKind:
    """How a kind of job runs, and what it makes visible when it gives up (in the transaction that ends it)."""

    run: Callable[[JobRun], Awaitable[None]]
    give_up: Callable[[Transaction, Control, Job, str], None]
    max_attempts: float = 4  # infinite for what must happen in the end, such as a deletion


def submit(tx: Transaction, control: Control, kind: str, resource: str, **payload: Any) -> None:
    """Write a job; after the commit, ``control.wake`` makes the worker look."""
    now = control.now()
    tx.add(
        Job(
            job_id=f"{time.time_ns():020d}-{os.urandom(4).hex()}",
            kind=kind,
            resource=resource,
            payload=payload,
            results={},
            attempts=0,
            error="",
            created_at=now,
            updated_at=now,
        )
    )


def _count_attempts(tx: Transaction, more: int) -> None:
    for scope, job in tx.everywhere(Job):
        tx.within(scope.account, scope.region).save(dataclasses.replace(job, attempts=job.attempts + more))


class Worker:
    """Runs every pending job of every account and region, each as a task of its own."""

    def __init__(self, controls: Controls, kinds: Mapping[str, JobKind]) -> None:
        self._controls = controls
        self._kinds = kinds
        self._woken = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Pick up what an earlier process left, counting that as an attempt, and go on looking for more."""
        await self._controls.store.run(lambda tx: _count_attempts(tx, 1))
        self._controls.awaken = self._woken.set
        self._woken.set()
        self._loop = asyncio.create_task(self._look(), name="jobs")

    async def stop(self) -> None:
        """Stop looking and interrupt what runs; the jobs stay pending for the next start, which is no fault of theirs."""
        await self.interrupt()
        await self._controls.store.run(lambda tx: _count_attempts(tx, -1))

    async def interrupt(self) -> None:
        """End every task where it stands."""
        tasks = [*self._running.values(), *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            for scope, job in await self._controls.store.run(lambda tx: tx.everywhere(Job)):
                if job.job_id not in self._running:
                    run = JobRun(self._controls.of(scope), job)
                    task = asyncio.create_task(
                        self._attempt_until_done(run), name=f"{job.kind} {job.resource}"
                    )
                    self._running[job.job_id] = task
                    task.add_done_callback(functools.partial(self._ended, job.job_id))

    def _ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        del self._running[job_id]
        if not task.cancelled() and task.exception() is not None:
            log.error(event("worker error", job=job_id), exc_info=task.exception())

    async def _attempt_until_done(self, run: JobRun) -> None:
        job, kind = run.job, self._kinds[run.job.kind]
        while True:
            try:
                if run.job.attempts >= kind.max_attempts:
                    raise NoLongerPossible(run.job.error or "it was interrupted too often")
                await kind.run(run)
                ENDED.labels(job.kind, "done").inc()
                SECONDS.labels(job.kind).observe((run.control.now() - job.created_at).total_seconds())
                log.info(event("job done", kind=job.kind, resource=job.resource, **job.payload))
                return
            except NoLongerPossible as refusal:
                await self._give_up(kind, run, str(refusal))
                return
            except Exception as error:
                ENDED.labels(job.kind, "failed").inc()
                log.warning(
                    event("job failed", kind=job.kind, resource=job.resource, attempt=run.job.attempts),
                    exc_info=True,
                )
                await self._note_failure(run, error)
                if run.job.attempts < kind.max_attempts:
                    await asyncio.sleep(min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(run.job.attempts, 16)))

    async def _note_failure(self, run: JobRun, error: Exception) -> None:
        run.job = dataclasses.replace(
            run.job, attempts=run.job.attempts + 1, error=str(error), updated_at=run.control.now()
        )
        await run.control.store.run(lambda tx: tx.save(run.job))

    async def _give_up(self, kind: JobKind, run: JobRun, reason: str) -> None:
        ENDED.labels(run.job.kind, "given-up").inc()
        log.error(event("job given up", kind=run.job.kind, resource=run.job.resource, reason=reason))
        await run.finish(lambda tx: kind.give_up(tx, run.control, run.job, reason))
        run.control.wake()
