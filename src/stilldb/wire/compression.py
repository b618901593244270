"""The compressors of OP_COMPRESSED. Pure; a library is loaded when a client first uses it."""

from __future__ import annotations

import importlib.util
import zlib

from stilldb.wire.errors import ProtocolError

COMPRESSORS: dict[str, int] = {"zlib": 2, "zstd": 3}
if importlib.util.find_spec("snappy") is not None:  # an optional dependency
    COMPRESSORS["snappy"] = 1
NAMES = {number: name for name, number in COMPRESSORS.items()}
_LEVEL = 1
_LARGEST_WINDOW = 1 << 27  # bytes of memory that a zstd frame may ask for


def compress(name: str, data: bytes) -> bytes:
    """``data`` compressed, at the fastest level."""
    if name == "zlib":
        return zlib.compress(data, _LEVEL)
    if name == "zstd":
        import zstandard  # noqa: PLC0415

        return bytes(zstandard.ZstdCompressor(level=_LEVEL).compress(data))
    import snappy  # noqa: PLC0415

    return bytes(snappy.compress(data))


def decompress(name: str, data: bytes, size: int) -> bytes:
    """``data`` decompressed; raises ProtocolError unless it makes ``size`` bytes. Never more than those are made."""
    content = {"zlib": _zlib, "zstd": _zstd, "snappy": _snappy}[name](data, size)
    if len(content) != size:
        raise ProtocolError(f"{name} data has another length than its message says")
    return content


def _zlib(data: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise ProtocolError(f"zlib data is damaged: {error}") from None


def _zstd(data: bytes, size: int) -> bytes:
    import zstandard  # noqa: PLC0415

    try:
        with zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).stream_reader(data) as reader:
            return bytes(reader.read(size + 1))
    except zstandard.ZstdError as error:
        raise ProtocolError(f"zstd data is damaged: {error}") from None


def _snappy(data: bytes, size: int) -> bytes:
    import snappy  # noqa: PLC0415

    if _snappy_length(data) != size:
        raise ProtocolError("snappy data has another length than its message says")
    try:
        return bytes(snappy.uncompress(data))
    except Exception as error:  # noqa: BLE001 - its errors are those of one of several libraries underneath
        raise ProtocolError(f"snappy data is damaged: {error}") from None


def _snappy_length(data: bytes) -> int:
    """The length that a snappy block claims: a varint in front (snappy format description)."""
    value = shift = 0
    for byte in data[:5]:
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value
        shift += 7
    raise ProtocolError("snappy data has no length")
