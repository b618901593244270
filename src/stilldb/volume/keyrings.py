"""The KMS keys of all accounts as one service, for volumes, which know a key by its ARN and no account."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stilldb.domain.names import Scope
from stilldb.volume.container import DataKey
from stilldb.volume.keyring import Kms, KmsKey, not_accessible


class EveryAccount:
    """``volume.keyring.Kms`` for keys named by their ARN, which says whose each is; ``of`` gives the service of an account."""

    def __init__(self, of: Callable[[Scope], Kms]) -> None:
        self._of = of
        self._services: dict[Scope, Kms] = {}

    def _whose(self, arn: str) -> Kms:
        parts = arn.split(":", 5)
        if len(parts) < 6 or parts[:3] != ["arn", "aws", "kms"]:
            raise not_accessible(arn, "this is no key's ARN")
        scope = Scope(parts[4], parts[3])
        if scope not in self._services:
            self._services[scope] = self._of(scope)
        return self._services[scope]

    async def describe(self, key_id: str) -> KmsKey:
        """See Kms."""
        return await self._whose(key_id).describe(key_id)

    async def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> tuple[DataKey, bytes]:
        """See Kms."""
        return await self._whose(key_id).generate_data_key(key_id, context)

    async def wrap(self, data_key: DataKey, key_id: str, context: Mapping[str, str]) -> bytes:
        """See Kms."""
        return await self._whose(key_id).wrap(data_key, key_id, context)

    async def unwrap(self, wrapped: bytes, key_id: str, context: Mapping[str, str]) -> DataKey:
        """See Kms."""
        return await self._whose(key_id).unwrap(wrapped, key_id, context)
