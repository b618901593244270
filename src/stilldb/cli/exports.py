"""The directory of an exported snapshot: its objects, what they are, and sums that ``sha256sum -c SHA256SUMS`` checks.

``objects/`` holds the containers by their keys; ``export.json`` says which snapshot they are; ``README.txt`` tells a stranger.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

FORMAT: Final = 1
KIND: Final = "stilldb snapshot export"
_SUMS, _DESCRIPTION, _README, _OBJECTS = "SHA256SUMS", "export.json", "README.txt", "objects"
_CHUNK: Final = 1 << 20

_TEXT: Final = """This directory is one database snapshot, {name}, exported by StillDB on {exported_at}.

It is complete: nothing else is needed to bring it back, but another StillDB{passphrase}.

  stilldb snapshots import DIRECTORY --as NAME

Check that every byte is as it was written:

  sha256sum -c SHA256SUMS

objects/ holds PostgreSQL base backups and write-ahead log in StillDB's containers (zstd{cipher}), and the manifest
that says how they belong together. export.json tells where the snapshot came from.
"""


class DamagedExport(Exception):
    """The directory is not a complete export; the message says what is wrong with it."""


def write(
    directory: pathlib.Path,
    description: Mapping[str, Any],
    keys: Sequence[str],
    fetch: Callable[[str], bytes],
    told: Callable[[int], None] = lambda size: None,
) -> int:
    """Write an export, whole or not at all; the bytes of its objects. ``told`` hears the size of each object.

    Raises FileExistsError, and whatever ``fetch`` raises.
    """
    if directory.exists():
        raise FileExistsError(f"{directory} exists already; choose a new directory")
    draft = directory.with_name(directory.name + ".partial")
    if draft.exists():
        raise FileExistsError(
            f"{draft} is left of an export that was broken off, or one is writing it; remove it first"
        )
    draft.mkdir(parents=True, mode=0o700)
    try:
        sums, total = {}, 0
        for key in keys:
            content = fetch(key)
            sums[f"{_OBJECTS}/{key}"] = _put(draft / _OBJECTS / key, content)
            total += len(content)
            told(len(content))
        whole = {"kind": KIND, "format": FORMAT, **description, "objects": list(keys)}
        sums[_DESCRIPTION] = _put(draft / _DESCRIPTION, json.dumps(whole, indent=1).encode())
        sums[_README] = _put(draft / _README, _readme(description).encode())
        _put(draft / _SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode())
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return total


def _readme(description: Mapping[str, Any]) -> str:
    encrypted = bool(description.get("encrypted"))
    return _TEXT.format(
        name=description["snapshot"]["identifier"],
        exported_at=description["exported_at"],
        passphrase=" and the passphrase that it was exported with" if encrypted else "",
        cipher=", AES-256-GCM" if encrypted else "",
    )


def _put(path: pathlib.Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def read(directory: pathlib.Path, told: Callable[[int], None] = lambda size: None) -> dict[str, Any]:
    """The description of an export, after every byte was checked against its sum; raises DamagedExport."""
    sums = dict(_sums(directory))
    for name, digest in sums.items():
        path = directory / name
        if _digest(path) != digest:
            raise DamagedExport(f"{path} is not what was written: its SHA-256 is another one")
        told(path.stat().st_size)
    try:
        found = json.loads((directory / _DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise DamagedExport(f"{directory / _DESCRIPTION} can't be read: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise DamagedExport(f"{directory} is no export of a StillDB snapshot")
    if found.get("format") != FORMAT:
        raise DamagedExport(
            f"{directory} has format {found.get('format')!r}; this StillDB reads format {FORMAT}"
        )
    lacking = {f"{_OBJECTS}/{key}" for key in found["objects"]} | {_DESCRIPTION}
    if lacking - sums.keys():
        raise DamagedExport(f"{directory / _SUMS} lacks {sorted(lacking - sums.keys())[0]}")
    return found


def _sums(directory: pathlib.Path) -> Iterator[tuple[str, str]]:
    try:
        lines = (directory / _SUMS).read_text().splitlines()
    except OSError as error:
        raise DamagedExport(f"{directory} is no complete export: {error.strerror}: {_SUMS}") from error
    for line in lines:
        digest, separator, name = line.partition("  ")
        parts = pathlib.PurePosixPath(name).parts
        if not separator or len(digest) != 64 or name.startswith("/") or ".." in parts:
            raise DamagedExport(f"{directory / _SUMS} holds a line that is no sum: {line[:100]!r}")
        yield name, digest


def _digest(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DamagedExport(f"{path} can't be read: {error.strerror}") from error
    return digest.hexdigest()


def content(directory: pathlib.Path, key: str) -> bytes:
    """An object of an export."""
    return (directory / _OBJECTS / key).read_bytes()
