"""Objects as files: modes, what a crash leaves, a full disk, a file system that is gone."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import pathlib
from typing import Any

import pytest

from stilldb.util import files
from stilldb.volume.objects.local import LocalStore
from stilldb.volume.objects.store import ObjectMissing, StoreFull, StoreRefused, StoreUnavailable


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "archive"


async def test_only_the_owner_may_read(root: pathlib.Path) -> None:
    store = LocalStore(root)
    await store.put("a/b/c", b"x")
    assert (root / "a" / "b" / "c").stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (root, root / "a", root / "a" / "b")} == {0o700}


async def test_objects_outlive_the_store_and_empty_folders_do_not_stay(root: pathlib.Path) -> None:
    await LocalStore(root).put("a/b/c", b"x")
    store = LocalStore(root)
    assert await store.get("a/b/c") == b"x"
    await store.delete(["a/b/c"])
    assert os.listdir(root) == ["~incoming"]
    await store.put("a/b/c", b"y")
    assert await store.get("a/b/c") == b"y"


async def test_file_and_folders_are_flushed_before_put_returns(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(root)
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda opened: (steps.append(os.readlink(f"/proc/self/fd/{opened}")), fsync(opened))
    )
    monkeypatch.setattr(os, "replace", lambda one, other: (steps.append("replace"), replace(one, other)))
    await store.put("a/b/c", b"x")
    written = steps.pop(0)
    assert pathlib.Path(written).parent == root / "~incoming"
    assert steps == [str(root), str(root / "a"), "replace", str(root / "a" / "b")]
    steps.clear()
    await store.delete(["a/b/c"])
    assert steps == [str(root / "a" / "b")]


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EIO, StoreUnavailable),
        (errno.EROFS, StoreRefused),
    ],
)
async def test_what_the_disk_refuses_leaves_nothing(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    store = LocalStore(root)
    await store.put("a/b", b"old")

    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(error, match="a/b") as raised:
            await store.put("a/b", b"new")
    assert type(raised.value) is error
    assert await store.get("a/b") == b"old"
    assert os.listdir(root / "~incoming") == []


async def test_a_file_system_that_is_gone_is_not_an_empty_store(root: pathlib.Path) -> None:
    store = LocalStore(root)
    await store.put("a/b", b"x")
    root.rename(root.with_name("elsewhere"))
    root.mkdir()  # the mount point
    for call in (store.put("a/c", b"x"), store.get("a/b"), store.size("a/b"), store.delete(["a/b"])):
        with pytest.raises(StoreUnavailable, match="mounted"):
            await call
    with pytest.raises(StoreUnavailable, match="mounted"):
        [entry async for entry in store.list("")]
    root.rmdir()
    root.with_name("elsewhere").rename(root)
    assert await store.get("a/b") == b"x"


async def test_what_a_dead_put_has_left_is_swept_and_one_that_runs_is_not(root: pathlib.Path) -> None:
    store = LocalStore(root)
    incoming = root / "~incoming"
    for name in ("dead", "running", "young"):
        (incoming / name).write_bytes(b"half")
    for name in ("dead", "running"):
        os.utime(incoming / name, (1, 1))
    with (incoming / "running").open() as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        assert [entry async for entry in store.list("")] == []
        await store.delete([])
        assert sorted(os.listdir(incoming)) == ["running", "young"]
    LocalStore(root)
    assert os.listdir(incoming) == ["young"]


async def test_files_of_others_are_no_objects(root: pathlib.Path) -> None:
    store = LocalStore(root)
    await store.put("a/b", b"x")
    (root / "a" / "note to self").touch()
    (root / "a" / "link").symlink_to("b")
    assert [entry.key async for entry in store.list("")] == ["a/b"]


async def test_a_key_below_an_object_is_refused(root: pathlib.Path) -> None:
    store = LocalStore(root)
    await store.put("a/b", b"x")
    for key in ("a/b/c", "a"):
        with pytest.raises(StoreUnavailable, match=key):
            await store.put(key, b"y")
        with pytest.raises(ObjectMissing):
            await store.get(key)
    assert os.listdir(root / "~incoming") == []


async def test_puts_and_deletes_that_empty_the_folder_meanwhile(root: pathlib.Path) -> None:
    store = LocalStore(root)

    async def come_and_go(name: str) -> None:
        for _ in range(30):
            await store.put(f"a/b/c/{name}", b"x")
            await store.delete([f"a/b/c/{name}"])

    await asyncio.gather(*(come_and_go(str(number)) for number in range(6)))
    assert os.listdir(root) == ["~incoming"]


async def test_a_folder_that_goes_between_is_made_again(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(root)
    await store.put("a/b/old", b"x")
    replace, gone = os.replace, []

    def late(source: str, target: pathlib.Path) -> None:
        if not gone:
            gone.append(files.remove_tree(root / "a"))
        replace(source, target)

    monkeypatch.setattr(os, "replace", late)
    await store.put("a/b/new", b"y")
    assert await store.get("a/b/new") == b"y"
    assert gone == [1]
