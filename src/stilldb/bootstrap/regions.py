"""What each region has of its own on this host: a directory, volumes, gateways. Templates and programs are shared.

The first region's directory is the state directory itself; a further one's is ``regions/<region>`` in it.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from stilldb.bootstrap.keyservices import KeyServices
from stilldb.control.context import Control, Quotas
from stilldb.control.ports import Store
from stilldb.domain.names import Deployment, Scope
from stilldb.domain.volumes import Notice
from stilldb.node.gateways import LocalGateways
from stilldb.node.host import LocalHost
from stilldb.node.tls import Authority
from stilldb.postgres import Programs
from stilldb.util import files
from stilldb.volume.keyrings import EveryAccount
from stilldb.volume.kmsnames import KmsNames
from stilldb.volume.layout import Layout
from stilldb.volume.local import LocalVolumes
from stilldb.volume.objects.store import ObjectStore
from stilldb.volume.settings import VolumeSettings


@dataclasses.dataclass(frozen=True, slots=True)
class FurtherLayout(Layout):
    """The directory of a further region."""

    first: Layout

    @property
    def templates(self) -> pathlib.Path:
        """Those of the first region."""
        return self.first.templates

    @property
    def programs(self) -> pathlib.Path:
        """Those of the first region."""
        return self.first.programs


def layouts(first: Layout, regions: Sequence[str]) -> dict[str, Layout]:
    """The directory of each region, made."""
    first.prepare()
    found: dict[str, Layout] = {regions[0]: first}
    for region in regions[1:]:
        parent = files.make_directory(first.state / "regions", 0o755 if first.owner else 0o700, None)
        found[region] = FurtherLayout(parent / region, first.owner, first)
        found[region].prepare()
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """The ports of a region, the same for all its accounts."""

    name: str
    keys: KeyServices
    volumes: LocalVolumes
    gateways: LocalGateways
    host: LocalHost

    def control(self, account: str, store: Store, quotas: Quotas) -> Control:
        """The management plane of an account in this region."""
        return Control(
            deployment=Deployment(account, self.name),
            store=store.scoped(account, self.name),
            volumes=self.volumes,
            gateways=self.gateways,
            host=self.host,
            kms=KmsNames(self.keys.of(Scope(account, self.name))),
            quotas=quotas,
        )


async def open_regions(
    found: Mapping[str, Layout],
    programs: Programs,
    authority: Authority,
    notify: Callable[[Notice], None],
    archives: Mapping[str, ObjectStore],
    keys: KeyServices,
    settings: VolumeSettings,
) -> dict[str, Region]:
    """The regions, ready for volumes; the first makes the template that all copy. ``archives`` that are elsewhere."""
    regions: dict[str, Region] = {}
    for name, layout in found.items():
        store = archives.get(name)
        volumes = LocalVolumes(
            layout,
            programs,
            settings,
            store=store,
            remote=store is not None,
            kms=EveryAccount(keys.of),
            notify=notify,
        )
        await volumes.prepare()
        gateways = LocalGateways(layout.state / "gateways", layout.state / "log")
        regions[name] = Region(name, keys, volumes, gateways, LocalHost(layout, authority))
    return regions


def not_served(scopes: Sequence[Scope], regions: Sequence[str]) -> list[str]:
    """Regions in which somebody has something, and that are not served."""
    return sorted({scope.region for scope in scopes} - set(regions))
