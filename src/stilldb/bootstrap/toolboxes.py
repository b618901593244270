"""What the admin verbs of each account and region work with, made when it is first asked for."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Iterable, Mapping

from stilldb.awsapi.verbs.tools import Tools
from stilldb.bootstrap.regions import Region
from stilldb.control import browsing
from stilldb.control.browsing import Browsing
from stilldb.control.context import Controls
from stilldb.control.proofs import Proofs
from stilldb.control.transfers import Transfers
from stilldb.domain.names import Scope
from stilldb.postgres import Programs
from stilldb.util.log import event
from stilldb.volume.layout import Layout
from stilldb.volume.looks import LocalLooks
from stilldb.volume.parcels import LocalParcels
from stilldb.volume.scratch import Scratch

log = logging.getLogger("stilldb")


class Toolboxes:
    """The tools of every account and region. ``every``: how long a proof counts, None for no trial restores of their own accord."""

    def __init__(
        self,
        regions: Mapping[str, Region],
        layouts: Mapping[str, Layout],
        programs: Programs,
        controls: Controls,
        every: datetime.timedelta | None,
    ) -> None:
        self._regions = regions
        self._layouts = layouts
        self._controls = controls
        self._every = every
        self._scratch = {
            name: Scratch(layouts[name], programs, region.volumes.archive) for name, region in regions.items()
        }
        self._looks = {name: LocalLooks(scratch) for name, scratch in self._scratch.items()}
        self._turns = {name: asyncio.Lock() for name in regions}
        self._made: dict[Scope, Tools] = {}
        self._beginning: set[asyncio.Task[None]] = set()

    async def start(self, scopes: Iterable[Scope]) -> None:
        """Remove what an earlier process left, and begin the work that nobody asks for."""
        for scratch in self._scratch.values():
            await scratch.clear()
        for scope in scopes:
            await browsing.close_leftovers(self._controls.of(scope))
            self.of(scope)

    def of(self, scope: Scope) -> Tools:
        """The tools of an account in a region that is served."""
        if scope not in self._made:
            self._made[scope] = tools = self._make(scope)
            task = asyncio.create_task(self._begin(scope, tools), name=f"tools of {scope}")
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)
        return self._made[scope]

    def _make(self, scope: Scope) -> Tools:
        control, region = self._controls.of(scope), self._regions[scope.region]
        looks = self._looks[scope.region]
        parcels = LocalParcels(
            self._layouts[scope.region].scratch / "imports" / scope.account,
            region.volumes.archive,
            region.volumes.forget,
            region.keys.of(scope),
        )
        return Tools(
            control=control,
            browsing=Browsing(control, looks),
            proofs=Proofs(control, looks, every=self._every, turn=self._turns[scope.region]),
            transfers=Transfers(control, parcels),
            archives=region.volumes,
            keyring=region.keys.keyring(scope),
        )

    async def _begin(self, scope: Scope, tools: Tools) -> None:
        try:
            for part in (tools.browsing, tools.transfers, tools.proofs):
                await part.start()
        except Exception:
            log.exception(event("tools do not start", account=scope.account, region=scope.region))

    async def stop(self) -> None:
        """Close what is open, break off what runs."""
        for task in list(self._beginning):
            await asyncio.gather(task, return_exceptions=True)
        for tools in self._made.values():
            for part in (tools.proofs, tools.browsing, tools.transfers):
                await part.stop()
