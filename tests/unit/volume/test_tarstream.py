"""A base backup's tar stream is compared with PostgreSQL's manifest in it, however it is cut."""

from __future__ import annotations

import io
import json
import tarfile

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.domain.volumes import VolumeError
from stilldb.volume.tarstream import MANIFEST, TarWatch

FILES = {
    "PG_VERSION": b"18\n",
    "base/1/empty": b"",
    "base/1/1259": bytes(range(256)) * 40,
    "global/pg_control": b"c" * 512,
}


def described(content: bytes) -> dict[str, object]:
    crc = int(google_crc32c.value(content)).to_bytes(4, "little").hex()  # as pg_checksum writes it
    return {"Size": len(content), "Checksum-Algorithm": "CRC32C", "Checksum": crc}


def packed(files: dict[str, bytes], manifest: bytes | None) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        folder = tarfile.TarInfo("base")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in {**files, **({} if manifest is None else {MANIFEST: manifest})}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


TOLD = [{"Path": name, **described(content)} for name, content in FILES.items()]
TOLD[0] = {"Encoded-Path": b"PG_VERSION".hex(), **described(FILES["PG_VERSION"])}
STREAM = packed(FILES, json.dumps({"Files": TOLD}).encode())


def fed(stream: bytes, cuts: list[int]) -> TarWatch:
    watch = TarWatch()
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    for start, end in zip([0, *ends], ends, strict=False):
        watch.feed(stream[start:end])
    return watch


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_it_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    watch = fed(STREAM, cuts)
    assert watch.checked()["Files"] == TOLD
    assert watch.size == len(STREAM)
    assert json.loads(bytes(watch.manifest))["Files"] == TOLD


@given(st.sampled_from(sorted(name for name, content in FILES.items() if content)), st.data())
def test_a_flipped_bit_in_any_file_is_found(name: str, data: st.DataObject) -> None:
    content = bytearray(FILES[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    stream = packed({**FILES, name: bytes(content)}, json.dumps({"Files": TOLD}).encode())
    with pytest.raises(VolumeError, match=f"{name} is not as PostgreSQL read it"):
        fed(stream, []).checked()


def test_a_file_that_is_missing_is_found() -> None:
    files = {name: content for name, content in FILES.items() if name != "base/1/empty"}
    with pytest.raises(VolumeError, match="base/1/empty is not as"):
        fed(packed(files, json.dumps({"Files": TOLD}).encode()), []).checked()


@pytest.mark.parametrize("stream", [b"", STREAM[:700], STREAM[:5000], packed(FILES, None), STREAM[:100]])
def test_a_stream_that_breaks_off(stream: bytes) -> None:
    with pytest.raises(VolumeError, match="broke off"):
        fed(stream, []).checked()


def test_what_is_no_tar_stream() -> None:
    with pytest.raises(VolumeError, match="no tar stream"):
        fed(b"x" * 1024, [])
