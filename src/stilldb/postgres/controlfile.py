"""pg_control: reading the system identifier, and giving a copied data directory a fresh one.

PostgreSQL's only guard against attaching a foreign WAL or standby is this identifier, and a copied template keeps it.
"""

from __future__ import annotations

import os
import pathlib
import struct
import time

import google_crc32c

from stilldb.domain.volumes import VolumeError
from stilldb.postgres.programs import Programs
from stilldb.util import processes

_IDENTIFIER = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_LAST_CRC_OFFSET = 512


def _path(data: pathlib.Path) -> pathlib.Path:
    return data / "global" / "pg_control"


def system_identifier(data: pathlib.Path) -> int:
    """The system identifier of a data directory."""
    return int(_IDENTIFIER.unpack_from(_path(data).read_bytes())[0])


def _new_identifier() -> int:
    """As initdb makes one: seconds and microseconds of the moment, and the pid."""
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    return (seconds << 32) | (micros << 12) | (os.getpid() & 0xFFF)


def _crc_offset(content: bytes) -> int:
    """Where the CRC-32C of all bytes before it lies: it differs between builds, and it proves itself."""
    for offset in range(_IDENTIFIER.size, _LAST_CRC_OFFSET, 4):
        if google_crc32c.value(content[:offset]) == _CRC.unpack_from(content, offset)[0]:
            return offset
    raise VolumeError("pg_control has no checksum where one is expected; is it of this PostgreSQL version?")


async def renew_system_identifier(data: pathlib.Path, programs: Programs) -> int:
    """Give the stopped data directory an identifier of its own, and WAL that carries it; returns it."""
    path = _path(data)
    content = bytearray(path.read_bytes())
    offset = _crc_offset(bytes(content))
    identifier = _new_identifier()
    _IDENTIFIER.pack_into(content, 0, identifier)
    _CRC.pack_into(content, offset, google_crc32c.value(bytes(content[:offset])))
    path.write_bytes(content)
    code, output = await processes.run(
        [programs["pg_resetwal"], "-f", "-D", str(data)], run_as=programs.run_as
    )
    if code != 0 or system_identifier(data) != identifier:
        raise VolumeError(f"pg_resetwal could not renew {data}: {output.strip()}")
    return identifier
