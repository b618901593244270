"""Containers: what was sealed comes back under its name, and nothing else ever does."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable

import google_crc32c
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from stilldb.domain.volumes import VolumeError
from stilldb.volume import container
from stilldb.volume.container import DamagedObject, DataKey, inspect, is_sealed, open_sealed, seal

NAME = "cluster-A/1/wal/000000010000000000000001"
KEY = DataKey("key-1", bytes(range(32)))

# Written by version 1 once and for all: they must stay readable.
PLAIN = bytes.fromhex(
    "895344420d0a1a0a"  # magic
    "01 01 00 00 0003 0000"  # version 1, zstd, no cipher, so no id of a key; a name of 3; zero
    "0000000000000190 0000000000000017"  # raw size 400, payload size 23
    "000000000000000000000000"  # no nonce
    "612f62"  # a/b
    "57c23084 28b52ffd6090004d000010303001008b2ac002"  # checksum of the raw bytes, a frame of zstd
    "ede7fd45"  # checksum of everything
)
ENCRYPTED = bytes.fromhex(
    "895344420d0a1a0a"
    "01 00 01 05 0003 0000"  # version 1, not compressed, AES-256-GCM, an id of 5
    "0000000000000003 0000000000000017"
    "d56ff9e73e7ca37d32b09fc8"  # nonce
    "6b65792d31 612f62"  # key-1, a/b
    "e0107dbaf687df 534a0ce739ecceeee22a989cd8cf6d96"  # ciphertext, tag
    "91f6ef46"
)


def keys(key_id: str) -> DataKey:
    if key_id != KEY.id:
        raise VolumeError(f"there is no data key {key_id}")
    return KEY


def unseal(name: str, content: bytes, *, keys: Callable[[str], DataKey] | None) -> bytes:
    """As a whole and in pieces: both give the same, or the same kind of error."""
    try:
        raw = container.unseal(name, content, keys=keys)
    except VolumeError as error:
        with pytest.raises(type(error)):
            list(open_sealed(name, content, keys=keys).pieces())
        raise
    assert b"".join(open_sealed(name, content, keys=keys).pieces()) == raw
    return raw


def opened(content: bytes, *, encrypted: bool, name: str = NAME) -> bytes:
    return unseal(name, content, keys=keys if encrypted else None)


def resealed(content: bytes) -> bytes:
    """With a right checksum at the end, as somebody who means harm would have it."""
    return content[:-4] + google_crc32c.value(content[:-4]).to_bytes(4, "big")


def test_version_1_stays_readable() -> None:
    assert unseal("a/b", PLAIN, keys=None) == b"0" * 400
    assert unseal("a/b", ENCRYPTED, keys=keys) == b"raw"


@given(
    raw=st.one_of(
        st.binary(max_size=300),
        st.builds(lambda part, n: part * n, st.binary(max_size=40), st.integers(0, 200)),
    ),
    name=st.text(min_size=1, max_size=50),
    level=st.integers(1, 5),
    encrypted=st.booleans(),
)
def test_what_was_sealed_comes_back(raw: bytes, name: str, level: int, encrypted: bool) -> None:
    content = seal(name, raw, level=level, key=KEY if encrypted else None)
    assert is_sealed(content)
    assert opened(content, encrypted=encrypted, name=name) == raw
    header = inspect(name, content)
    assert (header.raw_size, header.key_id) == (len(raw), KEY.id if encrypted else None)
    assert len(content) <= len(raw) + len(name.encode()) + 90
    with pytest.raises(DamagedObject, match="another one"):
        opened(content, encrypted=encrypted, name=name + "x")


@pytest.mark.parametrize("encrypted", [False, True])
def test_every_flipped_bit_and_every_truncation_is_found(encrypted: bool) -> None:
    for raw in (b"", b"abc" * 20, os.urandom(50)):
        content = seal("a/b", raw, key=KEY if encrypted else None)
        for position in range(len(content) * 8):
            flipped = bytearray(content)
            flipped[position // 8] ^= 1 << position % 8
            with pytest.raises(VolumeError, match="a/b"):
                opened(bytes(flipped), encrypted=encrypted, name="a/b")
        for length in range(len(content)):
            with pytest.raises(VolumeError, match="a/b"):
                opened(content[:length], encrypted=encrypted, name="a/b")
        with pytest.raises(DamagedObject):
            opened(content + b"\0", encrypted=encrypted, name="a/b")


@given(data=st.data(), encrypted=st.booleans(), size=st.integers(0, 5_000), compressible=st.booleans())
@settings(max_examples=150)
def test_any_damage_is_found(data: st.DataObject, encrypted: bool, size: int, compressible: bool) -> None:
    raw = b"0123456789" * (size // 10) if compressible else random.Random(size).randbytes(size)
    content = seal(NAME, raw, key=KEY if encrypted else None)
    start = data.draw(st.integers(0, len(content) - 1))
    span = content[start : start + data.draw(st.integers(1, 50))]
    other = data.draw(st.binary(max_size=60))
    damaged = content[:start] + other + content[start + len(span) :]
    if damaged == content:
        return
    with pytest.raises(VolumeError):
        opened(damaged, encrypted=encrypted)


@given(data=st.data())
@settings(max_examples=150)
def test_without_the_key_nothing_can_be_forged_by_a_right_checksum(data: st.DataObject) -> None:
    content = seal(NAME, b"raw bytes " * 30, key=KEY)
    position = data.draw(st.integers(0, len(content) - 5))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VolumeError):
        opened(resealed(bytes(changed)), encrypted=True)


@given(data=st.data())
@settings(max_examples=150)
def test_hostile_bytes_in_a_plain_container_give_an_error_or_what_its_checksum_says(
    data: st.DataObject,
) -> None:
    content = seal(NAME, b"raw bytes " * 30, key=None)
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(content) - 5))] ^= data.draw(st.integers(0, 255))
    try:
        raw = opened(resealed(bytes(changed)), encrypted=False)
    except VolumeError:
        return
    assert raw == b"raw bytes " * 30


def test_what_was_spoilt_before_it_was_sealed_is_found_by_the_inner_checksum() -> None:
    noise = os.urandom(1_000)
    content = bytearray(seal("a", noise, key=None))
    content[500] ^= 1
    with pytest.raises(DamagedObject, match="content does not match"):
        unseal("a", resealed(bytes(content)), keys=None)


def test_the_name_is_in_the_way_of_a_swap() -> None:
    content = seal("a/1", b"x" * 100, key=KEY)
    renamed = resealed(content.replace(b"a/1", b"a/2"))
    with pytest.raises(DamagedObject, match="tag is wrong"):
        unseal("a/2", renamed, keys=keys)


def test_a_plain_object_is_not_taken_for_an_encrypted_one() -> None:
    with pytest.raises(DamagedObject, match="not encrypted"):
        unseal("a", seal("a", b"x", key=None), keys=keys)


def test_without_or_with_another_key() -> None:
    content = seal("a", b"secret" * 10, key=KEY)
    with pytest.raises(VolumeError, match=r"encrypted with the data key key-1, and there is none"):
        unseal("a", content, keys=None)
    with pytest.raises(DamagedObject, match="tag is wrong"):
        unseal("a", content, keys=lambda _: DataKey("key-1", bytes(32)))
    with pytest.raises(VolumeError, match="no data key key-2"):
        unseal("a", seal("a", b"x", key=DataKey("key-2", bytes(32))), keys=keys)


def test_what_is_encrypted_shows_nothing_and_never_twice_the_same() -> None:
    one, other = (seal("a", b"secret" * 10, key=KEY) for _ in range(2))
    assert one[44:] != other[44:]
    checksum = google_crc32c.value(b"secret" * 10).to_bytes(4, "big")
    assert b"secret" not in one
    assert checksum not in one, "it would let one try what the content might be"


def test_of_another_version() -> None:
    content = bytearray(seal("a", b"x", key=None))
    content[8] = 2
    with pytest.raises(VolumeError, match="newer StillDB"):
        unseal("a", resealed(bytes(content)), keys=None)


def test_compressed_where_it_helps() -> None:
    assert len(seal("a", bytes(1 << 20), key=None)) < 1_000
    noise = os.urandom(1 << 16)
    assert noise in seal("a", noise, key=None)
    assert unseal("a", seal("a", noise, key=None), keys=None) == noise


def test_no_more_than_the_limit_is_sealed() -> None:
    content = seal("a", bytes(container.MAX_RAW), key=None)
    assert unseal("a", content, keys=None) == bytes(container.MAX_RAW)
    with pytest.raises(VolumeError, match="too large"):
        seal("a", bytes(container.MAX_RAW + 1), key=None)


@pytest.mark.parametrize("told", [10, container.MAX_RAW, container.MAX_RAW + 1, 1 << 60])
@pytest.mark.parametrize("with_size", [True, False])
def test_a_bomb_takes_no_memory(told: int, with_size: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=with_size).compress(bytes(200 << 20))
    content = bytearray(seal("a", b"", key=None)[: 44 + 1] + bytes(4) + bomb + bytes(4))
    content[9] = 1
    content[16:24] = told.to_bytes(8, "big")
    content[24:32] = (4 + len(bomb)).to_bytes(8, "big")
    tracemalloc.start()
    try:
        with pytest.raises(DamagedObject):
            unseal("a", resealed(bytes(content)), keys=None)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_a_data_key_does_not_show_itself() -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    key = DataKey("key-1", secret)
    for text in (repr(key), str(key), f"{key!r}"):
        assert secret.decode() not in text
        assert "key-1" in text
    for wrong in (("", bytes(32)), ("k", bytes(16)), ("é", bytes(32)), ("k" * 256, bytes(32))):
        with pytest.raises(ValueError, match="32 bytes"):
            DataKey(*wrong)
