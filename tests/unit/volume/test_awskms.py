"""What AWS KMS answers and what is made of it, by botocore's stubber: moto knows no disabled keys."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from botocore.stub import Stubber

from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.volumes import VolumeError
from stilldb.volume.awskms import AwsKms
from stilldb.volume.keyring import KmsUnavailable, data_key

ARN = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000001"
CONTEXT = {"archive": "cluster-A/1"}
KEY = data_key(bytes(range(32)))


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> AwsKms:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    return AwsKms("eu-central-1")


@pytest.fixture
def stubber(kms: AwsKms) -> Iterator[Stubber]:
    with Stubber(kms._client) as stubbed:
        yield stubbed
        stubbed.assert_no_pending_responses()


async def test_what_is_asked_and_what_is_made_of_the_answer(kms: AwsKms, stubber: Stubber) -> None:
    asked = {"KeyId": ARN, "EncryptionContext": CONTEXT}
    plain = {"Plaintext": KEY.secret, "KeyId": ARN}
    stubber.add_response(
        "generate_data_key", {**plain, "CiphertextBlob": b"wrapped"}, {**asked, "KeySpec": "AES_256"}
    )
    stubber.add_response("encrypt", {"CiphertextBlob": b"again"}, {**asked, "Plaintext": KEY.secret})
    stubber.add_response("decrypt", plain, {**asked, "CiphertextBlob": b"wrapped"})
    assert await kms.generate_data_key(ARN, CONTEXT) == (KEY, b"wrapped")
    assert await kms.wrap(KEY, ARN, CONTEXT) == b"again"
    assert await kms.unwrap(b"wrapped", ARN, CONTEXT) == KEY


@pytest.mark.parametrize(
    ("code", "status", "expected", "says"),
    [
        ("DisabledException", 400, KMSKeyNotAccessibleFault, "is disabled. Enable it"),
        ("NotFoundException", 400, KMSKeyNotAccessibleFault, "no such key in this region"),
        ("AccessDeniedException", 400, KMSKeyNotAccessibleFault, "Allow kms:DescribeKey"),
        ("KMSInvalidStateException", 400, KMSKeyNotAccessibleFault, "its state does not allow"),
        ("InvalidKeyUsageException", 400, KMSKeyNotAccessibleFault, "symmetric key"),
        ("IncorrectKeyException", 400, VolumeError, "belongs to another KMS key"),
        ("InvalidCiphertextException", 400, VolumeError, "belongs to another KMS key"),
        ("ThrottlingException", 400, KmsUnavailable, "did not decrypt"),
        ("KMSInternalException", 500, KmsUnavailable, "did not decrypt"),
        ("ExpiredTokenException", 400, KmsUnavailable, "did not decrypt"),
    ],
)
async def test_errors(
    kms: AwsKms, stubber: Stubber, code: str, status: int, expected: type[Exception], says: str
) -> None:
    stubber.add_client_error("decrypt", code, "as AWS says", http_status_code=status)
    with pytest.raises(expected, match=says) as raised:
        await kms.unwrap(b"wrapped", ARN, CONTEXT)
    assert type(raised.value) is expected
    assert ARN in str(raised.value)


async def test_a_plaintext_that_is_no_data_key(kms: AwsKms, stubber: Stubber) -> None:
    stubber.add_response("decrypt", {"Plaintext": b"short", "KeyId": ARN})
    with pytest.raises(VolumeError, match="belongs to another"):
        await kms.unwrap(b"wrapped", ARN, CONTEXT)
