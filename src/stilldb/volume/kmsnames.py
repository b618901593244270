"""How the control plane asks for KMS keys: by any name, to the ARN of one that is open. It is control.ports.Kms."""

from __future__ import annotations

from stilldb.volume.keyring import DEFAULT_ALIAS, Kms, not_accessible


class KmsNames:
    """The names of the keys of a Kms."""

    def __init__(self, kms: Kms) -> None:
        self._kms = kms

    async def resolve(self, key_id: str | None) -> str:
        """The ARN of an open key by id, ARN, alias or alias ARN; None: the default one.

        Raises KMSKeyNotAccessibleFault, KmsUnavailable.
        """
        key = await self._kms.describe(DEFAULT_ALIAS if key_id is None else key_id)
        if not key.enabled:
            raise not_accessible(
                key.arn, "it is disabled, or waits for its deletion. Enable it, and try again"
            )
        return key.arn

    async def is_default(self, arn: str) -> bool:
        """Whether it is the default key; raises KMSKeyNotAccessibleFault, KmsUnavailable."""
        return (await self._kms.describe(arn)).default
