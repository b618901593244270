"""Settings that name a store, and those that don't."""

from __future__ import annotations

import pathlib
from urllib.parse import urlsplit

import pytest

from stilldb.volume.objects.configure import InvalidStoreSetting, open_store, probe, s3_settings
from stilldb.volume.objects.faulty import FaultyStore, Wrong, trouble
from stilldb.volume.objects.local import LocalStore
from stilldb.volume.objects.memory import MemoryStore
from stilldb.volume.objects.remote import RemoteStore, S3Settings
from stilldb.volume.objects.store import StoreRefused, StoreUnavailable


@pytest.fixture(autouse=True)
def without_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


async def test_a_directory(tmp_path: pathlib.Path) -> None:
    store = open_store(f"file://{tmp_path}/an%20archive")
    assert isinstance(store, LocalStore)
    await probe(store)
    assert (tmp_path / "an archive").is_dir()
    assert [entry async for entry in store.list("")] == []


async def test_memory() -> None:
    store = open_store("memory://")
    assert isinstance(store, MemoryStore)
    await probe(store)


def test_a_bucket() -> None:
    assert isinstance(open_store("s3://bucket?region=eu-west-1"), RemoteStore)
    url = "s3://my-bucket/some/prefix/?endpoint=http://127.0.0.1:9000&allow_http=true&virtual_hosted=true&bulk_delete=false"
    assert s3_settings(urlsplit(url)) == S3Settings(
        bucket="my-bucket",
        prefix="some/prefix",
        region="us-east-1",
        endpoint="http://127.0.0.1:9000",
        allow_http=True,
        virtual_hosted=True,
        bulk_delete=False,
    )


def test_the_region_may_be_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    assert s3_settings(urlsplit("s3://bucket")).region == "ap-south-1"
    assert s3_settings(urlsplit("s3://bucket?region=eu-west-1")).region == "eu-west-1"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("", "give file:///"),
        ("/var/lib/archive", "give file:///"),
        ("ftp://host/x", "give file:///"),
        ("file://archive", "directory of this host"),
        ("file://host/archive", "directory of this host"),
        ("file:///a/../b", "directory of this host"),
        ("file:archive", "directory of this host"),
        ("file:///archive?region=x", "only s3://"),
        ("memory://x", "give file:///"),
        ("s3://", "no name of a bucket"),
        ("s3:///prefix", "no name of a bucket"),
        ("s3://b!/prefix", "no name of a bucket"),
        ("s3://bucket/a//b?region=x", "the prefix"),
        ("s3://bucket/a/../b?region=x", "the prefix"),
        ("s3://bucket", "no region"),
        ("s3://bucket?region=", "empty or there twice"),
        ("s3://bucket?region=a&region=b", "empty or there twice"),
        ("s3://bucket?regoin=a", "no option 'regoin'"),
        ("s3://bucket?region", "can't be read"),
        ("s3://bucket?region=a&allow_http=yes", "true or false"),
        ("s3://bucket?endpoint=http://minio:9000", "allow_http=true"),
        ("s3://bucket?endpoint=minio:9000", "no http:// or https:// URL"),
        ("s3://[bucket", "no object store"),
    ],
)
def test_what_names_no_store(setting: str, says: str) -> None:
    with pytest.raises(InvalidStoreSetting, match=says):
        open_store(setting)


def test_credentials_in_a_setting_are_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidStoreSetting, match="must not carry credentials") as refused:
        open_store("s3://AKID:hunter2@bucket/prefix?region=x")
    assert "hunter2" not in str(refused.value)
    settings = S3Settings(bucket="bucket", region="x", access_key_id="A", secret_access_key="hunter2")
    assert "hunter2" not in repr(settings)


def test_a_directory_that_can_not_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="could not open"):
        open_store(f"file://{tmp_path}/file/archive")


async def test_a_probe_finds_a_store_that_lies() -> None:
    with pytest.raises(StoreUnavailable, match="does not give back"):
        await probe(FaultyStore(MemoryStore(), trouble(Wrong.FLIPPED)))


async def test_without_credentials_the_store_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = open_store("s3://bucket/prefix?endpoint=http://127.0.0.1:1&allow_http=true")
    with pytest.raises(StoreRefused, match="no AWS credentials"):
        await store.get("a")
