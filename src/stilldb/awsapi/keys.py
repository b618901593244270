"""The access keys of the deployment, in one file of the state directory that only its owner can read."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import secrets
import string

from stilldb.util import files

_ALPHABET = string.ascii_uppercase + "234567"


class DamagedKeys(Exception):
    """The file of access keys can't be read; the message says what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class AccessKey:
    """A long-lived key pair of the account."""

    access_key_id: str
    secret_access_key: str


def load_or_create(path: pathlib.Path) -> dict[str, str]:
    """Access key id to secret; the first use makes one pair. Raises DamagedKeys."""
    if not path.exists():
        identifier = "AKIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
        pair = AccessKey(identifier, secrets.token_urlsafe(30))
        files.write_durably(path, json.dumps([dataclasses.asdict(pair)], indent=1).encode(), 0o600)
    return {key.access_key_id: key.secret_access_key for key in load(path)}


def load(path: pathlib.Path) -> list[AccessKey]:
    """Every key pair; raises FileNotFoundError and DamagedKeys."""
    try:
        pairs = [AccessKey(**entry) for entry in json.loads(path.read_text())]
        if not pairs:
            raise ValueError("it holds no key pair")
    except (ValueError, TypeError) as error:
        raise DamagedKeys(
            f"{path} is damaged: {error}. Move it away, and the next start makes new keys."
        ) from error
    return pairs
