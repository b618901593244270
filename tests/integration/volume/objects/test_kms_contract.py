"""What every key service does: the local key ring and, against moto's server, AWS KMS; and what is AWS's own."""

from __future__ import annotations

import base64
import dataclasses
import logging
import pathlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import stilldb.control.ports
from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.volumes import VolumeError
from stilldb.volume.awskms import AwsKms
from stilldb.volume.keyring import DEFAULT_ALIAS, Kms, KmsUnavailable, LocalKeyring
from stilldb.volume.kmsnames import KmsNames
from support.s3 import ACCESS_KEY, REGION, SECRET_KEY, client

ACCOUNT = "123456789012"
CONTEXT = {"aws:rds:dbc-id": "cluster-A", "archive": "cluster-A/1"}


@dataclasses.dataclass(frozen=True)
class Service:
    """A key service with a default key, and what its owner can do with keys."""

    kms: Kms
    create: Callable[[], Awaitable[str]]  # ARN
    disable: Callable[[str], Awaitable[Any]]
    enable: Callable[[str], Awaitable[Any]]


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.fixture
def local(tmp_path: pathlib.Path) -> Service:
    ring = LocalKeyring(tmp_path / "keys", ACCOUNT, REGION)

    async def create() -> str:
        return (await ring.create()).arn

    return Service(ring, create, ring.disable, ring.enable)


@pytest.fixture
def aws(endpoint: str, credentials: None) -> Service:
    owner = client("kms", endpoint)

    async def create() -> str:
        return str(owner.create_key()["KeyMetadata"]["Arn"])

    async def disable(arn: str) -> None:
        owner.disable_key(KeyId=arn.rpartition("/")[2])  # moto breaks on an ARN

    async def enable(arn: str) -> None:
        owner.enable_key(KeyId=arn.rpartition("/")[2])

    alias = f"alias/{uuid.uuid4()}"
    owner.create_alias(AliasName=alias, TargetKeyId=owner.create_key()["KeyMetadata"]["Arn"])
    return Service(AwsKms(REGION, default_key=alias, endpoint=endpoint), create, disable, enable)


@pytest.fixture(params=["local", "aws"])
def service(request: pytest.FixtureRequest) -> Service:
    found: Service = request.getfixturevalue(request.param)
    return found


async def test_a_data_key_comes_back_whatever_it_is_wrapped_by(service: Service) -> None:
    one, other = await service.create(), await service.create()
    made, wrapped = await service.kms.generate_data_key(one, CONTEXT)
    assert made.secret not in wrapped
    assert await service.kms.unwrap(wrapped, one, dict(reversed(CONTEXT.items()))) == made
    again = await service.kms.wrap(made, other, {"copy": "1"})
    assert again != wrapped
    assert await service.kms.unwrap(again, other, {"copy": "1"}) == made
    another, _ = await service.kms.generate_data_key(one, CONTEXT)
    assert another.id != made.id
    assert another.secret != made.secret


async def test_a_wrapped_key_opens_with_its_key_and_context_only(service: Service) -> None:
    one, other = await service.create(), await service.create()
    _, wrapped = await service.kms.generate_data_key(one, CONTEXT)
    with pytest.raises((VolumeError, KMSKeyNotAccessibleFault)):  # moto's AccessDenied is AWS's IncorrectKey
        await service.kms.unwrap(wrapped, other, CONTEXT)
    wrong: list[tuple[bytes, str, dict[str, str]]] = [
        (wrapped, one, {}),
        (wrapped, one, {**CONTEXT, "archive": "cluster-A/2"}),
        (wrapped[:-1], one, CONTEXT),
        (wrapped[:-1] + bytes([wrapped[-1] ^ 1]), one, CONTEXT),
        (b"", one, CONTEXT),
    ]
    for blob, key, context in wrong:
        with pytest.raises(VolumeError, match="damaged, or belongs to another"):
            await service.kms.unwrap(blob, key, context)


async def test_a_key_is_found_by_its_id_and_its_arn(service: Service) -> None:
    arn = await service.create()
    by_arn = await service.kms.describe(arn)
    assert (by_arn.arn, by_arn.enabled, by_arn.default) == (arn, True, False)
    assert await service.kms.describe(arn.rpartition("/")[2]) == by_arn


