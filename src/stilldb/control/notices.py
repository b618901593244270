"""What volumes tell of their own accord, made events of the clusters that they belong to."""

from __future__ import annotations

import asyncio
import logging

from stilldb.control import events
from stilldb.control.context import Controls
from stilldb.domain.resources import Cluster
from stilldb.domain.volumes import Notice
from stilldb.util.log import event

log = logging.getLogger("stilldb.notices")


class Notices:
    """The ``notify`` of every region's volumes. Until it is bound to the controls it keeps what it is told."""

    def __init__(self) -> None:
        self._controls: Controls | None = None
        self._early: list[Notice] = []
        self._writing: set[asyncio.Task[None]] = set()

    def bind(self, controls: Controls) -> None:
        """From here on notices become events."""
        self._controls = controls
        early, self._early = self._early, []
        for notice in early:
            self(notice)

    def __call__(self, notice: Notice) -> None:
        """Take a notice; it is written as soon as the store has time. Called in the event loop."""
        if self._controls is None:
            self._early.append(notice)
            return
        task = asyncio.create_task(self._write(self._controls, notice), name="notice")
        self._writing.add(task)
        task.add_done_callback(self._written)

    async def drain(self) -> None:
        """Wait for what is being written, before the store closes."""
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _write(self, controls: Controls, notice: Notice) -> None:
        owners = await controls.store.run(
            lambda tx: tx.everywhere(Cluster, resource_id=notice.volume.resource_id)
        )
        for scope, _ in owners:
            await events.note(controls.of(scope), notice)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error(event("a notice is lost"), exc_info=task.exception())
