"""One volume's archive in an object store: its base backups, WAL and record, read and verified, and put.

What lies in the local spool counts as archived too. Reads accept archives of format 1: WAL as it is, base backups as
directories. Snapshots are in snapshots.py, what goes away in expire.py.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pathlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import lsn
from stilldb.util import files
from stilldb.volume import container
from stilldb.volume.datakeys import DataKeys
from stilldb.volume.keyring import Kms
from stilldb.volume.keys import ArchiveKeys, Kind
from stilldb.volume.manifest import (
    ArchiveRecord,
    Base,
    Manifest,
    WrappedKey,
    dump_base,
    dump_manifest,
    dump_record,
    load_base,
    load_manifest,
    load_record,
)
from stilldb.volume.objects.store import ObjectMissing, ObjectStore, retried
from stilldb.volume.spool import PARTIAL, Spool

_READ_WITHIN = 60.0  # seconds that a read bears a store that is unavailable
_T = TypeVar("_T")


@dataclasses.dataclass(slots=True)
class _Index:
    """What the store holds, as it was read once and changed by this process, the only writer, since."""

    bases: dict[str, Base] | None = None
    sealed: dict[tuple[int, int], int] | None = None  # (timeline, number) -> bytes of the object
    record: ArchiveRecord | None = None
    # Snapshots that there are: a listing that lacks them is not believed.
    snapshots: set[str] = dataclasses.field(default_factory=set)


class Archive:
    """The archive of one volume. Everything may raise VolumeError, what opens data keys KMSKeyNotAccessibleFault."""

    def __init__(
        self,
        store: ObjectStore,
        keys: ArchiveKeys,
        *,
        spool: pathlib.Path | None = None,
        kms: Kms | None = None,
        wrapped: Sequence[WrappedKey] | None = None,
        local_root: pathlib.Path | None = None,
        snapshots: set[str] | None = None,
    ) -> None:
        """``wrapped``: the data keys, where they are known already; None: as the record has them.

        ``snapshots``: the ids of those known so far; kept up to date.
        ``local_root``: the directory of a local store, in which base backups of format 1 can be read.
        """
        self.store = store
        self.keys = keys
        self.spool = None if spool is None else Spool(spool)
        self._kms = kms
        self._local_root = local_root
        self._index = _Index(snapshots=set() if snapshots is None else snapshots)
        self._secrets = None if wrapped is None else DataKeys(kms, keys.volume, wrapped)

    def use_keys(self, wrapped: Sequence[WrappedKey]) -> None:
        """From now on with these wrapped data keys."""
        self._secrets = DataKeys(self._kms, self.keys.volume, wrapped)

    def under(self, wrapped: Sequence[WrappedKey]) -> Archive:
        """The same archive, opened by these wrapped data keys: those of a snapshot's manifest."""
        other = copy.copy(self)
        other.use_keys(wrapped)
        return other

    def forget_index(self) -> None:
        """Look into the store again before the next answer: somebody put objects past this archive."""
        self._index.bases = self._index.sealed = self._index.record = None

    def fresh(self) -> Archive:
        """The same archive, looked at anew: for who wants to know what is in the store, not what should be."""
        other = copy.copy(self)
        other._index = _Index()
        return other

    async def secrets(self) -> DataKeys:
        """The data keys."""
        if self._secrets is None:
            self._secrets = DataKeys(self._kms, self.keys.volume, (await self.record()).keys)
        return self._secrets

    # -- what there is

    async def record(self) -> ArchiveRecord:
        """What is known of the archive as a whole; nothing in one of format 1."""
        if self._index.record is None:
            try:
                self._index.record = load_record(await self.get(self.keys.record))
            except ObjectMissing:
                self._index.record = ArchiveRecord()
        return self._index.record

    async def save_record(self, record: ArchiveRecord) -> None:
        """Keep the record."""
        await self.store.put(self.keys.record, dump_record(record))
        self._index.record = record

    async def bases(self) -> list[Base]:
        """Every complete base backup, the oldest first; a damaged description raises VolumeError."""
        if self._index.bases is None:
            found: dict[str, Base] = {}
            async for entry in self.store.list(self.keys.bases):
                parsed = self.keys.parse(entry.key)
                # What an interrupted backup or expiry of format 1 left has another name than it says.
                if parsed.kind is Kind.BASE and not parsed.owner.endswith((".draft", ".expired")):
                    found[parsed.owner] = await self.base(parsed.owner)
            self._index.bases = found
        return sorted(self._index.bases.values(), key=lambda base: base.start_lsn)

    async def base(self, base_id: str) -> Base:
        """One base backup as the store describes it now."""
        base = load_base(await self.get(self.keys.base(base_id)))
        if base.base_id != base_id:
            raise VolumeError(f"the description of base backup {base_id} is that of {base.base_id}")
        return base

    async def chain_of(self, base: Base) -> tuple[Base, ...]:
        """The base backups that ``base`` stands on and itself, the full one first; raises VolumeError when one is missing."""
        known = {other.base_id: other for other in await self.bases()}
        chain = [base]
        while (parent := chain[0].parent) is not None:
            if parent not in known or len(chain) > len(known):
                raise VolumeError(
                    f"the archive {self.keys.volume.prefix} lacks base backup {parent}, on which {chain[0].base_id} stands"
                )
            chain.insert(0, known[parent])
        return tuple(chain)

    async def manifest(self, snapshot_id: str) -> Manifest:
        """A published snapshot's manifest; raises VolumeError when there is none or it is damaged."""
        return await self._manifest(self.keys.manifest(snapshot_id), snapshot_id)

    async def draft(self, snapshot_id: str) -> Manifest:
        """The manifest of a snapshot that is not published yet."""
        return await self._manifest(self.keys.draft(snapshot_id), snapshot_id)

    async def _manifest(self, key: str, snapshot_id: str) -> Manifest:
        manifest = load_manifest(await self.get(key))
        if manifest.snapshot_id != snapshot_id or manifest.volume != self.keys.volume:
            raise VolumeError(f"the manifest of snapshot {snapshot_id} is that of {manifest.snapshot_id}")
        return manifest

    async def snapshot_ids(self) -> list[str]:
        """Every snapshot, published or draft, damaged or not."""
        names = set(self._index.snapshots)
        async for entry in self.store.list(self.keys.snapshots):
            parsed = self.keys.parse(entry.key)
            if parsed.kind in {Kind.MANIFEST, Kind.DRAFT}:
                names.add(parsed.owner)
        return sorted(names)

    async def manifests(self) -> list[Manifest]:
        """Every snapshot's manifest, published or draft: each pins what it names."""
        found: list[Manifest] = []
        for name in await self.snapshot_ids():
            # A draft may be published between the looks, so in that order.
            looks = [await self._if_there(self.draft(name)), await self._if_there(self.manifest(name))]
            found += [manifest for manifest in looks if manifest is not None]
        return found

    async def put_manifest(self, manifest: Manifest, *, draft: bool) -> None:
        """Write the manifest of a snapshot, as a draft or under its name."""
        snapshot_id = manifest.snapshot_id
        self._index.snapshots.add(snapshot_id)
        key = self.keys.draft(snapshot_id) if draft else self.keys.manifest(snapshot_id)
        await self.store.put(key, dump_manifest(manifest))

    async def remove_snapshot(self, snapshot_id: str) -> None:
        """Remove a snapshot, published or draft; what only it needed goes with the next expiry."""
        # The names first: half a removal must not leave a manifest whose objects are gone.
        await self.store.delete([self.keys.manifest(snapshot_id)])
        folder = [entry.key async for entry in self.store.list(self.keys.snapshot_folder(snapshot_id))]
        known = [key for key in folder if self.keys.parse(key).kind is not Kind.UNKNOWN]
        await self.store.delete([self.keys.draft(snapshot_id), *known])
        self._index.snapshots.discard(snapshot_id)

    async def _if_there(self, looked: Awaitable[_T]) -> _T | None:
        try:
            return await looked
        except ObjectMissing:
            return None

    async def sealed(self) -> dict[tuple[int, int], int]:
        """(timeline, number) of every segment in the store, with the size of its object in bytes."""
        if self._index.sealed is None:
            found: dict[tuple[int, int], int] = {}
            async for entry in self.store.list(self.keys.wal):
                parsed = self.keys.parse(entry.key)
                if parsed.kind is Kind.SEGMENT and not parsed.owner.endswith(PARTIAL):
                    found[parsed.timeline, parsed.number] = entry.size
            self._index.sealed = found
        return self._index.sealed

    async def segments(self) -> dict[int, set[int]]:
        """The numbers of the segments by timeline, in the store or the spool, the newest perhaps partial."""
        numbers: dict[int, set[int]] = {}
        spooled = [] if self.spool is None else [segment.key for segment in self.spool.segments()]
        for timeline, number in [*spooled, *(await self.sealed())]:
            numbers.setdefault(timeline, set()).add(number)
        return numbers

    # -- reading, verified

    async def part(self, base: Base, number: int) -> container.Opened:
        """A part of the tar stream of a base backup, its ``number`` counted from 0."""
        key = self.keys.part(base.base_id, number)
        content = await self.get(key)
        keys = await (await self.secrets()).opened()
        return await asyncio.to_thread(container.open_sealed, key, content, keys=keys)

    async def backup_manifest(self, base: Base) -> bytes:
        """PostgreSQL's backup_manifest of a base backup."""
        if base.form == "directory":
            return await self.get(self.keys.plain_backup_manifest(base.base_id))
        return await self._unsealed(self.keys.backup_manifest(base.base_id))

    def directory(self, base: Base) -> pathlib.Path:
        """Where the copied data directory of a base backup of format 1 lies."""
        if base.form != "directory" or self._local_root is None:
            raise VolumeError(f"the base backup {base.base_id} is no directory of this host")
        return self._local_root / self.keys.base_folder(base.base_id) / "data"

    async def segment(self, timeline: int, number: int) -> bytes | None:
        """16 MiB of WAL, from the spool or the store; the unfinished newest one too. None when there is none."""
        # A segment goes from partial to complete to the store: looked for in that direction it is met once at least.
        for look in (self._spooled, self._partial, self._spooled, self.stored_segment, self._plain_partial):
            content = await look(timeline, number)
            if content is not None:
                if len(content) != lsn.SEGMENT_BYTES:
                    raise VolumeError(
                        f"the WAL segment {lsn.segment_name(timeline, number)} of {self.keys.volume.prefix} is damaged: "
                        f"it is short, {len(content)} bytes"
                    )
                return content
        return None

    async def last_segment(self, manifest: Manifest) -> bytes:
        """The segment of a snapshot's restore point, complete or not."""
        if manifest.tail:
            return await self._unsealed(self.keys.tail(manifest.snapshot_id))
        number = manifest.segments[-1]
        content = await self.segment(manifest.point.timeline, number)
        if content is None:
            name = lsn.segment_name(manifest.point.timeline, number)
            raise VolumeError(f"the archive {self.keys.volume.prefix} lacks WAL segment {name}")
        return content

    async def history(self, timeline: int) -> bytes | None:
        """A timeline's history file; None when there is none, as of the first."""
        content = await self._from_spool(lsn.history_name(timeline))
        if content is None:
            key = self.keys.history(timeline)
            content = await self._if_there(self._unsealed(key, plain=True))
        return content

    async def _spooled(self, timeline: int, number: int) -> bytes | None:
        return await self._from_spool(lsn.segment_name(timeline, number))

    async def _partial(self, timeline: int, number: int) -> bytes | None:
        return await self._from_spool(lsn.segment_name(timeline, number) + PARTIAL)

    async def _from_spool(self, name: str) -> bytes | None:
        if self.spool is None:
            return None
        return await asyncio.to_thread(_content, self.spool.path / name)

    async def stored_segment(self, timeline: int, number: int) -> bytes | None:
        """A complete segment as the store has it."""
        return await self._if_there(self._unsealed(self.keys.segment(timeline, number), plain=True))

    async def _plain_partial(self, timeline: int, number: int) -> bytes | None:
        return await self._if_there(self._unsealed(self.keys.segment(timeline, number) + PARTIAL, plain=True))

    async def _unsealed(self, key: str, *, plain: bool = False) -> bytes:
        """The raw bytes of an object; ``plain``: format 1 has it as it is, where nothing is encrypted."""
        content = await self.get(key)
        opened = await (await self.secrets()).opened()
        if plain and opened is None and not container.is_sealed(content):
            return content
        return await asyncio.to_thread(container.unseal, key, content, keys=opened)

    async def get(self, key: str) -> bytes:
        """An object as it is, asked for again while the store is unavailable for a moment; raises ObjectMissing."""
        return await self._patiently(lambda: self.store.get(key))

    async def _patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        return await retried(attempt, within=_READ_WITHIN)

    # -- putting

    async def contained(self, key: str, raw: bytes) -> bytes:
        """Raw bytes as the container that is to be put under a key, encrypted where the archive is."""
        data_key = await (await self.secrets()).sealing()
        return await asyncio.to_thread(container.seal, key, raw, key=data_key)

    async def seal(self, key: str, raw: bytes) -> int:
        """Put raw bytes as a container; returns the size of the object."""
        content = await self.contained(key, raw)
        await self.store.put(key, content)
        return len(content)

    def note_sealed(self, timeline: int, number: int, size: int) -> None:
        """The store has a segment, in an object of ``size`` bytes."""
        if self._index.sealed is not None:
            self._index.sealed[timeline, number] = size

    async def add_base(self, base: Base) -> None:
        """Put the description of a base backup, whose parts are there: from here on it exists."""
        await self.bases()
        await self.store.put(self.keys.base(base.base_id), dump_base(base))
        assert self._index.bases is not None
        self._index.bases[base.base_id] = base

    async def remove_bases(self, base_ids: Iterable[str]) -> None:
        """Take the descriptions away: the base backups are none any more; their other objects are to follow."""
        await self.bases()
        assert self._index.bases is not None
        doomed = list(base_ids)
        for base_id in doomed:
            self._index.bases.pop(base_id, None)
        await self.store.delete([self.keys.base(base_id) for base_id in doomed])

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove objects that nothing needs."""
        doomed = list(keys)
        sealed = await self.sealed()
        for key in doomed:
            parsed = self.keys.parse(key)
            if parsed.kind is Kind.SEGMENT and not parsed.owner.endswith(PARTIAL):
                sealed.pop((parsed.timeline, parsed.number), None)
        await self.store.delete(doomed)

    async def remove_all(self) -> None:
        """Remove everything: of a volume that never was."""
        doomed = [entry.key async for entry in self.store.list(self.keys.root)]
        await self.store.delete(doomed)
        if self._local_root is not None:
            await asyncio.to_thread(files.remove_tree, self._local_root / self.keys.root)
        self._index.snapshots.clear()
        self._index = _Index(snapshots=self._index.snapshots)

    def remove_plain(self, base_id: str) -> None:
        """Remove what is left of a base backup of format 1; its empty directories no store knows."""
        if self._local_root is not None:
            files.remove_tree(self._local_root / self.keys.base_folder(base_id))


def _content(path: pathlib.Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
