"""A snapshot that leaves its deployment: its objects in any other store, and from there into another deployment.

The directory of an export is an object store with one snapshot in it: the same keys, the same containers, verified one by one as they
go out and come in. Encrypted objects stay as they are; their data keys travel in the manifest, wrapped by a passphrase instead of a KMS
key. Base backups of format 1 are directories, no objects, and can't leave.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stilldb.domain.volumes import VolumeError, VolumeKey
from stilldb.volume import container, datakeys, snapshots
from stilldb.volume.archive import Archive
from stilldb.volume.container import DataKey
from stilldb.volume.datakeys import DataKeys
from stilldb.volume.keyring import Kms, KmsKey, data_key
from stilldb.volume.keys import Kind
from stilldb.volume.manifest import Manifest, WrappedKey, dump_base
from stilldb.volume.objects.store import ObjectMissing

_SCHEME: Final = "passphrase"
_SALT, _NONCE = 16, 12  # bytes
_SCRYPT: Final = {
    "n": 1 << 15,
    "r": 8,
    "p": 1,
    "maxmem": 1 << 26,
    "dklen": 32,
}  # 32 MiB and some tenths of a second
SHORTEST: Final = 12  # characters of a passphrase


class PassphraseKms:
    """A key that is a passphrase: ``volume.keyring.Kms`` for what leaves the deployment. The key's id holds the salt."""

    def __init__(self, passphrase: str) -> None:
        """Raises VolumeError for one that is too short to keep anybody out."""
        if len(passphrase) < SHORTEST:
            raise VolumeError(f"the passphrase must have {SHORTEST} characters at least")
        self._passphrase = passphrase.encode()

    @staticmethod
    def new_key() -> str:
        """The id of a new key."""
        return f"{_SCHEME}:{os.urandom(_SALT).hex()}"

    async def describe(self, key_id: str) -> KmsKey:
        """A passphrase is always open."""
        return KmsKey(arn=key_id, enabled=True, default=False)

    async def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> tuple[DataKey, bytes]:
        """A new data key, and itself wrapped."""
        made = data_key(os.urandom(32))
        return made, await self.wrap(made, key_id, context)

    async def wrap(self, data_key: DataKey, key_id: str, context: Mapping[str, str]) -> bytes:
        """The data key wrapped by the passphrase."""
        cipher = AESGCM(await self._key(key_id))
        nonce = os.urandom(_NONCE)
        return nonce + cipher.encrypt(nonce, data_key.secret, _bound(key_id, context))

    async def unwrap(self, wrapped: bytes, key_id: str, context: Mapping[str, str]) -> DataKey:
        """The data key; raises VolumeError for another passphrase."""
        cipher = AESGCM(await self._key(key_id))
        try:
            return data_key(cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _bound(key_id, context)))
        except (InvalidTag, ValueError):
            raise VolumeError("this is not the passphrase that the snapshot was exported with") from None

    async def _key(self, key_id: str) -> bytes:
        scheme, _, salt = key_id.partition(":")
        if scheme != _SCHEME:
            raise VolumeError(f"the data keys are wrapped by {key_id}, not by a passphrase")
        try:
            seasoning = bytes.fromhex(salt)
        except ValueError:
            raise VolumeError(f"{key_id!r} is no key of a passphrase") from None
        return await asyncio.to_thread(hashlib.scrypt, self._passphrase, salt=seasoning, **_SCRYPT)


def _bound(key_id: str, context: Mapping[str, str]) -> bytes:
    return repr((key_id, sorted(context.items()))).encode()


async def rewrapped(secrets: DataKeys, volume: VolumeKey, kms: Kms, key_id: str) -> tuple[WrappedKey, ...]:
    """The data keys, wrapped by a key of another key service; nothing of what is not encrypted."""
    give = await secrets.opened()
    if give is None:
        return ()
    made = []
    for old in secrets.wrapped:
        wrapped = await kms.wrap(give(old.data_key_id), key_id, datakeys.context(volume))
        made.append(WrappedKey(key_id, old.data_key_id, base64.b64encode(wrapped).decode()))
    return tuple(made)


# -- out


async def exported(archive: Archive, snapshot_id: str, passphrase: str | None) -> Manifest:
    """The manifest as it leaves: complete with a tail of its own, its data keys under the passphrase. Raises VolumeError.

    ``archive`` is the snapshot's own view (``Archive.under`` its manifest's keys).
    """
    manifest = await archive.manifest(snapshot_id)
    for base in manifest.chain:
        if base.form == "directory":
            raise VolumeError(
                f"the snapshot stands on the base backup {base.base_id} of format 1, which can't leave this disk. "
                "Restore it to a cluster and export a new snapshot of that"
            )
    if not manifest.keys:
        if passphrase is not None:
            raise VolumeError(
                "the snapshot is not encrypted; a passphrase would protect nothing. Export it without one"
            )
        return dataclasses.replace(manifest, tail=True)
    if passphrase is None:
        raise VolumeError("the snapshot is encrypted: give a passphrase, under which its data keys can leave")
    key_id = PassphraseKms.new_key()
    keys = await rewrapped(await archive.secrets(), manifest.volume, PassphraseKms(passphrase), key_id)
    return dataclasses.replace(manifest, tail=True, keys=keys)


