"""KMS keys: they wrap the data keys of archives. The port, and a key ring in local files; AWS KMS is in awskms.py.

A wrapped data key opens with its KMS key and its encryption context only. Without the KMS key whatever is encrypted
under it is lost, which is the purpose.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.volumes import VolumeError
from stilldb.util import files
from stilldb.volume.container import DataKey
from stilldb.volume.objects.store import Unavailable

DEFAULT_ALIAS = "alias/aws/rds"
_KIND, _VERSION = "kms key", 1
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]{1,250}")
_ARN = re.compile(r"arn:aws:kms:([a-z0-9-]+):(\d{12}):(key|alias)/(.+)")
_T = TypeVar("_T")


class KmsUnavailable(Unavailable):
    """The key service did not answer, or can't now."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KmsKey:
    """What is told of a KMS key."""

    arn: str
    enabled: bool
    default: bool  # the one that is taken where no key is named; what is under it can't be shared
    aliases: tuple[str, ...] = ()  # of a local key


class Kms(Protocol):
    """A service of KMS keys, for one account and region. ``key_id`` is a key's id, ARN, alias or alias ARN.

    Each call raises KMSKeyNotAccessibleFault for a key that is absent or, except ``describe``, closed; KmsUnavailable
    when the service can't tell now.
    """

    async def describe(self, key_id: str) -> KmsKey:
        """The key; the default one is made when it is first asked for."""

    async def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> tuple[DataKey, bytes]:
        """A new data key, and itself wrapped."""

    async def wrap(self, data_key: DataKey, key_id: str, context: Mapping[str, str]) -> bytes:
        """The data key wrapped by a KMS key; it opens only with the same encryption context."""

    async def unwrap(self, wrapped: bytes, key_id: str, context: Mapping[str, str]) -> DataKey:
        """The data key that was wrapped; raises VolumeError when it is not one of this KMS key and context."""


def data_key(secret: bytes) -> DataKey:
    """A data key by its 32 bytes. Its id follows from them, so that it is the same however it is wrapped."""
    return DataKey(hashlib.sha256(b"stilldb data key\0" + secret).hexdigest()[:32], secret)


def not_accessible(key_id: str, reason: str) -> KMSKeyNotAccessibleFault:
    """The fault for a key, in AWS's words and with the reason."""
    return KMSKeyNotAccessibleFault(
        f"Specified KMS key [{key_id}] does not exist, is not enabled or you do not have permissions to access it: {reason}"
    )