async def test_the_default_key(service: Service) -> None:
    default = await service.kms.describe(DEFAULT_ALIAS)
    assert (default.enabled, default.default) == (True, True)
    assert default.arn.startswith(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/")
    assert await service.kms.describe(DEFAULT_ALIAS) == default
    assert await service.kms.describe(default.arn) == default
    made, wrapped = await service.kms.generate_data_key(DEFAULT_ALIAS, CONTEXT)
    assert await service.kms.unwrap(wrapped, default.arn, CONTEXT) == made


async def test_a_disabled_key_says_so(service: Service) -> None:
    arn = await service.create()
    await service.disable(arn)
    assert (await service.kms.describe(arn)).enabled is False
    await service.enable(arn)
    assert (await service.kms.describe(arn)).enabled is True


async def test_a_disabled_key_opens_nothing_until_it_is_enabled(local: Service) -> None:
    """Of AWS KMS see tests/unit/volume/test_awskms.py: moto goes on with a disabled key."""
    arn = await local.create()
    made, wrapped = await local.kms.generate_data_key(arn, CONTEXT)
    await local.disable(arn)
    for call in (
        local.kms.generate_data_key(arn, CONTEXT),
        local.kms.wrap(made, arn, CONTEXT),
        local.kms.unwrap(wrapped, arn, CONTEXT),
    ):
        with pytest.raises(KMSKeyNotAccessibleFault, match=f"Specified KMS key .{arn}. .*is disabled"):
            await call
    await local.enable(arn)
    assert await local.kms.unwrap(wrapped, arn, CONTEXT) == made


async def test_names_lead_to_an_open_key(service: Service) -> None:
    names: stilldb.control.ports.Kms = KmsNames(service.kms)
    arn, default = await service.create(), await names.resolve(None)
    assert await names.resolve(arn.rpartition("/")[2]) == await names.resolve(arn) == arn
    assert await names.resolve(DEFAULT_ALIAS) == default != arn
    assert (await names.is_default(default), await names.is_default(arn)) == (True, False)
    await service.disable(arn)
    assert await names.is_default(arn) is False
    with pytest.raises(KMSKeyNotAccessibleFault, match=f"Specified KMS key .{arn}. .*is disabled"):
        await names.resolve(arn)
    for wrong in ("", "no-key"):
        with pytest.raises(KMSKeyNotAccessibleFault, match="Specified KMS key"):
            await names.resolve(wrong)


@pytest.mark.parametrize(
    "key_id",
    [
        "",
        "no-key",
        str(uuid.UUID(int=1)),
        f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{uuid.UUID(int=1)}",
        f"arn:aws:kms:{REGION}:{ACCOUNT}:key/../../../etc/passwd",
        "alias/none",
        "alias/../x",
    ],
)
async def test_what_is_no_key(service: Service, key_id: str) -> None:
    for call in (
        service.kms.describe(key_id),
        service.kms.generate_data_key(key_id, CONTEXT),
        service.kms.unwrap(b"\x01" * 61, key_id, CONTEXT),
    ):
        with pytest.raises(KMSKeyNotAccessibleFault, match="Specified KMS key"):
            await call


async def test_data_keys_are_in_no_log(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    arn = await service.create()
    made, wrapped = await service.kms.generate_data_key(arn, CONTEXT)
    await service.kms.unwrap(wrapped, arn, CONTEXT)
    await service.kms.wrap(made, arn, CONTEXT)
    assert base64.b64encode(made.secret).decode() not in caplog.text
    assert repr(made.secret)[2:-1] not in caplog.text


async def test_awss_own_default_key_can_not_serve(endpoint: str, credentials: None) -> None:
    kms = AwsKms(REGION, endpoint=endpoint)
    with pytest.raises(KMSKeyNotAccessibleFault, match="configure a default key"):
        await kms.describe(DEFAULT_ALIAS)


async def test_a_key_for_signing_is_refused(endpoint: str, aws: Service) -> None:
    key = client("kms", endpoint).create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    with pytest.raises(KMSKeyNotAccessibleFault, match="not for encryption"):
        await aws.kms.describe(key["KeyMetadata"]["Arn"])


async def test_a_key_that_waits_for_its_deletion_is_not_enabled(endpoint: str, aws: Service) -> None:
    arn = await aws.create()
    client("kms", endpoint).schedule_key_deletion(KeyId=arn.rpartition("/")[2], PendingWindowInDays=7)
    assert (await aws.kms.describe(arn)).enabled is False


async def test_nobody_there(credentials: None) -> None:
    kms = AwsKms(REGION, default_key="alias/mine", endpoint="http://127.0.0.1:1")
    with pytest.raises(KmsUnavailable, match="did not describe_key"):
        await kms.describe(DEFAULT_ALIAS)
