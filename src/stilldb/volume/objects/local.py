"""Objects as files of a local directory.

A new object is written to ``~incoming``, flushed, and renamed to its place, whose directory is flushed too. No key has a
``~``, so that directory is never taken for objects. It also says that the store is there: when it is gone, the file
system has been unmounted, and nothing that is absent is believed to be absent.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import fcntl
import os
import pathlib
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

from stilldb.util import files
from stilldb.volume.objects.store import (
    ObjectEntry,
    ObjectMissing,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    check_key,
    check_prefix,
    is_part,
)

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_YOUNG = 60.0  # seconds in which a file of ~incoming may not be locked yet


class LocalStore:
    """An ObjectStore in a directory, which is made when it is absent: files 0600, directories 0700, the process's own."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._incoming = root / "~incoming"
        self._flushed: set[pathlib.Path] = set()  # folders whose names are durable
        with _explained("open", str(root)):
            if not root.exists():
                root.mkdir(parents=True, mode=0o700)
                files.flush_directory(root.parent)
            self._incoming.mkdir(mode=0o700, exist_ok=True)
            self._sweep()

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    async def put(self, key: str, data: bytes) -> None:
        """See ObjectStore."""
        await asyncio.to_thread(self._put, self._path(key), key, data)

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        return await asyncio.to_thread(self._get, self._path(key), key)

    async def size(self, key: str) -> int | None:
        """See ObjectStore."""
        return await asyncio.to_thread(self._size, self._path(key), key)

    async def list(self, prefix: str) -> AsyncIterator[ObjectEntry]:
        """See ObjectStore."""
        folders = [check_prefix(prefix)]
        while folders:
            found, below = await asyncio.to_thread(self._scan, folders.pop())
            folders += below
            for entry in found:
                yield entry

    async def delete(self, keys: Iterable[str]) -> None:
        """See ObjectStore."""
        await asyncio.to_thread(self._delete, [(key, self._path(key)) for key in keys])

    async def free_space(self) -> int | None:
        """See ObjectStore."""
        with _explained("see the free space of", str(self._root)):
            return shutil.disk_usage(self._root).free

    def _path(self, key: str) -> pathlib.Path:
        return self._root / check_key(key)

    def _require_there(self) -> None:
        if not self._incoming.is_dir():
            raise StoreUnavailable(
                f"{self._root} is not the object store any more: is its file system mounted?"
            )

    def _put(self, path: pathlib.Path, key: str, data: bytes) -> None:
        self._require_there()
        with _explained("store", key):
            descriptor, name = tempfile.mkstemp(dir=self._incoming)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
                self._move(name, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
                raise
            finally:
                os.close(descriptor)

    def _move(self, name: str, path: pathlib.Path) -> None:
        while True:
            self._make_folder(path.parent)
            try:
                os.replace(name, path)
                return files.flush_directory(path.parent)
            except FileNotFoundError:  # the folder was empty, and a delete removed it meanwhile
                if not os.path.exists(name):
                    raise
                self._flushed.difference_update(path.parents)

    def _make_folder(self, folder: pathlib.Path) -> None:
        """Make the folder, and its name durable, whoever made it: once in a process."""
        if folder == self._root or folder in self._flushed:
            return
        self._make_folder(folder.parent)
        with contextlib.suppress(FileNotFoundError):
            with contextlib.suppress(
                FileExistsError
            ):  # not exist_ok, which fails when it is removed meanwhile
                folder.mkdir(mode=0o700)
            files.flush_directory(folder.parent)
            self._flushed.add(folder)

    def _get(self, path: pathlib.Path, key: str) -> bytes:
        with _explained("read", key), contextlib.suppress(*_ABSENT):
            return path.read_bytes()
        self._require_there()
        raise ObjectMissing(f"the store {self._root} has no object {key}")

    def _size(self, path: pathlib.Path, key: str) -> int | None:
        with _explained("look at", key), contextlib.suppress(*_ABSENT):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                return status.st_size
        self._require_there()
        return None

    def _scan(self, prefix: str) -> tuple[Sequence[ObjectEntry], Sequence[str]]:
        """The objects in one folder, and its folders."""
        self._require_there()
        found: list[ObjectEntry] = []
        below: list[str] = []
        with (
            _explained("list", prefix or str(self._root)),
            contextlib.suppress(*_ABSENT),
            os.scandir(self._root / prefix) as items,
        ):
            for item in items:
                if not is_part(item.name):
                    continue
                if item.is_dir(follow_symlinks=False):
                    below.append(f"{prefix}{item.name}/")
                elif item.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        found.append(_entry(prefix + item.name, item.stat(follow_symlinks=False)))
        return found, below

    def _delete(self, objects: Sequence[tuple[str, pathlib.Path]]) -> None:
        self._require_there()
        folders: set[pathlib.Path] = set()
        for key, path in objects:
            with _explained("delete", key), contextlib.suppress(*_ABSENT):
                path.unlink()
                folders.add(path.parent)
        for folder in folders:
            with _explained("delete from", str(folder)), contextlib.suppress(*_ABSENT):
                files.flush_directory(folder)
                self._remove_empty(folder)
        with _explained("sweep", str(self._incoming)):
            self._sweep()

    def _remove_empty(self, folder: pathlib.Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                    return
                raise
            self._flushed.discard(folder)
            folder = folder.parent

    def _sweep(self) -> None:
        """Remove what puts that died have left in ~incoming: their locks are gone with them."""
        with os.scandir(self._incoming) as items:
            for item in items:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - item.stat().st_mtime > _YOUNG and _unlocked(item.path):
                        os.unlink(item.path)


def _unlocked(path: str) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _entry(key: str, status: os.stat_result) -> ObjectEntry:
    return ObjectEntry(key, status.st_size, datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC))


@contextlib.contextmanager
def _explained(action: str, what: str) -> Iterator[None]:
    """Errors of the operating system as the store's."""
    try:
        yield
    except OSError as error:
        message = f"the store could not {action} {what}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StoreFull(f"{message}. Make room on its file system") from error
        raise (StoreRefused if error.errno in _REFUSED else StoreUnavailable)(message) from error
