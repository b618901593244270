"""The tar stream of a base backup, looked at while it passes: every file's checksum against PostgreSQL's manifest in it.

PostgreSQL chapters "Backup Manifest Format" and pg_basebackup: the manifest is the stream's last member.
"""

from __future__ import annotations

import json
import tarfile
from typing import Any

import google_crc32c

from stilldb.domain.volumes import VolumeError

MANIFEST = "backup_manifest"
_BLOCK = tarfile.BLOCKSIZE


class TarWatch:
    """Is fed the bytes of a tar stream in order; keeps each file's size and CRC-32C, and the manifest's content."""

    def __init__(self) -> None:
        self.size = 0  # bytes fed
        self.manifest = bytearray()
        self._files: dict[str, tuple[int, int]] = {}
        self._header = bytearray()
        self._name = ""
        self._length = self._left = self._padding = self._crc = 0

    def feed(self, data: bytes) -> None:
        """The next bytes; raises VolumeError where they are no tar stream."""
        self.size += len(data)
        view = memoryview(data)
        while view:
            if self._left:
                view = self._content(view)
            elif self._padding:
                skipped = min(self._padding, len(view))
                self._padding -= skipped
                view = view[skipped:]
            else:
                taken = _BLOCK - len(self._header)
                self._header += view[:taken]
                view = view[taken:]
                if len(self._header) == _BLOCK:
                    self._member()

    def _content(self, view: memoryview) -> memoryview:
        taken = bytes(view[: self._left])
        self._crc = google_crc32c.extend(self._crc, taken)
        if self._name == MANIFEST:
            self.manifest += taken
        self._left -= len(taken)
        if not self._left:
            self._files[self._name] = (self._length, self._crc)
        return view[len(taken) :]

    def _member(self) -> None:
        header, self._header = bytes(self._header), bytearray()
        if not any(header):
            return  # the end
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise VolumeError(f"pg_basebackup gave no tar stream: {error}") from error
        if not info.isreg():
            return
        self._name, self._length, self._left, self._crc = info.name, info.size, info.size, 0
        self._padding = -info.size % _BLOCK
        if not info.size:
            self._files[info.name] = (0, 0)

    def checked(self) -> dict[str, Any]:
        """PostgreSQL's manifest, when the stream held exactly what it says; else raises VolumeError."""
        if self._left or self._header or not self.manifest:
            raise VolumeError("the tar stream of the base backup broke off")
        manifest: dict[str, Any] = json.loads(bytes(self.manifest))
        for file in manifest["Files"]:
            name = (
                file["Path"]
                if "Path" in file
                else bytes.fromhex(file["Encoded-Path"]).decode("utf-8", "surrogateescape")
            )
            size, crc = self._files.get(name, (-1, 0))
            # pg_checksum writes the integer as it lies in memory.
            if size != file["Size"] or crc.to_bytes(4, "little").hex() != file["Checksum"]:
                raise VolumeError(f"the base backup is damaged: {name} is not as PostgreSQL read it")
        return manifest
