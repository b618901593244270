"""The access keys of the deployment, in one file of the state directory that only its owner can read.

Each belongs to an account. Several processes may change the file, one after the other; a service that runs reads it again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import pathlib
import re
import secrets
import string
from collections.abc import Iterator

from stilldb.domain.names import ACCOUNT, DEFAULT_ACCOUNT
from stilldb.util import files
from stilldb.util.log import event

log = logging.getLogger("stilldb.keys")

_ALPHABET = string.ascii_uppercase + "234567"


class DamagedKeys(Exception):
    """The file of access keys can't be read; the message says what to do."""


class KeyRefused(Exception):
    """A key can't be made or deleted as it was asked; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class AccessKey:
    """A long-lived key pair of an account, with a name for people."""

    access_key_id: str
    secret_access_key: str = dataclasses.field(repr=False)
    account: str = DEFAULT_ACCOUNT  # keys of earlier versions have none
    name: str = ""


class KeyFile:
    """The keys as they are in the file now; the first use makes one pair of the default account. Raises DamagedKeys."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        if not path.exists():
            create(path)
        self._seen = self._stamp()
        self._keys = {key.access_key_id: key for key in load(path)}

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key with this id."""
        self._refresh()
        return self._keys.get(access_key_id)

    def accounts(self) -> frozenset[str]:
        """Every account that has a key."""
        self._refresh()
        return frozenset(key.account for key in self._keys.values())

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _refresh(self) -> None:
        """Read the file again if it is another; one that can't be read changes nothing, and is told once."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = {key.access_key_id: key for key in load(self._path)}
            log.info(event("access keys read", keys=len(self._keys)))
        except (OSError, DamagedKeys) as error:
            log.error(event("access keys stay as they were", reason=error))


def load(path: pathlib.Path) -> list[AccessKey]:
    """Every key pair; raises FileNotFoundError and DamagedKeys."""
    try:
        pairs = [AccessKey(**entry) for entry in json.loads(path.read_text())]
        if not pairs:
            raise ValueError("it holds no key pair")
        for pair in pairs:
            if not all(isinstance(value, str) for value in dataclasses.astuple(pair)):
                raise ValueError("a key has a value that is no text")
            if not re.fullmatch(ACCOUNT, pair.account, re.ASCII):
                raise ValueError(f"{pair.account!r} is no account: it needs 12 digits")
    except (ValueError, TypeError) as error:
        raise DamagedKeys(
            f"{path} is damaged: {error}. Move it away, and the next start makes new keys."
        ) from error
    return pairs


def create(path: pathlib.Path, account: str = DEFAULT_ACCOUNT, name: str = "") -> AccessKey:
    """A new key of an account, durably in the file; raises KeyRefused and DamagedKeys."""
    if not re.fullmatch(ACCOUNT, account, re.ASCII):
        raise KeyRefused(f"{account!r} is no account: it needs 12 digits")
    identifier = "AKIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
    made = AccessKey(identifier, secrets.token_urlsafe(30), account, name)
    with _alone(path):
        _write(path, [*(load(path) if path.exists() else []), made])
    return made


def delete(path: pathlib.Path, access_key_id: str) -> AccessKey:
    """Remove a key: nothing signed with it is taken any more. Raises KeyRefused, FileNotFoundError and DamagedKeys."""
    with _alone(path):
        present = load(path)
        kept = [key for key in present if key.access_key_id != access_key_id]
        if len(kept) == len(present):
            raise KeyRefused(f"there is no access key {access_key_id}")
        if not kept:
            raise KeyRefused(f"{access_key_id} is the only access key: create another one first")
        _write(path, kept)
    return next(key for key in present if key.access_key_id == access_key_id)


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
    """Two that change the file at the same time would lose one of the changes."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: pathlib.Path, keys: list[AccessKey]) -> None:
    content = json.dumps([dataclasses.asdict(key) for key in keys], indent=1)
    files.write_durably(path, content.encode(), 0o600)
