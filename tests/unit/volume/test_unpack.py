"""Tar streams of base backups: cut anywhere, whole files come of them; what no base backup holds is refused."""

from __future__ import annotations

import io
import pathlib
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.domain.volumes import VolumeError
from stilldb.volume.unpack import Unpacker

FILES = {
    "PG_VERSION": b"18\n",
    "base/1/1259": bytes(range(256)) * 40,
    "base/1/empty": b"",
    "global/pg_control": b"c" * 8192,
}
FOLDERS = ("base", "base/1", "global", "pg_wal", "pg_wal/archive_status")


def packed(*extra: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        for name, content in FILES.items():
            file = tarfile.TarInfo(name)
            file.size = len(content)
            archive.addfile(file, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return buffer.getvalue()


def unpacked(stream: bytes, folder: pathlib.Path, size: int) -> None:
    unpacker = Unpacker(folder, None)
    try:
        for at in range(0, len(stream), size):
            unpacker.feed(stream[at : at + size])
        unpacker.finish()
    finally:
        unpacker.close()


@given(size=st.integers(1, 12_000))
def test_however_it_is_cut(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    folder = tmp_path_factory.mktemp("unpacked") / "data"
    unpacked(packed(), folder, size)
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    assert {name for name, path in found.items() if path.is_dir()} == set(FOLDERS)
    assert {name: path.read_bytes() for name, path in found.items() if path.is_file()} == FILES
    assert all(path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600) for path in found.values())


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "base/../../evil"])
def test_no_name_leads_out(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(VolumeError, match="evil"):
        unpacked(packed(tarfile.TarInfo(name)), tmp_path / "data", 10_000)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_plain_files_only(tmp_path: pathlib.Path, kind: bytes) -> None:
    info = tarfile.TarInfo("base/odd")
    info.type = kind
    info.linkname = "/etc/passwd"
    with pytest.raises(VolumeError, match="base/odd"):
        unpacked(packed(info), tmp_path / "data", 10_000)


def test_no_size_is_negative(tmp_path: pathlib.Path) -> None:
    header = bytearray(tarfile.TarInfo("base/odd").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # -1 in the form of numbers that are too large for octal digits
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * ord(" "))
    with pytest.raises(VolumeError, match="base/odd"):
        unpacked(bytes(header), tmp_path / "data", 512)


@pytest.mark.parametrize("cut", [700, 5_000, 15_000])
def test_a_stream_that_breaks_off(tmp_path: pathlib.Path, cut: int) -> None:
    with pytest.raises(VolumeError, match="cut off"):
        unpacked(packed()[:cut], tmp_path / "data", 512)


def test_no_tar_at_all(tmp_path: pathlib.Path) -> None:
    with pytest.raises(VolumeError, match="no tar stream"):
        unpacked(b"not a tar" * 1000, tmp_path / "data", 512)
