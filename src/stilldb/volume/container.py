"""The envelope of an archived object, version 1: it says what it holds, and nothing else is ever taken for it. Pure.

    0   8  magic: 89 53 44 42 0D 0A 1A 0A
    8   1  version
    9   1  codec: 0 none, 1 zstd
    10  1  cipher: 0 none, 1 AES-256-GCM
    11  1  length k of the data key's id, 0 without a cipher
    12  2  length n of the name
    14  2  zero
    16  8  raw size
    24  8  payload size p
    32 12  nonce, zeros without a cipher
    44  k  id of the data key, ASCII
        n  name, UTF-8
        p  payload: 4 bytes CRC-32C of the raw bytes, then these by the codec; encrypted, both are, and a tag of 16 bytes
           follows, which also covers everything before the payload
        4  CRC-32C of everything before

Numbers are big-endian. docs/design/2026-11-24-object-containers.md says why, and what it does not protect from.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable, Iterator

import google_crc32c
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stilldb.domain.volumes import VolumeError

MAGIC = b"\x89SDB\r\n\x1a\n"
VERSION = 1
MAX_RAW = 64 << 20  # bytes
_FIXED = struct.Struct(">8sBBBBHHQQ12s")
_NONE, _ZSTD, _AES_GCM = 0, 1, 1
_CRC, _NONCE, _TAG = 4, 12, 16  # bytes
_PIECE = 1 << 18  # bytes
_FED = 32 << 10  # packed bytes unpacked at a time


class DamagedObject(VolumeError):
    """The bytes are not those that were stored under this name."""


@dataclasses.dataclass(frozen=True, slots=True)
class DataKey:
    """An AES-256 key for the objects of an archive, and the name that containers know it by."""

    id: str  # ASCII, 1 to 255 bytes
    secret: bytes = dataclasses.field(repr=False)  # 32 bytes

    def __post_init__(self) -> None:
        if len(self.secret) != 32 or not self.id.isascii() or not 1 <= len(self.id) <= 255:
            raise ValueError("a data key has 32 bytes and an ASCII id of 1 to 255")


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a container tells without a key."""

    name: str
    codec: int
    cipher: int
    key_id: str | None
    raw_size: int  # bytes
    nonce: bytes
    covered: bytes  # the header as it is stored
    payload: bytes


def is_sealed(content: bytes) -> bool:
    """Whether these bytes begin as a container does."""
    return content[: len(MAGIC)] == MAGIC


def seal(name: str, raw: bytes, *, level: int = 1, key: DataKey | None) -> bytes:
    """The container of ``raw`` bytes under a logical name, compressed where that helps, encrypted when there is a key."""
    if len(raw) > MAX_RAW:
        raise VolumeError(f"{name} is too large for one object: {len(raw)} bytes of at most {MAX_RAW}")
    packed = zstandard.ZstdCompressor(level=level).compress(raw)
    codec, coded = (_ZSTD, packed) if len(packed) < len(raw) else (_NONE, raw)
    body = _crc(raw) + coded
    key_id, label = (b"" if key is None else key.id.encode("ascii")), name.encode()
    nonce = bytes(_NONCE) if key is None else os.urandom(_NONCE)
    cipher, size = (_NONE, len(body)) if key is None else (_AES_GCM, len(body) + _TAG)
    fixed = _FIXED.pack(MAGIC, VERSION, codec, cipher, len(key_id), len(label), 0, len(raw), size, nonce)
    header = fixed + key_id + label
    payload = body if key is None else AESGCM(key.secret).encrypt(nonce, body, header)
    return b"".join((header, payload, _crc(header, payload)))


def inspect(name: str, content: bytes) -> Header:
    """The header of a container, everything checked that can be without its key; raises VolumeError."""
    if not is_sealed(content):
        raise DamagedObject(f"the object {name} is damaged: it does not begin as one ({len(content)} bytes)")
    if len(content) > len(MAGIC) and content[len(MAGIC)] != VERSION:
        raise VolumeError(
            f"the object {name} has version {content[len(MAGIC)]}, which is not known: it is damaged, "
            "or was written by a newer StillDB"
        )
    if len(content) < _FIXED.size:
        raise DamagedObject(
            f"the object {name} is truncated: it ends within its header, at {len(content)} bytes"
        )
    _, _, codec, cipher, key_length, name_length, zero, raw_size, size, nonce = _FIXED.unpack_from(content)
    start = _FIXED.size + key_length + name_length
    if len(content) != start + size + _CRC:
        fault = "truncated" if len(content) < start + size + _CRC else "damaged"
        raise DamagedObject(
            f"the object {name} is {fault}: it has {len(content)} of {start + size + _CRC} bytes"
        )
    header, payload = content[:start], content[start:-_CRC]
    if _crc(header, payload) != content[-_CRC:]:
        raise DamagedObject(f"the object {name} is damaged: its checksum does not match its bytes")
    key_id = header[_FIXED.size : _FIXED.size + key_length]
    label = header[_FIXED.size + key_length :]
    if label != name.encode():
        raise DamagedObject(f"the object {name} is another one: it holds {label.decode(errors='replace')!r}")
    sound = (
        codec in {_NONE, _ZSTD}
        and cipher in {_NONE, _AES_GCM}
        and zero == 0
        and raw_size <= MAX_RAW
        and key_id.isascii()
        and (cipher == _AES_GCM) == bool(key_id)
        and size >= _CRC + (_TAG if cipher else 0)
    )
    if not sound:
        raise DamagedObject(f"the object {name} is damaged: its header can't be true")
    return Header(name, codec, cipher, key_id.decode("ascii") or None, raw_size, nonce, header, payload)


