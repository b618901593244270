"""What ``stilldb serve`` is told, and the files of a state directory that others than the volumes have."""

from __future__ import annotations

import datetime
import pathlib
import re
from dataclasses import dataclass

from stilldb.control.context import Quotas
from stilldb.domain.names import REGION

# Not us-east-1: for docdb there, version 1 of the AWS CLI goes to AWS itself, whatever AWS_ENDPOINT_URL says.
DEFAULT_REGION = "us-west-2"


PROVE_EVERY = datetime.timedelta(hours=24)


class CannotServe(Exception):
    """The service can't start; the message says why and what to do."""


class NotServed(Exception):
    """There is no service to talk to; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What ``stilldb serve`` is told; raises CannotServe for what makes no sense."""

    state_dir: pathlib.Path
    host: str = "127.0.0.1"
    port: int = 8010
    auth: str = "keys"  # or "any"
    pg_bin: pathlib.Path | None = None
    region: str = DEFAULT_REGION
    also_regions: tuple[str, ...] = ()
    archive: str | None = None  # an object store's URL; None: in the state directory
    kms: str = "local"  # or "aws"
    kms_default_key: str | None = None  # of AWS KMS: what is taken where no key is named
    manual_snapshot_quota: int = Quotas().manual_snapshots
    replay_limit_mb: int = 512  # of WAL, that a restore of any snapshot or moment may have to replay
    prove_every: datetime.timedelta | None = PROVE_EVERY  # None: no trial restores of its own accord

    def __post_init__(self) -> None:
        for region in self.regions:
            if not re.fullmatch(REGION, region, re.ASCII):
                raise CannotServe(
                    f"{region!r} is no region: its name has lower-case letters, digits and hyphens only"
                )
        if self.kms_default_key is not None and self.kms != "aws":
            raise CannotServe(
                "--kms-default-key is for --kms aws; the local key ring makes its own default key"
            )
        if len(set(self.regions)) < len(self.regions):
            raise CannotServe("a region is named twice by --region and --also-region")

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region served, the default one first."""
        return (self.region, *self.also_regions)


def resolved(state: pathlib.Path) -> pathlib.Path:
    """The real path: servers are recognised by the directory they stand in, as the kernel names it."""
    return state.expanduser().resolve()


def keys_file(state: pathlib.Path) -> pathlib.Path:
    """The access keys of a state directory."""
    return state / "access-keys.json"


def serving_file(state: pathlib.Path) -> pathlib.Path:
    """Where the running service tells its endpoint."""
    return state / "serving.json"
