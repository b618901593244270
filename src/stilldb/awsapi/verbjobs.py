"""Verbs that take long: begun by one request, asked for by others. They live in this process and end with it.

What must survive a restart is no business of theirs but of the durable jobs of ``control.jobs``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from stilldb.awsapi.errors import InternalFailure
from stilldb.domain.faults import Fault
from stilldb.util.log import event

log = logging.getLogger("stilldb.api")

MOST_RUNNING: Final = 32  # of one account
KEPT: Final = 3600.0  # seconds that an outcome can be asked for
_MOST_KEPT: Final = 1000

Work = Callable[[Callable[[int], None]], Awaitable[Mapping[str, Any]]]


class JobNotFound(Fault):
    """No such job of this account: it never was, its outcome is no longer kept, or the service was started anew."""

    code = "JobNotFound"
    status = 404


class TooManyJobs(Fault):
    """The account has too many jobs that run."""

    code = "ThrottlingException"
    status = 429


class JobCancelled(Fault):
    """Somebody cancelled the job."""

    code = "JobCancelled"
    status = 409


@dataclasses.dataclass(slots=True)
class _Job:
    account: str
    verb: str
    task: asyncio.Task[None] | None = None
    progress: int = 0
    result: Mapping[str, Any] | None = None
    fault: Fault | None = None
    ended: float | None = None  # monotonic

    def has_ended(self, task: asyncio.Task[None]) -> None:
        """Also of a task that was cancelled before it began."""
        self.ended = time.monotonic()
        if task.cancelled():
            self.fault = JobCancelled("The job was cancelled.")


class VerbJobs:
    """The jobs of every account, by id."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}

    def start(self, account: str, verb: str, work: Work) -> str:
        """Begin; the id to ask by. Raises TooManyJobs."""
        self._forget()
        running = sum(job.account == account and job.ended is None for job in self._jobs.values())
        if running >= MOST_RUNNING:
            raise TooManyJobs(
                f"{running} jobs of this account are running. Wait until one of them has ended."
            )
        job_id, job = uuid.uuid4().hex, _Job(account, verb)
        self._jobs[job_id] = job
        job.task = asyncio.create_task(_run(job_id, job, work), name=f"{verb} {job_id}")
        job.task.add_done_callback(job.has_ended)
        return job_id

    def describe(self, account: str, job_id: str) -> dict[str, Any]:
        """``state`` is running, done (with a ``result``) or failed (with an ``error``); ``progress`` in percent."""
        job = self._of(account, job_id)
        told: dict[str, Any] = {"job": job_id, "verb": job.verb, "progress": job.progress}
        if job.fault is not None:
            return {
                **told,
                "state": "failed",
                "error": {"code": job.fault.code, "message": job.fault.message},
            }
        if job.result is not None:
            return {**told, "state": "done", "result": job.result}
        return {**told, "state": "running"}

    async def cancel(self, account: str, job_id: str) -> None:
        """End a job, and wait until it has cleaned up; one that has ended stays as it is."""
        await _end([self._of(account, job_id)])

    async def close(self) -> None:
        """End every job."""
        await _end(self._jobs.values())

    def _of(self, account: str, job_id: str) -> _Job:
        job = self._jobs.get(job_id)
        if job is None or job.account != account:
            raise JobNotFound(f"There is no job {job_id}.")
        return job

    def _forget(self) -> None:
        now = time.monotonic()
        ended = sorted((job.ended, job_id) for job_id, job in self._jobs.items() if job.ended is not None)
        for number, (moment, job_id) in enumerate(ended):
            if now - moment > KEPT or number < len(ended) - _MOST_KEPT:
                del self._jobs[job_id]


async def _end(jobs: Iterable[_Job]) -> None:
    tasks = [job.task for job in jobs if job.task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _run(job_id: str, job: _Job, work: Work) -> None:
    def told(percent: int) -> None:
        job.progress = max(job.progress, min(percent, 100))

    try:
        job.result = await work(told)
        job.progress = 100
    except Fault as fault:
        job.fault = fault
    except Exception:
        log.exception(event("internal failure", job=job_id, verb=job.verb))
        job.fault = InternalFailure(
            f"An internal error occurred. The server's log tells more under the job {job_id}."
        )
