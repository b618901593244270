"""A base backup's tar stream becomes a directory while it arrives: written from the bytes as they come, never flushed."""

from __future__ import annotations

import os
import pathlib
import tarfile

from stilldb.domain.volumes import VolumeError

_BLOCK = tarfile.BLOCKSIZE


class Unpacker:
    """Is fed the bytes of a tar stream in order. Only plain files and directories below ``folder`` come of it."""

    def __init__(self, folder: pathlib.Path, owner: tuple[int, int] | None) -> None:
        self._folder = folder
        self._owner = owner
        self._header = bytearray()
        self._descriptor = -1
        self._left = self._padding = 0
        self._ended = False
        self._make_directory(folder)

    def feed(self, data: bytes) -> None:
        """The next bytes; raises VolumeError where they are no tar stream of plain files, OSError of the disk."""
        view = memoryview(data)
        while view:
            if self._left:
                written = os.write(self._descriptor, view[: self._left])
                self._left -= written
                view = view[written:]
                if not self._left:
                    self.close()
            elif self._padding:
                skipped = min(self._padding, len(view))
                self._padding -= skipped
                view = view[skipped:]
            else:
                taken = _BLOCK - len(self._header)
                self._header += view[:taken]
                view = view[taken:]
                if len(self._header) == _BLOCK:
                    header, self._header = bytes(self._header), bytearray()
                    self._member(header)

    def _member(self, header: bytes) -> None:
        if not any(header):
            self._ended = True
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise VolumeError(f"a base backup is no tar stream: {error}") from error
        relative = pathlib.PurePosixPath(info.name)
        known = (info.isreg() or info.isdir()) and info.size >= 0
        if relative.is_absolute() or ".." in relative.parts or not known:
            raise VolumeError(f"a base backup holds {info.name!r}, which no base backup has")
        path = self._folder / relative
        if info.isdir():
            self._make_directory(path)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)
        if self._owner is not None:
            os.fchown(self._descriptor, *self._owner)
        self._left, self._padding = info.size, -info.size % _BLOCK
        if not self._left:
            self.close()

    def _make_directory(self, path: pathlib.Path) -> None:
        if path != self._folder and path.is_dir():
            return
        path.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(path, *self._owner)

    def close(self) -> None:
        """Close the file that is open, if one is."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def finish(self) -> None:
        """Raise VolumeError unless the stream was whole."""
        if self._left or self._header or not self._ended:
            raise VolumeError("the tar stream of a base backup is cut off")