def needed(archive: Archive, manifest: Manifest) -> list[str]:
    """The keys of every object that the snapshot needs, in the order in which they are to be put; the manifest is not among them."""
    keys, timeline = archive.keys, manifest.point.timeline
    found = []
    for base in manifest.chain:
        found += [keys.part(base.base_id, number) for number in range(base.parts)]
        found += [keys.backup_manifest(base.base_id), keys.base(base.base_id)]
    found += [keys.segment(timeline, number) for number in manifest.segments[:-1]]
    found += [keys.history(timeline)] if timeline != 1 else []
    return [*found, keys.tail(manifest.snapshot_id)]


async def content(archive: Archive, manifest: Manifest, key: str) -> bytes:
    """An object that the snapshot needs as it is to be put, verified byte for byte; raises VolumeError."""
    parsed = archive.keys.parse(key)
    if parsed.kind is Kind.BASE:
        base = await archive.base(parsed.owner)
        if base not in manifest.chain:
            raise VolumeError(f"the base backup {base.base_id} is not the one that the manifest names")
        return dump_base(base)
    try:
        sealed = await archive.get(key)
    except ObjectMissing:
        return await _seal_again(archive, manifest, key)
    if not container.is_sealed(sealed):  # WAL of format 1
        return await _seal_again(archive, manifest, key)
    opened = await (await archive.secrets()).opened()
    await asyncio.to_thread(container.unseal, key, sealed, keys=opened)
    return sealed


async def _seal_again(archive: Archive, manifest: Manifest, key: str) -> bytes:
    """What the store does not have yet, or not as a container: from the spool."""
    parsed = archive.keys.parse(key)
    raw: bytes | None = None
    if parsed.kind is Kind.SEGMENT:
        raw = await archive.segment(parsed.timeline, parsed.number)
    elif parsed.kind is Kind.HISTORY:
        raw = await archive.history(parsed.timeline)
    elif parsed.kind is Kind.TAIL:
        raw = await snapshots.tail(archive, dataclasses.replace(manifest, tail=False))
    if raw is None:
        raise ObjectMissing(f"the archive {archive.keys.volume.prefix} lacks {key}")
    secret = await (await archive.secrets()).sealing()
    return await asyncio.to_thread(container.seal, key, raw, key=secret)


# -- in


async def adopt(
    source: Archive,
    target: Archive,
    manifest: Manifest,
    *,
    as_id: str,
    keys: tuple[WrappedKey, ...],
    progress: Callable[[int], None] = lambda percent: None,
) -> None:
    """Make the snapshot of ``source`` one of ``target``, as ``as_id``, every object verified; the manifest last.

    An object that is there already must hold the same bytes once it is opened. Run again, it goes on. Raises VolumeError.
    ``keys``: the data keys, wrapped as they are to stand in the new manifest.
    """
    wanted = needed(source, manifest)
    renamed = dataclasses.replace(manifest, snapshot_id=as_id, keys=keys, tail=True)
    if keys != manifest.keys and {key.data_key_id for key in keys} != {
        key.data_key_id for key in manifest.keys
    }:
        raise VolumeError("the data keys are not those of the snapshot")
    await target.put_manifest(renamed, draft=True)  # pins what follows
    for done, key in enumerate(wanted):
        await _adopt_one(source, target, manifest, key, as_id)
        progress(100 * (done + 1) // len(wanted))
    target.forget_index()
    await target.put_manifest(renamed, draft=False)
    await target.store.delete([target.keys.draft(as_id)])


async def _adopt_one(source: Archive, target: Archive, manifest: Manifest, key: str, as_id: str) -> None:
    kind = source.keys.parse(key).kind
    new = await content(source, manifest, key)
    if kind is Kind.TAIL:  # its name is the snapshot's
        secrets = await source.secrets()
        raw = await asyncio.to_thread(container.unseal, key, new, keys=await secrets.opened())
        key = target.keys.tail(as_id)
        new = await asyncio.to_thread(container.seal, key, raw, key=await secrets.sealing())
        await target.store.put(key, new)
        return
    try:
        there = await target.get(key)
    except ObjectMissing:
        await target.store.put(key, new)
        return
    if there == new:
        return
    opened = None if kind is Kind.BASE else await (await source.secrets()).opened()
    if kind is Kind.BASE or _raw(key, there, opened) != _raw(key, new, opened):
        raise VolumeError(f"this deployment has another object {key} already; it is not overwritten")


def _raw(key: str, content: bytes, opened: Callable[[str], DataKey] | None) -> bytes:
    return container.unseal(key, content, keys=opened) if container.is_sealed(content) else content
