"""A snapshot in an archive in memory, and a key service of one key, for tests of what leaves and comes in."""

from __future__ import annotations

import base64
import dataclasses
import os

from stilldb.domain.volumes import VolumeKey
from stilldb.postgres import lsn
from stilldb.volume.archive import Archive
from stilldb.volume.datakeys import context
from stilldb.volume.keyring import data_key
from stilldb.volume.keys import ArchiveKeys
from stilldb.volume.manifest import Manifest, WrappedKey, dump_base, dump_manifest
from stilldb.volume.objects.memory import MemoryStore
from support import manifests

VOLUME = VolumeKey("cluster-A", 1)
PASSPHRASE = "correct horse battery"
SEGMENT = {number: bytes([number]) * lsn.SEGMENT_BYTES for number in (3, 4, 5)}


class OneKey:
    """A key service whose wrapping is a byte in front."""

    def __init__(self, arn: str) -> None:
        self.arn = arn

    async def wrap(self, key: object, key_id: str, context: object) -> bytes:
        assert key_id == self.arn
        return self.arn.encode() + b"|" + key.secret  # type: ignore[attr-defined,no-any-return]

    async def unwrap(self, wrapped: bytes, key_id: str, context: object) -> object:
        arn, _, secret = wrapped.partition(b"|")
        assert (arn, key_id) == (self.arn.encode(), self.arn)
        return data_key(secret)


async def archived(kms: OneKey | None, *, tail: bool = False) -> tuple[Archive, Manifest]:
    """A snapshot in an archive: a full base backup, an incremental, three segments, the last without a name of its own."""
    keys = ArchiveKeys(VOLUME)
    wrapped: tuple[WrappedKey, ...] = ()
    if kms is not None:
        key = data_key(os.urandom(32))
        content = await kms.wrap(key, kms.arn, context(VOLUME))
        wrapped = (WrappedKey(kms.arn, key.id, base64.b64encode(content).decode()),)
    archive = Archive(MemoryStore(), keys, kms=kms, wrapped=wrapped)  # type: ignore[arg-type]
    full = manifests.base("full", 1)
    more = manifests.base("more", 3, parent="full")
    for base in (full, more):
        for number in range(base.parts):
            await archive.seal(keys.part(base.base_id, number), os.urandom(100) + bytes(1000))
        await archive.seal(keys.backup_manifest(base.base_id), b"{}")
        await archive.store.put(keys.base(base.base_id), dump_base(base))
    for number in (3, 4, 5):
        await archive.seal(keys.segment(1, number), SEGMENT[number])
    made = dataclasses.replace(manifests.manifest(full, more, at=5), keys=wrapped, tail=tail)
    if tail:
        await archive.seal(keys.tail("s"), SEGMENT[5])
    await archive.store.put(keys.manifest("s"), dump_manifest(made))
    return archive, made