def unseal(name: str, content: bytes, *, keys: Callable[[str], DataKey] | None) -> bytes:
    """The raw bytes that were sealed under this name; raises VolumeError, DamagedObject when the bytes are wrong.

    ``keys`` gives the data key of an id, and raises for one it does not have. With ``keys`` an object that is not encrypted
    is refused: else whoever can write to the store could put one in the place of an encrypted one.
    """
    opened = open_sealed(name, content, keys=keys)
    raw = _unpacked(opened.header, opened.body[_CRC:])
    opened.require(len(raw), _crc(raw))
    return raw


def open_sealed(name: str, content: bytes, *, keys: Callable[[str], DataKey] | None) -> Opened:
    """The same, but for the unpacking."""
    header = inspect(name, content)
    return Opened(header, _decrypted(header, keys))


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A container whose stored bytes are right, decrypted and still packed."""

    header: Header
    body: bytes

    def pieces(self) -> Iterator[bytes]:
        """The raw bytes in small pieces; raises DamagedObject after the last one at the latest.

        For many objects this is far cheaper than one by one in a whole: no fresh memory is asked for.
        """
        size = crc = 0
        for piece in _unpacked_pieces(self.header, memoryview(self.body)[_CRC:]):
            size += len(piece)
            crc = google_crc32c.extend(crc, piece)
            yield piece
        self.require(size, int(crc).to_bytes(_CRC, "big"))

    def require(self, size: int, crc: bytes) -> None:
        """Raise DamagedObject unless these are the raw bytes' size and checksum."""
        if size != self.header.raw_size or crc != self.body[:_CRC]:
            name = self.header.name
            raise DamagedObject(f"the object {name} is damaged: its content does not match its checksum")


def _decrypted(header: Header, keys: Callable[[str], DataKey] | None) -> bytes:
    if header.key_id is None:
        if keys is not None:
            raise DamagedObject(f"the object {header.name} is not encrypted, as it must be in this archive")
        return header.payload
    if keys is None:
        raise VolumeError(
            f"the object {header.name} is encrypted with the data key {header.key_id}, and there is none"
        )
    key = keys(header.key_id)
    try:
        return AESGCM(key.secret).decrypt(header.nonce, header.payload, header.covered)
    except InvalidTag:
        raise DamagedObject(
            f"the object {header.name} is damaged, or was not made with the data key {header.key_id}: its tag is wrong"
        ) from None


def _unpacked(header: Header, coded: bytes) -> bytes:
    """The raw bytes; never more memory than the header's size asks for."""
    if header.codec == _NONE:
        return coded
    try:
        unpacker = _unpacker(header, coded)
        return unpacker.decompress(coded, max_output_size=header.raw_size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DamagedObject(f"the object {header.name} is damaged: {error}") from error


def _unpacked_pieces(header: Header, coded: memoryview) -> Iterator[bytes]:
    if header.codec == _NONE:
        yield from (bytes(coded[at : at + _PIECE]) for at in range(0, len(coded), _PIECE))
        return
    try:
        unpacker = _unpacker(header, coded).decompressobj(write_size=_PIECE)
        for at in range(0, len(coded), _FED):
            yield unpacker.decompress(coded[at : at + _FED])
    except zstandard.ZstdError as error:
        raise DamagedObject(f"the object {header.name} is damaged: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise DamagedObject(f"the object {header.name} is damaged: it does not end where its frame does")


def _unpacker(header: Header, coded: bytes | memoryview) -> zstandard.ZstdDecompressor:
    if zstandard.get_frame_parameters(coded).content_size != header.raw_size:
        raise DamagedObject(f"the object {header.name} is damaged: it unpacks to another size")
    return zstandard.ZstdDecompressor(max_window_size=MAX_RAW)


def _crc(*parts: bytes) -> bytes:
    value = 0
    for part in parts:
        value = google_crc32c.extend(value, part)
    return int(value).to_bytes(_CRC, "big")
