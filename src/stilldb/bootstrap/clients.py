"""What clients on this machine learn from a state directory: where it is served, and with which key to sign."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import shlex
from dataclasses import dataclass, field

from stilldb.awsapi import keys as keyfile
from stilldb.awsapi.keys import AccessKey
from stilldb.bootstrap.options import NotServed, keys_file, resolved, serving_file

_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the service answers, and as whom to ask."""

    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The variables that say so to AWS clients."""
        values = (self.endpoint, self.region, self.access_key_id, self.secret_access_key)
        return dict(zip(_VARIABLES, values, strict=True))


def default_state() -> pathlib.Path:
    """The state directory unless another is chosen. Root's home is closed to the user that servers then run as."""
    return pathlib.Path("/var/lib/stilldb") if os.geteuid() == 0 else pathlib.Path("~/.stilldb").expanduser()


def connection(state_dir: pathlib.Path, account: str | None = None, region: str | None = None) -> Connection:
    """The service of a state directory, for an account that has a key and a region served; raises NotServed."""
    state = resolved(state_dir)
    try:
        if not _is_served(state):
            raise FileNotFoundError(serving_file(state))
        serving = json.loads(serving_file(state).read_text())
        found = keyfile.load(keys_file(state))
    except FileNotFoundError:
        start = f"stilldb serve --state-dir {shlex.quote(str(state))}"
        raise NotServed(f"nothing serves {state}. Start it: {start}") from None
    except (keyfile.DamagedKeys, PermissionError, json.JSONDecodeError) as error:
        raise NotServed(str(error)) from error
    if region is not None and region not in serving["regions"]:
        raise NotServed(
            f"the region {region} is not served, only {', '.join(serving['regions'])}. "
            f"Start the service with --also-region {region}."
        )
    key = next((key for key in found if account in (None, key.account)), None)
    if key is None:
        raise NotServed(
            f"the account {account} has no access key. Make one: stilldb keys create --account {account}"
        )
    return Connection(
        endpoint=serving["endpoint"],
        region=region or serving["region"],
        access_key_id=key.access_key_id,
        secret_access_key=key.secret_access_key,
    )


def reach(state_dir: pathlib.Path, account: str | None = None, region: str | None = None) -> Connection:
    """The service of a state directory, or, when none is served there, the one that the AWS_ variables point at.

    Raises NotServed.
    """
    try:
        return connection(state_dir, account, region)
    except NotServed:
        found = {name: os.environ.get(name, "") for name in _VARIABLES}
        endpoint, default_region, access_key_id, secret_access_key = found.values()
        if (
            not all((endpoint, region or default_region, access_key_id, secret_access_key))
            or account is not None
        ):
            raise
        return Connection(
            endpoint=endpoint.rstrip("/"),
            region=region or default_region,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
        )


def _is_served(state: pathlib.Path) -> bool:
    """Whether a service holds the lock; what it told of its endpoint may be left by one that was killed."""
    with (state / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def keys(state_dir: pathlib.Path) -> list[AccessKey]:
    """The access keys of a state directory, served or not; raises KeyRefused."""
    try:
        return keyfile.load(keys_file(_existing(state_dir)))
    except FileNotFoundError:
        return []
    except (OSError, keyfile.DamagedKeys) as error:
        raise keyfile.KeyRefused(str(error)) from error


def create_key(state_dir: pathlib.Path, account: str, name: str) -> AccessKey:
    """A new key, which a running service takes at once; raises KeyRefused."""
    try:
        return keyfile.create(keys_file(_existing(state_dir)), account, name)
    except (OSError, keyfile.DamagedKeys) as error:
        raise keyfile.KeyRefused(str(error)) from error


def delete_key(state_dir: pathlib.Path, access_key_id: str) -> AccessKey:
    """Remove a key, which a running service refuses from then on; raises KeyRefused."""
    try:
        return keyfile.delete(keys_file(_existing(state_dir)), access_key_id)
    except FileNotFoundError:
        raise keyfile.KeyRefused(f"there is no access key {access_key_id}") from None
    except (OSError, keyfile.DamagedKeys) as error:
        raise keyfile.KeyRefused(str(error)) from error


def _existing(state_dir: pathlib.Path) -> pathlib.Path:
    state = resolved(state_dir)
    if not state.is_dir():
        raise keyfile.KeyRefused(f"there is no state directory {state}. The first stilldb serve makes it.")
    return state
