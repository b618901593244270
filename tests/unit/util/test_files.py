"""Files that survive a crash, and copies by whatever way the file systems have."""

from __future__ import annotations

import errno
import os
import pathlib
from typing import Any

import pytest

from stilldb.util import files


def tree(root: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "source"
    (root / "a" / "b").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a" / "big").write_bytes(os.urandom(300_000))
    (root / "a" / "b" / "nothing").touch()
    (root / "left").write_bytes(b"x")
    return root


@pytest.mark.parametrize("number", [None, errno.EXDEV, errno.EOPNOTSUPP])
def test_a_tree_is_copied_by_any_way(
    source: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    if number is not None:

        def refuse(*_: Any) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "copy_file_range", refuse)
    told: list[int] = []
    target = tmp_path / "target"
    done = files.copy_tree(source, target, owner=None, without=[pathlib.Path("left")], progress=told.append)
    assert tree(target) == {name: content for name, content in tree(source).items() if name != "left"}
    assert (target / "empty").is_dir()
    assert told[-1] == done == 300_000
    assert {path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()} == {0o600}


def test_an_error_of_the_copy_is_not_taken_for_another_way(
    source: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="no space"):
        files.copy_tree(source, tmp_path / "target", owner=None)


def test_a_file_is_replaced_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    files.write_durably(path, b"one", 0o600)
    files.write_durably(path, b"two" * 100_000, 0o600)
    assert path.read_bytes() == b"two" * 100_000
    assert os.listdir(tmp_path) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_tree_is_removed_and_told_and_an_absent_one_is_nothing(source: pathlib.Path) -> None:
    assert files.remove_tree(source) == 300_001
    assert files.remove_tree(source) == 0
