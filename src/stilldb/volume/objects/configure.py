"""From a setting such as ``file:///var/lib/archive`` or ``s3://bucket/prefix?region=eu-central-1`` to an object store."""

from __future__ import annotations

import pathlib
import re
import uuid
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import botocore.session

from stilldb.domain.volumes import VolumeError
from stilldb.volume.objects.local import LocalStore
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.objects.remote import S3Settings, s3
from stilldb.volume.objects.store import InvalidObjectKey, ObjectStore, StoreUnavailable, check_key

FORMS = "file:///DIRECTORY, s3://BUCKET/PREFIX?region=REGION or memory://"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_S3_OPTIONS = ("endpoint", "region", "allow_http", "virtual_hosted", "bulk_delete")


class InvalidStoreSetting(VolumeError):
    """A setting that names no object store."""


def open_store(setting: str) -> ObjectStore:
    """The store that a setting names. A local one is made if it is absent; of a remote one nothing is asked yet.

    ``s3://`` takes the options endpoint, region, allow_http, virtual_hosted and bulk_delete; credentials come from the
    AWS chain, never from the setting. Raises InvalidStoreSetting, and StoreUnavailable for a directory that can't be made.
    """
    try:
        url = urlsplit(setting)
    except ValueError as error:
        raise InvalidStoreSetting(f"{setting!r} is no object store: {error}. Give {FORMS}") from error
    if url.scheme == "s3":
        return s3(s3_settings(url))
    if url.query or url.fragment:
        raise InvalidStoreSetting(f"{setting!r} is no object store: only s3:// takes options")
    if url.scheme == "file":
        path = pathlib.Path(unquote(url.path))
        if url.netloc not in {"", "localhost"} or not path.is_absolute() or ".." in path.parts:
            raise InvalidStoreSetting(f"{setting!r} is no directory of this host: give file:///DIRECTORY")
        return LocalStore(path)
    if setting == "memory://":
        return MemoryStore()
    raise InvalidStoreSetting(f"{setting!r} is no object store: give {FORMS}")


def s3_settings(url: SplitResult) -> S3Settings:
    """The settings in an ``s3://`` URL; raises InvalidStoreSetting."""
    shown = f"s3://{url.netloc.rpartition('@')[2]}{url.path}"  # never a password
    if "@" in url.netloc:
        raise InvalidStoreSetting(
            f"{shown} must not carry credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile"
        )
    if not _BUCKET.fullmatch(url.netloc):
        raise InvalidStoreSetting(f"{url.netloc!r} is no name of a bucket: give s3://BUCKET/PREFIX")
    options = _options(url.query, shown)
    endpoint = options.get("endpoint")
    allow_http = _flag(options, "allow_http", shown, default=False)
    if endpoint is not None:
        place = urlsplit(endpoint)
        if place.scheme not in {"http", "https"} or not place.hostname or place.username:
            raise InvalidStoreSetting(
                f"the endpoint of {shown} is no http:// or https:// URL: {place.hostname}"
            )
        if place.scheme == "http" and not allow_http:
            raise InvalidStoreSetting(
                f"the endpoint of {shown} is not encrypted: add allow_http=true if you mean it"
            )
    return S3Settings(
        bucket=url.netloc,
        prefix=_prefix(url.path, shown),
        endpoint=endpoint,
        region=_region(options, shown),
        allow_http=allow_http,
        virtual_hosted=_flag(options, "virtual_hosted", shown, default=False),
        bulk_delete=_flag(options, "bulk_delete", shown, default=True),
    )


async def probe(store: ObjectStore) -> None:
    """Store, read and delete a small object, so that a wrong setting shows at the start; raises VolumeError."""
    key, data = f"probe/{uuid.uuid4()}", b"stilldb"
    await store.put(key, data)
    if await store.get(key) != data:
        raise StoreUnavailable(f"{store!r} does not give back what was stored under {key}")
    await store.delete([key])


def _options(query: str, shown: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, strict_parsing=True, keep_blank_values=True) if query else []
    except ValueError as error:
        raise InvalidStoreSetting(f"the options of {shown} can't be read: {error}") from error
    options = dict(pairs)
    unknown = sorted(set(options) - set(_S3_OPTIONS))
    if unknown:
        raise InvalidStoreSetting(f"{shown} has no option {unknown[0]!r}: there are {', '.join(_S3_OPTIONS)}")
    if len(pairs) != len(options) or not all(options.values()):
        raise InvalidStoreSetting(f"an option of {shown} is empty or there twice")
    return options


def _flag(options: dict[str, str], name: str, shown: str, *, default: bool) -> bool:
    value = options.get(name, "true" if default else "false")
    if value not in {"true", "false"}:
        raise InvalidStoreSetting(f"the option {name} of {shown} is true or false, not {value!r}")
    return value == "true"


def _prefix(path: str, shown: str) -> str:
    prefix = unquote(path).strip("/")
    try:
        return check_key(prefix) if prefix else ""
    except InvalidObjectKey as error:
        raise InvalidStoreSetting(f"the prefix of {shown}: {error}") from error


def _region(options: dict[str, str], shown: str) -> str:
    region = options.get("region") or botocore.session.get_session().get_config_variable("region")
    if region is None and "endpoint" in options:
        return "us-east-1"  # what compatible services take that have no regions
    if region is None:
        raise InvalidStoreSetting(f"{shown} has no region: add ?region=REGION, or set AWS_DEFAULT_REGION")
    return str(region)
