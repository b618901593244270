"""The directory of an export: complete or not there, checked by sha256sum and by us."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from stilldb.cli import exports
from stilldb.cli.exports import DamagedExport

OBJECTS = {"cluster-A/1/wal/0001": b"x" * 3_000_000, "cluster-A/1/snapshots/s/manifest.json": b"{}"}
DESCRIPTION = {
    "snapshot": {"identifier": "daily"},
    "exported_at": "2026-11-24T00:00:00+00:00",
    "encrypted": True,
}


@pytest.fixture
def made(tmp_path: pathlib.Path) -> pathlib.Path:
    directory = tmp_path / "parcel"
    heard: list[int] = []
    assert (
        exports.write(directory, DESCRIPTION, list(OBJECTS), OBJECTS.__getitem__, heard.append) == 3_000_002
    )
    assert heard == [3_000_000, 2]
    return directory


def test_it_is_read_as_it_was_written(made: pathlib.Path) -> None:
    found = exports.read(made)
    assert found["snapshot"] == {"identifier": "daily"}
    assert found["objects"] == list(OBJECTS)
    assert {key: exports.content(made, key) for key in found["objects"]} == OBJECTS
    assert "passphrase" in (made / "README.txt").read_text()


def test_sha256sum_checks_every_file(made: pathlib.Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=made, capture_output=True, text=True, check=True
    )
    files = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert {line.removesuffix(": OK") for line in done.stdout.splitlines()} == files
    assert len(files) == 4


def test_any_damage_is_found(made: pathlib.Path) -> None:
    for path in [path for path in made.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]:
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(DamagedExport, match="not what was written"):
            exports.read(made)
        path.unlink()
        with pytest.raises(DamagedExport, match="can't be read"):
            exports.read(made)
        path.write_bytes(good)
    exports.read(made)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text + "0" * 64 + "  ../outside\n", "no sum"),
        (lambda text: text + "0" * 64 + "  /etc/passwd\n", "no sum"),
        (lambda text: text + "nonsense\n", "no sum"),
        (
            lambda text: "".join(line for line in text.splitlines(True) if "export.json" not in line),
            "lacks export.json",
        ),
        (
            lambda text: "".join(line for line in text.splitlines(True) if "wal" not in line),
            "lacks objects/cluster-A/1/wal",
        ),
    ],
)
def test_sums_that_are_not_whole_are_refused(made: pathlib.Path, change: object, words: str) -> None:
    sums = made / "SHA256SUMS"
    sums.write_text(change(sums.read_text()))  # type: ignore[operator]
    with pytest.raises(DamagedExport, match=words):
        exports.read(made)


def test_what_is_no_export_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DamagedExport, match="no complete export"):
        exports.read(tmp_path)


def test_one_that_is_broken_off_leaves_nothing(tmp_path: pathlib.Path) -> None:
    def fetch(key: str) -> bytes:
        if key.endswith("json"):
            raise KeyboardInterrupt
        return OBJECTS[key]

    with pytest.raises(KeyboardInterrupt):
        exports.write(tmp_path / "parcel", DESCRIPTION, list(OBJECTS), fetch)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(made: pathlib.Path) -> None:
    with pytest.raises(FileExistsError, match="exists already"):
        exports.write(made, DESCRIPTION, [], OBJECTS.__getitem__)
    made.with_name("other.partial").mkdir()
    with pytest.raises(FileExistsError, match="broken off"):
        exports.write(made.with_name("other"), DESCRIPTION, [], OBJECTS.__getitem__)
