"""AWS KMS as the service of KMS keys, through botocore."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import botocore.config
import botocore.session
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from stilldb.volume.container import DataKey
from stilldb.volume.keyring import (
    DEFAULT_ALIAS,
    KmsKey,
    KmsUnavailable,
    data_key,
    not_accessible,
    not_opened,
)

_CLOSED = {
    "AccessDeniedException": "AWS denies it. Allow kms:DescribeKey, GenerateDataKey, Encrypt and Decrypt on it",
    "DisabledException": "it is disabled. Enable it, and try again",
    "InvalidArnException": "this is no key's ARN",
    "InvalidKeyUsageException": "it is not for encryption. Give a symmetric key for ENCRYPT_DECRYPT",
    "KMSInvalidStateException": "its state does not allow that. See `aws kms describe-key`",
    "NotFoundException": "there is no such key in this region",
    "ValidationException": "this names no key",
}
_OF_ANOTHER = {"IncorrectKeyException", "InvalidCiphertextException"}


class AwsKms:
    """A Kms over AWS KMS, with the AWS chain's credentials. ``default_key`` is taken where no key is named.

    AWS's own ``alias/aws/rds`` can't serve: its policy lets nobody but Amazon RDS use it.
    """

    def __init__(
        self,
        region: str,
        *,
        default_key: str | None = None,
        endpoint: str | None = None,
        session: botocore.session.Session | None = None,
    ) -> None:
        # Its debug log shows requests and answers, and in them data keys.
        logging.getLogger("botocore").setLevel(logging.INFO)
        config = botocore.config.Config(
            connect_timeout=5, read_timeout=15, retries={"mode": "standard", "max_attempts": 3}
        )
        self._client = (session or botocore.session.get_session()).create_client(
            "kms", region_name=region, endpoint_url=endpoint, config=config
        )
        self._default_key = default_key

    async def describe(self, key_id: str) -> KmsKey:
        """See Kms."""
        found = await self._metadata(self._named(key_id))
        default = self._default_key is not None and (
            key_id in {DEFAULT_ALIAS, self._default_key}
            or found["Arn"] == (await self._metadata(self._default_key))["Arn"]
        )
        if found["KeySpec"] != "SYMMETRIC_DEFAULT":
            raise not_accessible(key_id, _CLOSED["InvalidKeyUsageException"])
        return KmsKey(arn=found["Arn"], enabled=found["Enabled"], default=default)

    async def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> tuple[DataKey, bytes]:
        """See Kms."""
        answer = await self._call(
            "generate_data_key", key_id, KeySpec="AES_256", EncryptionContext=dict(context)
        )
        return data_key(answer["Plaintext"]), answer["CiphertextBlob"]

    async def wrap(self, data_key: DataKey, key_id: str, context: Mapping[str, str]) -> bytes:
        """See Kms."""
        answer = await self._call(
            "encrypt", key_id, Plaintext=data_key.secret, EncryptionContext=dict(context)
        )
        wrapped: bytes = answer["CiphertextBlob"]
        return wrapped

    async def unwrap(self, wrapped: bytes, key_id: str, context: Mapping[str, str]) -> DataKey:
        """See Kms."""
        if not wrapped:
            raise not_opened(key_id)
        answer = await self._call("decrypt", key_id, CiphertextBlob=wrapped, EncryptionContext=dict(context))
        if len(answer["Plaintext"]) != 32:
            raise not_opened(key_id)
        return data_key(answer["Plaintext"])

    def _named(self, key_id: str) -> str:
        if key_id != DEFAULT_ALIAS:
            return key_id
        if self._default_key is None:
            raise not_accessible(
                key_id,
                "AWS KMS lets only Amazon RDS use it. Name a key of your own, or configure a default key",
            )
        return self._default_key

    async def _metadata(self, key_id: str) -> Mapping[str, Any]:
        answer = await self._call("describe_key", key_id)
        found: Mapping[str, Any] = answer["KeyMetadata"]
        return found

    async def _call(self, operation: str, key_id: str, **parameters: Any) -> Mapping[str, Any]:
        method = getattr(self._client, operation)
        named = self._named(key_id)
        try:
            answer: Mapping[str, Any] = await asyncio.to_thread(method, KeyId=named, **parameters)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _OF_ANOTHER:
                raise not_opened(named) from error
            if code in _CLOSED:
                raise not_accessible(named, _CLOSED[code]) from error
            raise KmsUnavailable(f"AWS KMS did not {operation} with the key {named}: {error}") from error
        except ParamValidationError as error:
            raise not_accessible(named, _CLOSED["ValidationException"]) from error
        except BotoCoreError as error:
            raise KmsUnavailable(f"AWS KMS did not {operation} with the key {named}: {error}") from error
        return answer