def not_opened(key_id: str) -> VolumeError:
    """The error for a wrapped data key that the KMS key does not open."""
    return VolumeError(
        f"a wrapped data key is damaged, or belongs to another KMS key than {key_id} or to something else"
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """A key as its file has it."""

    arn: str
    created_at: str
    enabled: bool
    aliases: tuple[str, ...]
    material: str = dataclasses.field(repr=False)  # base64, 32 bytes

    @property
    def key(self) -> KmsKey:
        return KmsKey(
            arn=self.arn, enabled=self.enabled, default=DEFAULT_ALIAS in self.aliases, aliases=self.aliases
        )


class LocalKeyring:
    """A Kms of one account and region in files: ``<directory>/<account>/<region>/<uuid>.json``, 0600.

    Whoever can read the directory can read everything that is encrypted: it belongs on another disk, and in another
    backup, than the archive. There are no key policies: any account of this deployment may ``unwrap`` by the full ARN of a
    key, since the control plane decides who may restore what; all else is for an account's own keys.
    """

    def __init__(self, directory: pathlib.Path, account: str, region: str) -> None:
        self._root = directory
        self._account = account
        self._region = region
        self._own = directory / account / region

    async def describe(self, key_id: str) -> KmsKey:
        """See Kms."""
        return await self._run(lambda: self._find(key_id).key)

    async def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> tuple[DataKey, bytes]:
        """See Kms."""
        made = data_key(os.urandom(32))
        return made, await self.wrap(made, key_id, context)

    async def wrap(self, data_key: DataKey, key_id: str, context: Mapping[str, str]) -> bytes:
        """See Kms. The result is a version byte, 1; a nonce of 12; ciphertext and tag of AES-256-GCM, 48."""
        record = await self._run(lambda: _open(self._find(key_id)))
        nonce = os.urandom(12)
        sealed = _cipher(record).encrypt(nonce, data_key.secret, _associated(record, context))
        return b"\x01" + nonce + sealed

    async def unwrap(self, wrapped: bytes, key_id: str, context: Mapping[str, str]) -> DataKey:
        """See Kms."""
        record = await self._run(lambda: _open(self._find(key_id, anyones=True)))
        if len(wrapped) != 61 or wrapped[0] != 1:
            raise not_opened(record.arn)
        try:
            secret = _cipher(record).decrypt(wrapped[1:13], wrapped[13:], _associated(record, context))
        except InvalidTag:
            raise not_opened(record.arn) from None
        return data_key(secret)

    async def list(self) -> tuple[KmsKey, ...]:
        """The account's keys in this region, the oldest first."""
        records = await self._run(self._records)
        return tuple(record.key for record in records)

    async def create(self, alias: str | None = None) -> KmsKey:
        """A new key, enabled; raises VolumeError for an alias that is taken or none at all."""
        if alias is not None and (not _ALIAS.fullmatch(alias) or alias.startswith("alias/aws/")):
            raise VolumeError(f"{alias!r} can't be an alias: give alias/NAME, not alias/aws/NAME")
        return await self._run(lambda: self._create(alias).key)

    async def enable(self, key_id: str) -> KmsKey:
        """Open the key again."""
        return await self._run(lambda: self._switch(key_id, enabled=True))

    async def disable(self, key_id: str) -> KmsKey:
        """Close the key: nothing under it can be opened until it is enabled. Refused for the default key."""
        return await self._run(lambda: self._switch(key_id, enabled=False))

    async def delete(self, key_id: str, *, confirmed_arn: str) -> None:
        """Remove the key for ever, and with it whatever is encrypted under it; ``confirmed_arn`` must be its ARN."""
        await self._run(lambda: self._delete(key_id, confirmed_arn))

    async def _run(self, work: Callable[[], _T]) -> _T:
        def locked() -> _T:
            with self._lock():
                return work()

        try:
            return await asyncio.to_thread(locked)
        except OSError as error:
            raise KmsUnavailable(f"the key ring {self._root} can't be used: {error}") from error

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One at a time, among processes too: the default key must not be made twice."""
        for folder in (self._root, self._own.parent, self._own):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                files.flush_directory(folder.parent)
        descriptor = os.open(self._own / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _find(self, key_id: str, *, anyones: bool = False) -> _Record:
        """The key of an id, ARN, alias or alias ARN; raises KMSKeyNotAccessibleFault."""
        place, name = self._own, key_id
        if (arn := _ARN.fullmatch(key_id)) is not None:
            region, account, kind, rest = arn.groups()
            if (account, region) != (self._account, self._region) and not anyones:
                raise not_accessible(
                    key_id, "it belongs to another account or region. Give a key of your own"
                )
            place, name = self._root / account / region, rest if kind == "key" else f"alias/{rest}"
        if name.startswith("alias/"):
            return self._aliased(name, place)
        try:
            return _load(place / f"{uuid.UUID(name)}.json")
        except (FileNotFoundError, ValueError):
            raise not_accessible(
                key_id,
                "there is no such key. See `list` for those there are, or leave it out for the default",
            ) from None

    def _aliased(self, alias: str, place: pathlib.Path) -> _Record:
        for record in self._records(place):
            if alias in record.aliases:
                return record
        if alias == DEFAULT_ALIAS and place == self._own:
            return self._create(alias)
        raise not_accessible(
            alias, "no key has this alias. Create one with it, or leave it out for the default key"
        )

    def _records(self, place: pathlib.Path | None = None) -> Sequence[_Record]:
        found = [_load(path) for path in (place or self._own).glob("*-*-*-*-*.json")]
        return sorted(found, key=lambda record: (record.created_at, record.arn))

    def _create(self, alias: str | None) -> _Record:
        if alias is not None and any(alias in record.aliases for record in self._records()):
            raise VolumeError(
                f"the alias {alias} is taken by another key of {self._account} in {self._region}"
            )
        record = _Record(
            arn=f"arn:aws:kms:{self._region}:{self._account}:key/{uuid.uuid4()}",
            created_at=datetime.datetime.now(datetime.UTC).isoformat(),
            enabled=True,
            aliases=() if alias is None else (alias,),
            material=base64.b64encode(os.urandom(32)).decode(),
        )
        self._save(record)
        return record

    def _switch(self, key_id: str, *, enabled: bool) -> KmsKey:
        record = dataclasses.replace(self._changeable(key_id), enabled=enabled)
        self._save(record)
        return record.key

    def _delete(self, key_id: str, confirmed_arn: str) -> None:
        record = self._changeable(key_id)
        if confirmed_arn != record.arn:
            raise VolumeError(
                f"the key {record.arn} is not deleted: everything that is encrypted under it would be lost for ever. "
                "Confirm it with the key's full ARN"
            )
        self._path(record).unlink()
        files.flush_directory(self._own)

    def _changeable(self, key_id: str) -> _Record:
        record = self._find(key_id)
        if record.key.default:
            raise VolumeError(
                f"the key {record.arn} is the default one, which can be neither closed nor deleted"
            )
        return record

    def _save(self, record: _Record) -> None:
        body = {"kind": _KIND, "version": _VERSION, **dataclasses.asdict(record)}
        files.write_durably(self._path(record), (json.dumps(body, indent=1) + "\n").encode(), 0o600)

    def _path(self, record: _Record) -> pathlib.Path:
        return self._own / f"{record.arn.rpartition('/')[2]}.json"


def _load(path: pathlib.Path) -> _Record:
    try:
        body = json.loads(path.read_bytes())
        if (body.pop("kind"), body.pop("version")) != (_KIND, _VERSION):
            raise ValueError("of another kind or a newer version")
        record = _Record(**{**body, "aliases": tuple(body["aliases"])})
        if (
            len(base64.b64decode(record.material, validate=True)) != 32
            or path.stem != record.arn.rpartition("/")[2]
        ):
            raise ValueError("not what its name says")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise VolumeError(
            f"the key's file {path} is damaged ({type(error).__name__}); bring it back from a backup"
        ) from None
    return record


def _open(record: _Record) -> _Record:
    if not record.enabled:
        raise not_accessible(record.arn, "it is disabled. Enable it, and try again")
    return record


def _cipher(record: _Record) -> AESGCM:
    return AESGCM(base64.b64decode(record.material))


def _associated(record: _Record, context: Mapping[str, str]) -> bytes:
    return json.dumps([record.arn, sorted(context.items())], separators=(",", ":")).encode()
