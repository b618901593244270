"""The objects of snapshots on their way out and in: ``control.transfers.Parcels`` over a region's archives.

What comes in lies below a scratch directory, a store of its own for each import, until it is adopted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Final

from stilldb.domain.transfers import Packed
from stilldb.domain.volumes import VolumeError, VolumeKey
from stilldb.util import files
from stilldb.volume import exports
from stilldb.volume.archive import Archive
from stilldb.volume.exports import PassphraseKms
from stilldb.volume.keyring import Kms
from stilldb.volume.keys import ArchiveKeys, Kind
from stilldb.volume.manifest import Manifest, dump_manifest, load_manifest
from stilldb.volume.objects.local import LocalStore
from stilldb.volume.objects.store import ObjectMissing, check_key

_FLOOR: Final = 1 << 30  # bytes of the disk that stay free
_LARGEST: Final = 1 << 26  # bytes of one object
_KNOWN: Final = 30.0  # seconds that what is known of a snapshot is believed
_PART: Final = "part"
_IMPORT: Final = re.compile(r"import-[0-9a-f]{1,32}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Leaving:
    """A snapshot of which objects are asked for."""

    archive: Archive  # opened by the snapshot's own data keys
    manifest: Manifest
    needed: frozenset[str]
    until: float  # monotonic


class LocalParcels:
    """Exports from, and imports to, the archives that ``archive_of`` gives."""

    def __init__(
        self,
        scratch: pathlib.Path,
        archive_of: Callable[[VolumeKey], Archive],
        forget: Callable[[VolumeKey, str], Awaitable[object]],
        kms: Kms | None,
    ) -> None:
        """``scratch``: a directory of ours, made when it is needed; ``kms``: of this account and region."""
        self._scratch = scratch
        self._archive_of = archive_of
        self._forget = forget
        self._kms = kms
        self._leaving: _Leaving | None = None  # the last one

    # -- out

    async def pack(self, source: VolumeKey, snapshot_id: str, passphrase: str | None) -> Packed:
        """The manifest as it leaves and what it needs."""
        leaving = await self._look(source, snapshot_id)
        manifest = await exports.exported(leaving.archive, snapshot_id, passphrase)
        return Packed(
            manifest_key=leaving.archive.keys.manifest(snapshot_id),
            manifest=dump_manifest(manifest),
            keys=exports.needed(leaving.archive, manifest),
            encrypted=bool(manifest.keys),
        )

    async def content(self, source: VolumeKey, snapshot_id: str, key: str) -> bytes:
        """One object that a snapshot needs, verified; raises VolumeError for any other."""
        leaving = self._leaving
        if (
            leaving is None
            or (leaving.manifest.volume, leaving.manifest.snapshot_id) != (source, snapshot_id)
            or time.monotonic() > leaving.until
        ):
            leaving = await self._look(source, snapshot_id)
        if key not in leaving.needed:
            raise VolumeError(f"{key[:200]!r} is no object of this snapshot")
        return await exports.content(leaving.archive, leaving.manifest, key)

    async def _look(self, source: VolumeKey, snapshot_id: str) -> _Leaving:
        """What is known of a snapshot that leaves, for its many objects: not for long, for its key may be closed."""
        archive = self._archive_of(source)
        manifest = await archive.manifest(snapshot_id)
        opened = archive.under(manifest.keys)
        needed = frozenset(exports.needed(opened, manifest))
        self._leaving = _Leaving(opened, manifest, needed, time.monotonic() + _KNOWN)
        return self._leaving

    # -- in

    def _folder(self, import_id: str) -> pathlib.Path:
        if not _IMPORT.fullmatch(import_id):
            raise VolumeError(f"{import_id[:100]!r} is no import")
        return self._scratch / import_id

    async def stage(self, import_id: str, key: str, content: bytes, *, offset: int, total: int) -> None:
        """Keep bytes of an object that comes in, in order; the object is there when ``total`` is reached."""
        check_key(key)
        if total > _LARGEST:
            raise VolumeError(f"{key} would be {total} bytes, more than any object has")
        folder = self._folder(import_id)
        whole = await asyncio.to_thread(self._append, folder, content, offset, total)
        if whole is not None:
            await LocalStore(folder / "objects").put(key, whole)

    def _append(self, folder: pathlib.Path, content: bytes, offset: int, total: int) -> bytes | None:
        """The whole object when these were the last bytes of it."""
        if not folder.exists():
            files.make_directory(self._scratch, 0o700, None)
            files.make_directory(folder, 0o700, None)
            files.make_directory(folder / "objects", 0o700, None)
        if shutil.disk_usage(folder).free - len(content) < _FLOOR:
            raise VolumeError(
                f"the disk of {self._scratch} has less than {_FLOOR >> 20} MiB free; free some space"
            )
        if offset == 0 and len(content) == total:
            return content
        part = folder / _PART
        size = part.stat().st_size if part.exists() else 0
        if offset not in (0, size):
            raise VolumeError(f"bytes from {offset} came where {size} were expected")
        with part.open("wb" if offset == 0 else "ab") as file:
            file.write(content)
        if offset + len(content) < total:
            return None
        whole = part.read_bytes()
        part.unlink()
        return whole

    async def adopt(
        self,
        import_id: str,
        manifest_key: str,
        *,
        as_id: str,
        kms_key_arn: str | None,
        passphrase: str | None,
        progress: Callable[[int], None],
    ) -> None:
        """Verify what was staged and make it a snapshot of the store, in the volume that the manifest's key names."""
        store = LocalStore(self._folder(import_id) / "objects")
        try:
            manifest = load_manifest(await store.get(check_key(manifest_key)))
        except ObjectMissing:
            raise VolumeError("its manifest did not come") from None
        keys = ArchiveKeys(manifest.volume)
        if (
            manifest_key != keys.manifest(manifest.snapshot_id)
            or keys.parse(manifest_key).kind is not Kind.MANIFEST
        ):
            raise VolumeError("its manifest is that of another snapshot")
        if manifest.keys and (passphrase is None or kms_key_arn is None or self._kms is None):
            raise VolumeError("it is encrypted: give the passphrase that it was exported with")
        outside = PassphraseKms(passphrase) if manifest.keys and passphrase is not None else None
        source = Archive(store, keys, kms=outside, wrapped=manifest.keys)
        wrapped = manifest.keys
        if wrapped and self._kms is not None and kms_key_arn is not None:
            wrapped = await exports.rewrapped(await source.secrets(), manifest.volume, self._kms, kms_key_arn)
        await exports.adopt(
            source, self._archive_of(manifest.volume), manifest, as_id=as_id, keys=wrapped, progress=progress
        )

    async def forget(self, source: VolumeKey, snapshot_id: str) -> None:
        """Remove an adopted snapshot again, and what only it needed."""
        await self._forget(source, snapshot_id)

    async def drop(self, import_id: str) -> None:
        """Throw staged objects away."""
        await asyncio.to_thread(files.remove_tree, self._folder(import_id))

    async def staged(self) -> list[str]:
        """The ids of all imports that have objects."""
        return sorted(os.listdir(self._scratch)) if self._scratch.exists() else []
