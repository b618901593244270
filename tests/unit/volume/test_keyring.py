"""The local key ring's files: what survives, who may use which key, what can be closed and deleted."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib

import pytest

from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.volumes import VolumeError
from stilldb.volume.keyring import DEFAULT_ALIAS, KmsUnavailable, LocalKeyring

ACCOUNT, OTHER = "123456789012", "210987654321"
CONTEXT = {"archive": "cluster-A/1"}


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "keys"


def ring(root: pathlib.Path, account: str = ACCOUNT, region: str = "eu-central-1") -> LocalKeyring:
    return LocalKeyring(root, account, region)


def key_files(root: pathlib.Path) -> list[pathlib.Path]:
    return sorted(root.rglob("*.json"))


async def test_keys_outlive_the_process_and_only_the_owner_may_read_them(root: pathlib.Path) -> None:
    key = await ring(root).create("alias/mine")
    made, wrapped = await ring(root).generate_data_key("alias/mine", CONTEXT)
    assert await ring(root).unwrap(wrapped, key.arn, CONTEXT) == made
    assert await ring(root).list() == (key,)
    (path,) = key_files(root)
    assert path == root / ACCOUNT / "eu-central-1" / f"{key.arn.rpartition('/')[2]}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    folders = [path for path in (root, *root.rglob("*")) if path.is_dir()]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


async def test_the_default_key_is_made_once(root: pathlib.Path) -> None:
    keys = await asyncio.gather(*(ring(root).describe(DEFAULT_ALIAS) for _ in range(10)))
    assert len(set(keys)) == 1
    assert len(key_files(root)) == 1
    assert keys[0].default


async def test_the_default_key_can_be_neither_closed_nor_deleted(root: pathlib.Path) -> None:
    default = await ring(root).describe(DEFAULT_ALIAS)
    with pytest.raises(VolumeError, match="neither closed nor deleted"):
        await ring(root).disable(default.arn)
    with pytest.raises(VolumeError, match="neither closed nor deleted"):
        await ring(root).delete(default.arn, confirmed_arn=default.arn)


async def test_a_deleted_key_takes_everything_with_it(root: pathlib.Path) -> None:
    key = await ring(root).create("alias/mine")
    _, wrapped = await ring(root).generate_data_key(key.arn, CONTEXT)
    with pytest.raises(VolumeError, match="lost for ever"):
        await ring(root).delete("alias/mine", confirmed_arn="alias/mine")
    assert await ring(root).unwrap(wrapped, key.arn, CONTEXT)
    await ring(root).delete("alias/mine", confirmed_arn=key.arn)
    assert key_files(root) == []
    with pytest.raises(KMSKeyNotAccessibleFault):
        await ring(root).unwrap(wrapped, key.arn, CONTEXT)
    assert (await ring(root).create("alias/mine")).arn != key.arn


async def test_aliases(root: pathlib.Path) -> None:
    key = await ring(root).create("alias/mine")
    assert await ring(root).describe("alias/mine") == key
    assert await ring(root).describe(f"arn:aws:kms:eu-central-1:{ACCOUNT}:alias/mine") == key
    with pytest.raises(VolumeError, match="taken"):
        await ring(root).create("alias/mine")
    for wrong in ("mine", "alias/", "alias/aws/rds", "alias/a b"):
        with pytest.raises(VolumeError, match="can't be an alias"):
            await ring(root).create(wrong)
    assert (await ring(root, OTHER).create("alias/mine")).arn != key.arn


async def test_others_may_open_by_the_arn_and_nothing_else(root: pathlib.Path) -> None:
    key = await ring(root).create("alias/mine")
    made, wrapped = await ring(root).generate_data_key(key.arn, CONTEXT)
    for other in (ring(root, OTHER), ring(root, region="us-east-1")):
        assert await other.unwrap(wrapped, key.arn, CONTEXT) == made
        assert await other.list() == ()
        for call in (
            other.describe(key.arn),
            other.describe("alias/mine"),
            other.generate_data_key(key.arn, CONTEXT),
            other.wrap(made, key.arn, CONTEXT),
            other.disable(key.arn),
            other.delete(key.arn, confirmed_arn=key.arn),
            other.unwrap(wrapped, key.arn.rpartition("/")[2], CONTEXT),
        ):
            with pytest.raises(KMSKeyNotAccessibleFault):
                await call
    await ring(root).disable(key.arn)
    with pytest.raises(KMSKeyNotAccessibleFault, match="disabled"):
        await ring(root, OTHER).unwrap(wrapped, key.arn, CONTEXT)


async def test_asking_for_anothers_default_key_makes_none(root: pathlib.Path) -> None:
    with pytest.raises(KMSKeyNotAccessibleFault):
        await ring(root).unwrap(b"", f"arn:aws:kms:eu-central-1:{OTHER}:{DEFAULT_ALIAS}", CONTEXT)
    assert key_files(root) == []


@pytest.mark.parametrize("damage", ["cut", "version", "material", "renamed", "member"])
async def test_a_damaged_file_is_named_and_shows_no_key(root: pathlib.Path, damage: str) -> None:
    key = await ring(root).create()
    (path,) = key_files(root)
    body = json.loads(path.read_text())
    changes = {
        "version": {**body, "version": 2},
        "material": {**body, "material": body["material"][:-8]},
        "renamed": {**body, "arn": body["arn"][:-1] + ("0" if body["arn"][-1] != "0" else "1")},
        "member": {**body, "more": 1},
    }
    path.write_text(path.read_text()[:-30] if damage == "cut" else json.dumps(changes[damage]))
    with pytest.raises(VolumeError, match=path.name) as raised:
        await ring(root).describe(key.arn)
    assert body["material"] not in str(raised.value)


async def test_a_directory_that_can_not_be_used(root: pathlib.Path) -> None:
    root.write_bytes(b"")
    with pytest.raises(KmsUnavailable, match="can't be used"):
        await ring(root).describe(DEFAULT_ALIAS)


async def test_a_half_written_key_counts_for_nothing(root: pathlib.Path) -> None:
    key = await ring(root).create()
    (path,) = key_files(root)
    os.rename(path, path.with_name(path.name + ".tmp"))
    assert await ring(root).list() == ()
    with pytest.raises(KMSKeyNotAccessibleFault):
        await ring(root).describe(key.arn)
