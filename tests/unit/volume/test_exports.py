"""Snapshots that leave a deployment and come into another: the same bytes, verified, keys under a passphrase meanwhile."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from stilldb.domain.volumes import VolumeError, VolumeKey
from stilldb.postgres import lsn
from stilldb.volume import container, exports
from stilldb.volume.archive import Archive
from stilldb.volume.datakeys import context
from stilldb.volume.exports import PassphraseKms
from stilldb.volume.keys import ArchiveKeys
from stilldb.volume.manifest import Manifest, dump_manifest
from stilldb.volume.objects.memory import MemoryStore
from support.parcels import PASSPHRASE, SEGMENT, VOLUME, OneKey, archived


async def sent(archive: Archive, manifest: Manifest, passphrase: str | None) -> Archive:
    """The snapshot as the archive of an export."""
    leaving = await exports.exported(archive, "s", passphrase)
    kms = None if passphrase is None else PassphraseKms(passphrase)
    other = Archive(MemoryStore(), ArchiveKeys(VOLUME), kms=kms, wrapped=leaving.keys)
    for key in exports.needed(archive, manifest):
        await other.store.put(key, await exports.content(archive, manifest, key))
    await other.store.put(other.keys.manifest("s"), dump_manifest(leaving))
    return other


async def everything(store: MemoryStore) -> dict[str, bytes]:
    return {entry.key: await store.get(entry.key) async for entry in store.list("")}


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("tail", [False, True])
async def test_a_snapshot_goes_out_and_comes_in(encrypted: bool, tail: bool) -> None:
    home, abroad = OneKey("arn:home"), OneKey("arn:abroad")
    archive, manifest = await archived(home if encrypted else None, tail=tail)
    parcel = await sent(archive, manifest, PASSPHRASE if encrypted else None)
    if encrypted:
        secret = await (await archive.secrets()).sealing()
        assert secret is not None
        sent_out = await everything(parcel.store)  # type: ignore[arg-type]
        written = [secret.secret, base64.b64encode(secret.secret)]
        assert not any(form in content for form in written for content in sent_out.values())
    arrived = await parcel.manifest("s")
    keys = await exports.rewrapped(await parcel.secrets(), VOLUME, abroad, abroad.arn)  # type: ignore[arg-type]
    target = Archive(MemoryStore(), ArchiveKeys(VOLUME), kms=abroad if encrypted else None)  # type: ignore[arg-type]
    heard: list[int] = []
    await exports.adopt(parcel, target, arrived, as_id="new", keys=keys, progress=heard.append)
    assert heard[-1] == 100

    found = await target.manifest("new")
    assert (found.point, found.chain, found.attributes) == (
        manifest.point,
        manifest.chain,
        manifest.attributes,
    )
    assert {key.kms_key_arn for key in found.keys} == ({"arn:abroad"} if encrypted else set())
    opened, before = target.under(found.keys), archive
    for base in found.chain:
        for number in range(base.parts):
            brought, gone = await opened.part(base, number), await before.part(base, number)
            assert b"".join(brought.pieces()) == b"".join(gone.pieces())
        assert await opened.backup_manifest(base) == b"{}"
    assert await opened.segment(1, 3) == SEGMENT[3]
    assert await opened.segment(1, 4) == SEGMENT[4]
    last = await opened.last_segment(found)
    assert last[:5000] == SEGMENT[5][:5000]
    if not tail:
        assert last[5000:] == bytes(lsn.SEGMENT_BYTES - 5000), (
            "what came after the point is not the snapshot's"
        )
    # Again: nothing that is there is put anew, and nothing of the draft is left.
    held = await everything(target.store)  # type: ignore[arg-type]
    await exports.adopt(parcel, target, arrived, as_id="new", keys=keys)
    again = await everything(target.store)  # type: ignore[arg-type]
    assert again.keys() == held.keys()
    assert all(again[key] == held[key] for key in held if not key.endswith("tail"))
    assert not any(key.endswith("manifest.draft") for key in held)


async def test_the_passphrase_is_asked_for_and_must_be_the_one() -> None:
    archive, manifest = await archived(OneKey("arn:home"))
    with pytest.raises(VolumeError, match="is encrypted: give a passphrase"):
        await exports.exported(archive, "s", None)
    with pytest.raises(VolumeError, match="12 characters"):
        await exports.exported(archive, "s", "short")
    parcel = await sent(archive, manifest, PASSPHRASE)
    arrived = await parcel.manifest("s")
    wrong = Archive(parcel.store, parcel.keys, kms=PassphraseKms("another passphrase"), wrapped=arrived.keys)
    with pytest.raises(VolumeError, match="not the passphrase"):
        await (await wrong.secrets()).opened()
    plain, _ = await archived(None)
    with pytest.raises(VolumeError, match="would protect nothing"):
        await exports.exported(plain, "s", PASSPHRASE)


async def test_a_data_key_opens_only_for_its_volume() -> None:
    kms, key_id = PassphraseKms(PASSPHRASE), PassphraseKms.new_key()
    key, wrapped = await kms.generate_data_key(key_id, context(VOLUME))
    assert await kms.unwrap(wrapped, key_id, context(VOLUME)) == key
    with pytest.raises(VolumeError, match="not the passphrase"):
        await kms.unwrap(wrapped, key_id, context(VolumeKey("cluster-B", 1)))
    with pytest.raises(VolumeError, match="not by a passphrase"):
        await kms.unwrap(wrapped, "arn:aws:kms:x", context(VOLUME))


async def test_damage_does_not_leave_and_does_not_come_in() -> None:
    archive, manifest = await archived(None)
    victims = exports.needed(archive, manifest)[:-1]
    for victim in victims:
        if victim.endswith("base.json"):
            continue
        good = await archive.store.get(victim)
        await archive.store.put(victim, good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
        with pytest.raises(VolumeError, match="damaged"):
            await exports.content(archive, manifest, victim)
        await archive.store.put(victim, good)
    parcel = await sent(archive, manifest, None)
    target = Archive(MemoryStore(), ArchiveKeys(VOLUME))
    victim = victims[0]
    good = await parcel.store.get(victim)
    await parcel.store.put(victim, good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
    with pytest.raises(VolumeError, match="damaged"):
        await exports.adopt(parcel, target, manifest, as_id="new", keys=())
    assert await target.store.size(target.keys.manifest("new")) is None, (
        "it does not exist before all of it does"
    )
    await parcel.store.delete([victim])
    with pytest.raises(VolumeError, match="lacks"):
        await exports.adopt(parcel, target, manifest, as_id="new", keys=())


async def test_another_object_of_that_name_is_not_overwritten() -> None:
    archive, manifest = await archived(None)
    parcel = await sent(archive, manifest, None)
    target = Archive(MemoryStore(), ArchiveKeys(VOLUME))
    key = target.keys.segment(1, 4)
    other = container.seal(key, SEGMENT[3], key=None)
    await target.store.put(key, other)
    with pytest.raises(VolumeError, match="another object"):
        await exports.adopt(parcel, target, await parcel.manifest("s"), as_id="new", keys=())
    assert await target.store.get(key) == other


async def test_a_plain_copy_of_format_1_can_not_leave() -> None:
    archive, manifest = await archived(None)
    old = dataclasses.replace(manifest.chain[0], form="directory")
    await archive.store.put(
        archive.keys.manifest("s"), dump_manifest(dataclasses.replace(manifest, chain=(old,)))
    )
    with pytest.raises(VolumeError, match="export a new snapshot"):
        await exports.exported(archive, "s", None)
