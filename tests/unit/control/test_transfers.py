"""A snapshot from one deployment to another: description and objects out, staged and adopted in, or nothing of it."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stilldb.control import transfers
from stilldb.control.browsing import SnapshotNotReadable
from stilldb.control.transfers import ImportNotFound, Transfers
from stilldb.domain.faults import (
    DBClusterSnapshotAlreadyExistsFault,
    InvalidParameterValue,
    KMSKeyNotAccessibleFault,
    SnapshotQuotaExceeded,
)
from stilldb.domain.names import Scope
from stilldb.domain.resources import Event, Setting, Snapshot, SnapshotStatus
from stilldb.domain.volumes import VolumeError, VolumeKey
from stilldb.volume import exports
from stilldb.volume.archive import Archive
from stilldb.volume.keys import ArchiveKeys
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.parcels import LocalParcels
from support import rows
from support.parcels import PASSPHRASE, SEGMENT, VOLUME, OneKey, archived
from support.twins import Plane, plane, until

CHUNK = 700


class Keys:
    """control.ports.Kms with one open key."""

    async def resolve(self, key_id: str | None) -> str:
        if key_id not in {None, "arn:abroad"}:
            raise KMSKeyNotAccessibleFault(f"{key_id} is disabled")
        return "arn:abroad"

    async def is_default(self, arn: str) -> bool:
        return True


@pytest.fixture(autouse=True)
def cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_SCRYPT", {**exports._SCRYPT, "n": 16})


@dataclasses.dataclass
class Deployment:
    """One side."""

    plane: Plane
    transfers: Transfers
    archive: Archive
    scratch: pathlib.Path

    async def named(self, name: str) -> Snapshot | None:
        return await self.plane.store.run(lambda tx: tx.get(Snapshot, name))


def deployment(made: Plane, archive: Archive, scratch: pathlib.Path, kms: OneKey | None) -> Deployment:
    def archive_of(key: VolumeKey) -> Archive:
        assert key == VOLUME
        return archive

    async def forget(key: VolumeKey, snapshot_id: str) -> None:
        await archive_of(key).remove_snapshot(snapshot_id)

    made.control.kms = Keys()
    parcels = LocalParcels(scratch, archive_of, forget, kms)  # type: ignore[arg-type]
    return Deployment(made, Transfers(made.control, parcels), archive, scratch)


@pytest.fixture(params=["plain", "encrypted"])
async def home(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> AsyncIterator[Deployment]:
    kms = OneKey("arn:home") if request.param == "encrypted" else None
    archive, _ = await archived(kms)
    async with plane() as made:
        row = dataclasses.replace(
            rows.snapshot(),
            identifier="rds:daily",
            snapshot_id="s",
            cluster_resource_id=VOLUME.resource_id,
            incarnation=1,
            status=SnapshotStatus.AVAILABLE,
            percent_progress=100,
            settings={"port": 27123},
        )
        await made.store.run(lambda tx: tx.add(row))
        yield deployment(made, archive, tmp_path / "home", kms)


@pytest.fixture
async def abroad(tmp_path: pathlib.Path) -> AsyncIterator[Deployment]:
    kms = OneKey("arn:abroad")
    archive = Archive(MemoryStore(), ArchiveKeys(VOLUME), kms=kms)  # type: ignore[arg-type]
    async with plane() as made:
        other = deployment(made, archive, tmp_path / "abroad" / "imports", kms)
        (tmp_path / "abroad").mkdir()
        await other.transfers.start()
        yield other
        await other.transfers.stop()
        assert await other.transfers._parcels.staged() == []


async def packed(home: Deployment) -> tuple[dict[str, Any], dict[str, bytes], str | None]:
    """Description, objects, passphrase."""
    passphrase = PASSPHRASE if (await home.archive.manifest("s")).keys else None
    found, description = await home.transfers.pack("rds:daily", passphrase)
    objects = {key: await home.transfers.content("rds:daily", key) for key in found.keys}
    return description, {**objects, found.manifest_key: found.manifest}, passphrase


async def sent(abroad: Deployment, description: dict[str, Any], objects: dict[str, bytes]) -> str:
    import_id = await abroad.transfers.begin(description)
    for key, content in objects.items():
        for offset in range(0, len(content), CHUNK):
            part = content[offset : offset + CHUNK]
            await abroad.transfers.put(import_id, key, part, offset=offset, total=len(content))
    return import_id


async def finish(abroad: Deployment, import_id: str, passphrase: str | None, **more: Any) -> Snapshot:
    given = {"identifier": None, "kms_key_id": None, **more}
    return await abroad.transfers.finish(
        import_id, passphrase=passphrase, progress=lambda percent: None, **given
    )


async def test_a_snapshot_moves_with_all_that_is_told_of_it(home: Deployment, abroad: Deployment) -> None:
    description, objects, passphrase = await packed(home)
    before = await home.named("rds:daily")
    assert before is not None
    made = await finish(abroad, await sent(abroad, description, objects), passphrase)
    assert made == await abroad.named("rds-daily")
    assert (made.status, made.snapshot_type, made.percent_progress) == ("available", "manual", 100)
    same = (
        "cluster_identifier",
        "cluster_created_at",
        "engine_version",
        "settings",
        "availability_zones",
        "master_username",
    )
    assert {name: getattr(made, name) for name in same} == {name: getattr(before, name) for name in same}
    assert made.volume == VOLUME
    assert made.source_arn == description["arn"], "where it came from stays known"
    assert made.kms_key_arn == ("arn:abroad" if passphrase else None)
    (told,) = await abroad.plane.store.run(lambda tx: tx.find(Event))
    assert told.message == f"Cluster snapshot imported of {description['arn']}"
    manifest = await abroad.archive.manifest(made.snapshot_id)
    assert {key.kms_key_arn for key in manifest.keys} == ({"arn:abroad"} if passphrase else set())
    opened = abroad.archive.under(manifest.keys)
    assert await opened.segment(1, 4) == SEGMENT[4]
    assert await abroad.plane.store.run(lambda tx: tx.find(Setting)) == []
    assert list(abroad.scratch.iterdir()) == []


async def test_any_damage_on_the_way_is_found_and_nothing_is_made(
    home: Deployment, abroad: Deployment
) -> None:
    description, objects, passphrase = await packed(home)
    import_id = await sent(abroad, description, objects)
    for key, content in objects.items():
        middle = len(content) // 2
        bad = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        await abroad.transfers.put(import_id, key, bad, offset=0, total=len(bad))
        with pytest.raises(SnapshotNotReadable, match="can't be imported"):
            await finish(abroad, import_id, passphrase)
        await abroad.transfers.put(import_id, key, content, offset=0, total=len(content))
        assert await abroad.named("rds-daily") is None
        assert await abroad.archive.manifests() == []
    # What came in stays meanwhile: with the right bytes it goes on.
    await finish(abroad, import_id, passphrase)


async def test_a_name_a_quota_and_a_key_are_asked_for_before_anything_is_moved(
    home: Deployment, abroad: Deployment
) -> None:
    description, objects, passphrase = await packed(home)
    import_id = await sent(abroad, description, objects)
    await abroad.plane.store.run(lambda tx: tx.add(dataclasses.replace(rows.snapshot(), identifier="taken")))
    with pytest.raises(DBClusterSnapshotAlreadyExistsFault):
        await finish(abroad, import_id, passphrase, identifier="taken")
    with pytest.raises(InvalidParameterValue):
        await finish(abroad, import_id, passphrase, identifier="7up")
    wrong = (KMSKeyNotAccessibleFault, "disabled") if passphrase else (InvalidParameterValue, "not encrypted")
    with pytest.raises(wrong[0], match=wrong[1]):
        await finish(abroad, import_id, passphrase, kms_key_id="arn:closed")
    quotas = abroad.plane.control.quotas
    abroad.plane.control.quotas = dataclasses.replace(quotas, manual_snapshots=0)
    with pytest.raises(SnapshotQuotaExceeded):
        await finish(abroad, import_id, passphrase)
    abroad.plane.control.quotas = quotas
    if passphrase:
        with pytest.raises(SnapshotNotReadable, match="not the passphrase"):
            await finish(abroad, import_id, "some other passphrase")
        with pytest.raises(SnapshotNotReadable, match="give the passphrase"):
            await finish(abroad, import_id, None)
    await finish(abroad, import_id, passphrase, identifier="Mine")
    assert await abroad.named("mine") is not None


async def test_an_import_that_nobody_goes_on_with_is_thrown_away(
    home: Deployment, abroad: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    description, _, _ = await packed(home)
    await abroad.transfers.stop()
    monkeypatch.setattr(transfers, "IDLE", 0.05)
    monkeypatch.setattr(transfers, "_SWEEP", 0.02)
    await abroad.transfers.start()
    import_id = await sent(abroad, description, {"a/b": b"x"})
    assert list(abroad.scratch.iterdir())
    await until(lambda: not list(abroad.scratch.iterdir()))
    with pytest.raises(ImportNotFound):
        await abroad.transfers.put(import_id, "a/b", b"x", offset=0, total=1)


async def test_what_a_crash_left_is_removed_by_the_next_start(
    home: Deployment, abroad: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    description, objects, passphrase = await packed(home)
    import_id = await sent(abroad, description, objects)

    real = abroad.transfers._parcels.adopt

    async def adopt(*arguments: Any, **more: Any) -> None:
        await real(*arguments, **more)
        raise VolumeError("killed")

    async def nothing(*arguments: object) -> None:
        pass

    # As if the process had ended between the manifest and the row.
    monkeypatch.setattr(abroad.transfers._parcels, "adopt", adopt)
    monkeypatch.setattr(abroad.transfers, "_undo", nothing)
    with pytest.raises(SnapshotNotReadable):
        await finish(abroad, import_id, passphrase, identifier="late")
    assert len(await abroad.archive.manifests()) == 1
    # Another account that begins to work must not take it for its own: it may be about to be finished.
    control = abroad.plane.controls.of(Scope("111122223333", abroad.plane.control.deployment.region))
    theirs = Transfers(control, abroad.transfers._parcels)
    with monkeypatch.context() as staging:  # which is of an account too
        staging.setattr(abroad.transfers._parcels, "drop", nothing)
        await theirs.start()
    await theirs.stop()
    assert len(await abroad.archive.manifests()) == 1
    fresh = Transfers(abroad.plane.control, abroad.transfers._parcels)
    await fresh.start()
    assert await abroad.archive.manifests() == []
    assert await abroad.plane.store.run(lambda tx: tx.find(Setting)) == []
    await fresh.stop()
    abroad.transfers._imports.clear()


@pytest.mark.parametrize(
    "change",
    [
        {"snapshot": None},
        {"snapshot": {"identifier": "x"}},
        {"manifest": "elsewhere"},
        {"manifest": "../../1/snapshots/s/manifest.json/"},
        {"arn": ...},
        {"snapshot": {"cluster_created_at": "yesterday"}},
    ],
)
async def test_a_description_that_makes_no_snapshot_is_refused(
    home: Deployment, abroad: Deployment, change: dict[str, Any]
) -> None:
    description, _, _ = await packed(home)
    if change == {"snapshot": {"cluster_created_at": "yesterday"}}:
        change = {"snapshot": {**description["snapshot"], "cluster_created_at": "yesterday"}}
    broken = {name: value for name, value in {**description, **change}.items() if value is not ...}
    with pytest.raises(InvalidParameterValue):
        await abroad.transfers.begin(broken)


async def test_only_its_own_objects_are_told(home: Deployment) -> None:
    with pytest.raises(SnapshotNotReadable, match="no object of this snapshot"):
        await home.transfers.content("rds:daily", f"{VOLUME.prefix}/archive.json")


@pytest.mark.parametrize(
    ("key", "offset", "total"), [("../x", 0, 1), ("a//b", 0, 1), ("a", 5, 3), ("a", -1, 9), ("a", 7, 9)]
)
async def test_bytes_that_belong_nowhere_are_refused(
    home: Deployment, abroad: Deployment, key: str, offset: int, total: int
) -> None:
    description, _, _ = await packed(home)
    import_id = await abroad.transfers.begin(description)
    with pytest.raises((InvalidParameterValue, SnapshotNotReadable)):
        await abroad.transfers.put(import_id, key, b"x", offset=offset, total=total)


def test_times_are_aware() -> None:
    told = transfers._told(rows.snapshot())
    assert datetime.datetime.fromisoformat(told["created_at"]).tzinfo is not None
