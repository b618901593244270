"""Files that survive a crash: atomic writes, flushed directories, copies that share blocks where they can."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import errno
import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable, Collection, Iterator

_FICLONE = 0x40049409  # ioctl of linux/fs.h: share the blocks of another file
_NO_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}
_CHUNK = 1 << 26


def flush_directory(path: pathlib.Path) -> None:
    """Make the directory's entries durable."""
    with _descriptor(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


def write_durably(path: pathlib.Path, content: bytes, mode: int = 0o644) -> None:
    """Write or replace a file so that after a crash the old or the new content is there, whole."""
    temporary = path.with_name(path.name + ".tmp")
    with _descriptor(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode) as descriptor:
        os.fchmod(descriptor, mode)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    temporary.replace(path)
    flush_directory(path.parent)


@contextlib.contextmanager
def _descriptor(path: pathlib.Path, flags: int, mode: int = 0o600) -> Iterator[int]:
    descriptor = os.open(path, flags, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def flush_filesystem(path: pathlib.Path) -> None:
    """Flush the whole file system that holds ``path``: for many small new files far cheaper than one by one."""
    libc = ctypes.CDLL(None, use_errno=True)
    with _descriptor(path, os.O_RDONLY) as descriptor:
        if libc.syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))


def flush_tree(directory: pathlib.Path) -> None:
    """Flush every file and directory below, one by one: other writers keep their share of the disk."""
    for root, _, names in os.walk(directory):
        for name in names:
            with _descriptor(pathlib.Path(root, name), os.O_RDONLY) as descriptor:
                os.fsync(descriptor)
        flush_directory(pathlib.Path(root))


def copy_file(source: pathlib.Path, target: pathlib.Path, owner: tuple[int, int] | None) -> int:
    """Copy one file, sharing its blocks where the file system can; returns its size in bytes."""
    with (
        _descriptor(source, os.O_RDONLY) as reader,
        _descriptor(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as writer,
    ):
        size = os.fstat(reader).st_size
        if not _clone(reader, writer) and not _copy_range(reader, writer, size):
            _copy_bytes(reader, writer, size)
        if owner is not None:
            os.fchown(writer, *owner)
    return size


class CannotShare(OSError):
    """The file system can't share blocks between two files."""


def share_file(source: pathlib.Path, target: pathlib.Path, owner: tuple[int, int] | None) -> int:
    """Make a file of the blocks of another one, mode 0600; returns its size in bytes, raises CannotShare."""
    with (
        _descriptor(source, os.O_RDONLY) as reader,
        _descriptor(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as writer,
    ):
        if not _clone(reader, writer):
            raise CannotShare(errno.EOPNOTSUPP, "blocks can't be shared", str(target))
        if owner is not None:
            os.fchown(writer, *owner)
        return os.fstat(writer).st_size


def _clone(reader: int, writer: int) -> bool:
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def _copy_range(reader: int, writer: int, size: int) -> bool:
    """Copy inside the kernel; whether that is possible, which it is not from one kind of file system to another."""
    done = 0
    while done < size:
        try:
            copied = os.copy_file_range(reader, writer, min(_CHUNK, size - done))
        except OSError as error:
            if done == 0 and error.errno in _NO_CLONE:
                return False
            raise
        _require_more(copied, done, size)
        done += copied
    return True


def _copy_bytes(reader: int, writer: int, size: int) -> None:
    done = 0
    while done < size:
        copied = os.sendfile(writer, reader, done, min(_CHUNK, size - done))
        _require_more(copied, done, size)
        done += copied


def _require_more(copied: int, done: int, size: int) -> None:
    if copied == 0:
        raise OSError(errno.EIO, f"a file became shorter while it was copied: {done} of {size} bytes")


def tree_size(directory: pathlib.Path) -> int:
    """Bytes of the files below."""
    return sum(
        os.lstat(os.path.join(root, name)).st_size for root, _, names in os.walk(directory) for name in names
    )


def copy_tree(
    source: pathlib.Path,
    target: pathlib.Path,
    *,
    owner: tuple[int, int] | None,
    without: Collection[pathlib.Path] = (),
    progress: Callable[[int], None] = lambda _: None,
    threads: int = 2,
) -> int:
    """Copy a directory of plain files, mode 0700 and 0600, not flushed, ``without`` some relative paths.

    Tells the bytes done and returns their sum.
    """
    files: list[tuple[pathlib.Path, pathlib.Path]] = []
    for root, _, names in os.walk(source):
        folder = target / pathlib.Path(root).relative_to(source)
        folder.mkdir(mode=0o700)
        if owner is not None:
            os.chown(folder, *owner)
        files += [
            (pathlib.Path(root, name), folder / name)
            for name in names
            if pathlib.Path(root, name).relative_to(source) not in without
        ]
    done = 0
    with concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="copy") as pool:
        for size in pool.map(lambda pair: copy_file(pair[0], pair[1], owner), files):
            done += size
            progress(done)
    return done


def remove_tree(directory: pathlib.Path) -> int:
    """Remove a directory and what is below, if it is there; returns the bytes freed. Others may remove it too."""
    try:
        freed = tree_size(directory)
        shutil.rmtree(directory)
    except FileNotFoundError:
        if directory.exists():
            return remove_tree(directory)
        return 0
    return freed


def make_directory(path: pathlib.Path, mode: int, owner: tuple[int, int] | None) -> pathlib.Path:
    """A directory with this mode and owner, its parents as they are or made 0755."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    if owner is not None:
        os.chown(path, *owner)
    return path
