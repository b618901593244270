"""A volume and an archive of format 1 go on: what is old is restored, what is new is of format 2."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from stilldb.domain.volumes import RestorePoint, SnapshotTarget, VolumeError, VolumeKey
from stilldb.postgres import config, lsn
from stilldb.util import processes
from stilldb.volume.local import LocalVolumes
from stilldb.volume.manifest import _checksum
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.settings import VolumeSettings
from support.volumes import KEY, connected, numbers, open_volumes, restored, state_directory, take, volumes

NEW, OLD = VolumeKey("cluster-NEW", 1), VolumeKey("cluster-OLD", 1)
QUICK = VolumeSettings(base_after_bytes=8 << 20)


@pytest.fixture
def state() -> Iterator[pathlib.Path]:
    with state_directory() as path:
        yield path


def sealed(kind: str, body: dict[str, Any]) -> bytes:
    """As version 1 was written."""
    return json.dumps({"kind": kind, "version": 1, "sha256": _checksum(body), "body": body}).encode()


async def plain_base(opened: LocalVolumes, folder: pathlib.Path) -> dict[str, Any]:
    """A base backup as format 1 took them, a plain copy; its description."""
    volume, programs = opened._of(KEY), opened._programs
    opened._layout.make(folder)
    code, output = await processes.run(
        [
            programs["pg_basebackup"],
            f"--host={volume.sockets}",
            f"--port={config.PORT}",
            f"--username={config.USER}",
            f"--pgdata={folder / 'data'}",
            "--wal-method=none",
            "--checkpoint=fast",
            "--manifest-checksums=CRC32C",
        ],
        run_as=programs.run_as,
    )
    assert code == 0, output
    manifest = json.loads((folder / "data" / "backup_manifest").read_bytes())
    (range_,) = manifest["WAL-Ranges"]
    return {
        "base_id": folder.name,
        "timeline": range_["Timeline"],
        "system_identifier": manifest["System-Identifier"],
        "start_lsn": lsn.parse(range_["Start-LSN"]),
        "end_lsn": lsn.parse(range_["End-LSN"]),
        "size": sum(file["Size"] for file in manifest["Files"]),
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(),
    }


async def make_format_1(state: pathlib.Path) -> None:
    """A stopped volume with rows 1 to 20, and the snapshot "old" of the first ten."""
    opened = open_volumes(state, QUICK)
    await opened.create(KEY, kms_key_arn=None)
    connection = await connected(opened)
    await connection.execute("CREATE TABLE t AS SELECT n, ''::text AS ballast FROM generate_series(1, 10) n")
    root = state / "archive" / KEY.prefix
    if opened._layout.owner is not None:  # in format 1 the whole archive was the server's
        for path in (*root.parents[:1], root, *root.rglob("*")):
            os.chown(path, *opened._layout.owner)
    base = await plain_base(opened, root / "base" / "20260301T120000-0a1b2c3d")
    point = await opened.mark(KEY, "old")
    await connection.execute("INSERT INTO t SELECT n, '' FROM generate_series(11, 20) n")
    await connection.close()
    await opened.release(KEY, "test")
    archive = opened.archive(KEY)
    wal = {
        number: await archive.segment(1, number) for number in (await archive.segments())[1] if number >= 2
    }
    for tar in await archive.bases():
        shutil.rmtree(root / "base" / tar.base_id)
    shutil.rmtree(root / "wal")
    (root / "archive.json").unlink()
    (root / "wal").mkdir()
    for number, content in wal.items():
        assert content is not None
        partial = ".partial" if number == max(wal) else ""
        (root / "wal" / f"{lsn.segment_name(1, number)}{partial}").write_bytes(content)
    shutil.rmtree(opened._of(KEY).paths.spool)
    (root / "base" / base["base_id"] / "base.json").write_bytes(sealed("base backup", base))
    (root / "snapshots" / "old").mkdir(parents=True)
    (root / "snapshots" / "old" / "manifest.json").write_bytes(
        sealed("snapshot manifest", old_manifest(point, base))
    )
    for path in ("latest.json", "gap.json"):
        (opened._of(KEY).paths.root / path).unlink(missing_ok=True)
    opened._of(KEY).paths.complete.write_text(json.dumps({"format": 1, "volume": dataclasses.asdict(KEY)}))


def old_manifest(point: RestorePoint, base: dict[str, Any]) -> dict[str, Any]:
    return {
        "snapshot_id": "old",
        "volume": dataclasses.asdict(KEY),
        "point": {**dataclasses.asdict(point), "taken_at": point.taken_at.isoformat()},
        "base": base,
        "attributes": {"port": 27017},
    }


async def test_a_volume_of_format_1_goes_on(state: pathlib.Path) -> None:
    await make_format_1(state)
    async with volumes(state, NEW, OLD, settings=QUICK) as opened:
        assert await numbers(opened) == list(range(1, 21))
        assert json.loads(opened._of(KEY).paths.complete.read_bytes())["format"] == 2
        connection = await connected(opened)
        assert await connection.fetchval("SHOW summarize_wal") == "on"
        await connection.execute("INSERT INTO t VALUES (21, '')")
        await take(opened, "mixed")
        assert (await opened.archive(KEY).manifest("mixed")).base.form == "directory"
        await restored(opened, OLD, SnapshotTarget("old"))
        assert await numbers(opened, OLD) == list(range(1, 11))
        await restored(opened, NEW, SnapshotTarget("mixed"))
        assert await numbers(opened, NEW) == list(range(1, 22))
        await connection.execute(
            "INSERT INTO t SELECT 22, string_agg(md5(n::text), '') FROM generate_series(1, 600000) n"
        )
        await opened.maintain(KEY, retention=datetime.timedelta(0))
        await take(opened, "new")
        await connection.close()
        manifest = await opened.archive(KEY).manifest("new")
        assert {base.form for base in manifest.chain} == {"tar"}, "the first of format 2 is full"
        assert (await opened.check(KEY, every_byte=True)).problems == ()
        for name in ("old", "mixed"):
            await opened.forget(KEY, name)
        await opened.maintain(KEY, retention=datetime.timedelta(0))
        await opened._care(KEY).expire()
        assert {base.form for base in await opened.archive(KEY).bases()} == {"tar"}
        assert not list((state / "archive" / KEY.prefix / "base").glob("*/data"))
        await opened.destroy(NEW, retain_until=None)
        await restored(opened, NEW, SnapshotTarget("new"))
        assert await numbers(opened, NEW) == list(range(1, 23))


async def test_a_snapshot_of_format_1_is_copied_in_its_store_only(state: pathlib.Path) -> None:
    await make_format_1(state)
    async with volumes(state, OLD, settings=QUICK) as opened:
        with state_directory() as elsewhere:
            async with volumes(elsewhere, store=MemoryStore()) as others:
                with pytest.raises(VolumeError, match="format 1, which can't be moved"):
                    await copy(others, opened)
        await copy(opened, opened)
        await opened.forget(KEY, "old")
        await opened.destroy(KEY, retain_until=None)
        await restored(opened, OLD, SnapshotTarget("copy"))
        assert await numbers(opened, OLD) == list(range(1, 11))
        assert await opened.forget(KEY, "copy") > 20_000_000
        assert await opened.archives() == [OLD]


async def copy(into: LocalVolumes, origin: LocalVolumes) -> None:
    await into.copy(
        origin=origin, source=KEY, snapshot_id="old", as_id="copy", kms_key_arn=None, progress=lambda _: None
    )


async def test_a_gap_of_format_1_is_one_still(state: pathlib.Path) -> None:
    await make_format_1(state)
    (state / "archive" / KEY.prefix / "gap").touch()
    async with volumes(state, NEW, settings=QUICK) as opened:
        await opened.hold(KEY, "test")
        await take(opened, "new")
        manifest = await opened.archive(KEY).manifest("new")
        assert manifest.base.form == "tar", "no base backup from before the gap serves"
        assert len((await opened.archive(KEY).record()).gaps) == 1
        await restored(opened, NEW, SnapshotTarget("new"))
        assert await numbers(opened, NEW) == list(range(1, 21))
