"""Objects in a service that obstore can reach, Amazon S3 and what is compatible with it first of all.

Requests have timeouts and a few repetitions of their own; a longer outage is for the caller to sit out (``retried``).
That an object is missing is believed only when the service says so of the object: a bucket that is gone, a proxy's 404
or a HEAD, whose answer has no words, don't count.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import botocore.session
import obstore
from botocore.exceptions import BotoCoreError
from obstore.exceptions import BaseError
from obstore.store import S3Store

from stilldb.volume.objects.store import (
    ObjectEntry,
    ObjectMissing,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    check_key,
    check_prefix,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential
    from obstore.store import ObjectStore as ObstoreStore

_MISSING = {"NoSuchKey", "BlobNotFound"}
_REFUSED = {"NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_CREDENTIALS_KEPT = datetime.timedelta(minutes=5)
_LISTED = 1_000  # objects of one answer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """Where a bucket is, and how long to wait for it. Without an access key, the AWS chain of credentials is asked."""

    bucket: str
    region: str
    prefix: str = ""
    endpoint: str | None = None  # URL, without the bucket; None for Amazon's own
    allow_http: bool = False
    virtual_hosted: bool = False  # the bucket is a part of the endpoint's host name
    bulk_delete: bool = True  # some services can't
    access_key_id: str | None = None
    secret_access_key: str | None = dataclasses.field(default=None, repr=False)
    session_token: str | None = dataclasses.field(default=None, repr=False)
    connect_timeout: float = 5.0  # seconds
    timeout: float = 30.0  # seconds, of one request with its body
    retries: int = 3  # of one request, for server errors and lost connections
    retry_timeout: float = 30.0  # seconds after which a request is not repeated


def s3(settings: S3Settings) -> RemoteStore:
    """The store in a bucket's prefix. Nothing is asked of the service yet."""
    config: S3Config = {
        "region": settings.region,
        "virtual_hosted_style_request": settings.virtual_hosted,
        "disable_bulk_delete": not settings.bulk_delete,
    }
    if settings.endpoint is not None:
        config["endpoint"] = settings.endpoint
    if settings.access_key_id is not None and settings.secret_access_key is not None:
        config["access_key_id"] = settings.access_key_id
        config["secret_access_key"] = settings.secret_access_key
    if settings.session_token is not None:
        config["session_token"] = settings.session_token
    client: ClientConfig = {
        "allow_http": settings.allow_http,
        "connect_timeout": datetime.timedelta(seconds=settings.connect_timeout),
        "timeout": datetime.timedelta(seconds=settings.timeout),
        "user_agent": "stilldb",
    }
    retry: RetryConfig = {
        "max_retries": settings.retries,
        "retry_timeout": datetime.timedelta(seconds=settings.retry_timeout),
    }
    store = S3Store(
        settings.bucket,
        prefix=settings.prefix or None,
        config=config,
        client_options=client,
        retry_config=retry,
        credential_provider=_chain() if settings.access_key_id is None else None,
    )
    return RemoteStore(store, f"s3://{settings.bucket}/{settings.prefix}")


def _chain() -> Callable[[], S3Credential]:
    """Credentials by botocore's chain: environment, profiles, single sign-on, container, instance."""
    session = botocore.session.get_session()

    def provide() -> S3Credential:
        try:
            found = session.get_credentials()
            frozen = found.get_frozen_credentials() if found is not None else None
        except BotoCoreError as error:
            raise ValueError(f"no AWS credentials: {error}") from error
        if frozen is None or frozen.access_key is None or frozen.secret_key is None:
            raise ValueError("no AWS credentials were found in the environment, the profiles or the instance")
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.datetime.now(datetime.UTC) + _CREDENTIALS_KEPT,
        }

    return provide


class RemoteStore:
    """An ObjectStore over one of obstore's; ``name`` stands in messages."""

    def __init__(self, store: ObstoreStore, name: str) -> None:
        self._store = store
        self._name = name

    def __repr__(self) -> str:
        return f"RemoteStore({self._name!r})"

    async def put(self, key: str, data: bytes) -> None:
        """See ObjectStore. One request: nothing is left in the bucket by one that is broken off."""
        check_key(key)
        try:
            with self._explained("store", key):
                await obstore.put_async(self._store, key, data, use_multipart=False)
        except ObjectMissing as error:
            raise StoreUnavailable(str(error)) from error

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        check_key(key)
        with self._explained("read", key):
            answer = await obstore.get_async(self._store, key)
            return bytes(await answer.bytes_async())

    async def size(self, key: str) -> int | None:
        """See ObjectStore. A HEAD that is refused is repeated as a GET, whose answer has words for the reason."""
        check_key(key)
        try:
            with self._explained("look at", key):
                try:
                    return (await obstore.head_async(self._store, key))["size"]
                except (FileNotFoundError, BaseError) as error:
                    if not any(status.startswith("4") for status in _STATUS.findall(str(error))):
                        raise
                    return (await obstore.get_async(self._store, key)).meta["size"]
        except ObjectMissing:
            return None

    async def list(self, prefix: str) -> AsyncIterator[ObjectEntry]:
        """See ObjectStore."""
        check_prefix(prefix)
        with self._explained("list", prefix or "its objects"):
            async for chunk in obstore.list(self._store, prefix or None, chunk_size=_LISTED):
                for found in chunk:
                    modified = found["last_modified"].astimezone(datetime.UTC)
                    yield ObjectEntry(found["path"], found["size"], modified)

    async def delete(self, keys: Iterable[str]) -> None:
        """See ObjectStore."""
        doomed = [check_key(key) for key in keys]
        if not doomed:
            return
        try:
            with self._explained("delete", f"{len(doomed)} objects, the first {doomed[0]}"):
                await obstore.delete_async(self._store, doomed)
        except ObjectMissing:  # some services refuse what is not there, and may have stopped at it
            for key in doomed:
                with contextlib.suppress(ObjectMissing), self._explained("delete", key):
                    await obstore.delete_async(self._store, key)

    async def free_space(self) -> int | None:
        """See ObjectStore: a bucket has no limit to know."""
        return None

    @contextlib.contextmanager
    def _explained(self, action: str, what: str) -> Iterator[None]:
        """Errors of obstore as the store's."""
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise _translated(error, f"{self._name} did not {action} {what}") from error


def _translated(error: Exception, message: str) -> ObjectMissing | StoreUnavailable:
    text = str(error).partition("\n\nDebug source")[0].strip()
    codes = set(_CODE.findall(text))
    statuses = set(_STATUS.findall(text))
    if isinstance(error, FileNotFoundError) and (codes & _MISSING or not statuses):
        return ObjectMissing(f"{message}: there is no such object")
    reason = f"{message}: {', '.join(sorted(codes))} {text.partition('<?xml')[0].strip()}".replace(
        ":  ", ": "
    )
    if "507" in statuses or any("StorageFull" in code or "QuotaExceeded" in code for code in codes):
        return StoreFull(f"{reason}. Make room in the store")
    if codes & _REFUSED or statuses & {"401", "403"} or "no AWS credentials" in text:
        return StoreRefused(f"{reason}. Check the bucket, the credentials and what they may do")
    return StoreUnavailable(reason)
