"""The archives behind clusters and snapshots, for their operator: what there is, what is needed and why, what is broken."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, Protocol

from stilldb.control import retained
from stilldb.control.context import Control
from stilldb.control.ports import Transaction
from stilldb.domain.faults import Fault
from stilldb.domain.resources import Cluster, RetainedBackup, Snapshot
from stilldb.domain.volumes import RestorableWindow, VolumeError, VolumeKey

_POLL: Final = 0.05  # seconds


class Verdict(Protocol):
    """What becomes of something in an archive, and why."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def keep(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def keys(self) -> Collection[str]: ...
    @property
    def size(self) -> int: ...


class Problem(Protocol):
    """Something that is wrong with an archive."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def detail(self) -> str: ...


class Report(Protocol):
    """What a check found."""

    @property
    def objects(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def read(self) -> int: ...
    @property
    def problems(self) -> Sequence[Problem]: ...


class Archives(Protocol):
    """The archives of a region. Every method raises VolumeError."""

    async def archives(self) -> list[VolumeKey]:
        """Every volume of which the store holds something."""

    async def expire(self, key: VolumeKey, *, dry_run: bool) -> Sequence[Verdict]:
        """Remove what nothing needs, or don't; the verdict on everything."""

    async def check(self, key: VolumeKey, *, every_byte: bool) -> Report:
        """Look for what is wrong, and change nothing."""

    async def window(self, key: VolumeKey) -> RestorableWindow | None:
        """The moments that it can be restored to."""


class BackupsNotFound(Fault):
    """There are no backups of this name."""

    code = "BackupsNotFound"
    status = 404


class BackupsNotUsable(Fault):
    """The archive could not be looked at or changed; the message says why."""

    code = "BackupsNotUsable"
    status = 409


@contextlib.contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except VolumeError as error:
        raise BackupsNotUsable(str(error)) from error


class _Names:
    """What archives are called: by the clusters and snapshots that there are."""

    def __init__(self, tx: Transaction) -> None:
        self.live = {cluster.volume: cluster.identifier for cluster in tx.find(Cluster)}
        self.snapshots: dict[VolumeKey, list[str]] = {}
        self._known = dict(self.live)
        for snapshot in tx.find(Snapshot):
            self.snapshots.setdefault(snapshot.volume, []).append(snapshot.identifier)
            self._known.setdefault(snapshot.volume, snapshot.cluster_identifier)
        for row in tx.find(RetainedBackup):
            self._known.setdefault(row.volume, row.cluster_identifier)
        everyones = {
            *(row.volume for _, row in tx.everywhere(Cluster)),
            *(row.volume for _, row in tx.everywhere(Snapshot)),
            *(row.volume for _, row in tx.everywhere(RetainedBackup)),
        }
        self._theirs = everyones - self._known.keys()

    def of(self, key: VolumeKey) -> str | None:
        """The name of the cluster, that is or was; None when nothing here knows it."""
        return self._known.get(key)

    def matches(self, key: VolumeKey, name: str | None) -> bool:
        """Whether a name means this archive: a cluster's, a resource id, or an archive's prefix. Others' have none here."""
        if key in self._theirs:
            return False
        return name is None or name in {self.of(key), key.resource_id, key.prefix}


async def _chosen(control: Control, archives: Archives, name: str | None) -> tuple[_Names, list[VolumeKey]]:
    names = await control.store.run(_Names)
    with _usable():
        found = [key for key in await archives.archives() if names.matches(key, name)]
    if name is not None and not found:
        raise BackupsNotFound(
            f"There are no backups of {name}. `stilldb backups list` tells which there are."
        )
    return names, found


async def listed(control: Control, archives: Archives) -> list[dict[str, Any]]:
    """Every archive: whose it is, the moments it can restore, its snapshots, its bytes, and those that would be freed now."""
    names, found = await _chosen(control, archives, None)
    told = []
    for key in found:
        with _usable():
            window = await archives.window(key)
            verdicts = await archives.expire(key, dry_run=True)
        told.append(
            {
                "archive": key.prefix,
                "cluster": names.of(key),
                "state": "live" if key in names.live else "retained" if window else "snapshots only",
                "snapshots": sorted(names.snapshots.get(key, [])),
                "earliest": _text(window.earliest if window else None),
                "latest": _text(window.latest if window else None),
                "gaps": [[_text(since), _text(until)] for since, until in window.gaps] if window else [],
                "bytes": sum(verdict.size for verdict in verdicts),
                "expired_bytes": sum(verdict.size for verdict in verdicts if not verdict.keep),
            }
        )
    return told


async def expire(
    control: Control, archives: Archives, name: str | None, *, dry_run: bool
) -> list[dict[str, Any]]:
    """The verdict on everything in the archives of a cluster, or in all; what nothing needs is removed unless ``dry_run``."""
    names, found = await _chosen(control, archives, name)
    told = []
    for key in found:
        with _usable():
            verdicts = await archives.expire(key, dry_run=dry_run)
        told += [
            {
                "archive": key.prefix,
                "cluster": names.of(key),
                "kind": verdict.kind,
                "name": verdict.name,
                "keep": verdict.keep,
                "reason": verdict.reason,
                "objects": len(verdict.keys),
                "bytes": verdict.size,
            }
            for verdict in verdicts
        ]
    return told


async def check(control: Control, archives: Archives, name: str | None, *, deep: bool) -> dict[str, Any]:
    """What is wrong with the archives of a cluster, or with all; ``deep`` verifies every byte."""
    names, found = await _chosen(control, archives, name)
    told: dict[str, Any] = {"archives": len(found), "objects": 0, "bytes": 0, "read": 0, "problems": []}
    for key in found:
        try:
            report = await archives.check(key, every_byte=deep)
        except VolumeError as error:
            told["problems"].append(_problem(names, key, "unreadable", key.prefix, str(error)))
            continue
        told["objects"] += report.objects
        told["bytes"] += report.size
        told["read"] += report.read
        told["problems"] += [_problem(names, key, one.kind, one.name, one.detail) for one in report.problems]
    return told


def _problem(names: _Names, key: VolumeKey, kind: str, name: str, detail: str) -> dict[str, Any]:
    return {"archive": key.prefix, "cluster": names.of(key), "kind": kind, "name": name, "detail": detail}


async def purge(control: Control, name: str) -> dict[str, Any]:
    """Drop what is retained of a deleted cluster, and wait until it is gone; its manual snapshots stay, and what they need."""
    row = await retained.purge(control, name)
    while await control.store.run(lambda tx: tx.get(RetainedBackup, row.resource_id)) is not None:
        await asyncio.sleep(_POLL)
    return {"cluster": row.cluster_identifier, "archive": row.volume.prefix}


def _text(moment: datetime.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
