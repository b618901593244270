"""The data keys of one archive: unwrapped by their KMS key when they are first needed, and wrapped for others."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence

from stilldb.domain.volumes import VolumeError, VolumeKey
from stilldb.volume.container import DataKey
from stilldb.volume.keyring import Kms
from stilldb.volume.manifest import WrappedKey


def context(volume: VolumeKey) -> Mapping[str, str]:
    """The encryption context of an archive's data keys."""
    return {"aws:rds:dbc-id": volume.resource_id, "archive": volume.prefix}


async def generate(kms: Kms | None, volume: VolumeKey, kms_key_arn: str) -> WrappedKey:
    """A new data key for an archive; raises KMSKeyNotAccessibleFault."""
    key, wrapped = await _required(kms).generate_data_key(kms_key_arn, context(volume))
    return WrappedKey(kms_key_arn, key.id, base64.b64encode(wrapped).decode())


class DataKeys:
    """Data keys by their wrapped forms. Every call may raise KMSKeyNotAccessibleFault, KmsUnavailable or VolumeError."""

    def __init__(self, kms: Kms | None, volume: VolumeKey, wrapped: Sequence[WrappedKey]) -> None:
        self.wrapped = tuple(wrapped)
        self._kms = kms
        self._volume = volume
        self._opened: dict[str, DataKey] = {}
        self._opening = asyncio.Lock()

    async def opened(self) -> Callable[[str], DataKey] | None:
        """What gives the data key of an id, for ``container.unseal``; None where nothing is encrypted."""
        if not self.wrapped:
            return None
        async with self._opening:
            for wrapped in self.wrapped:
                if wrapped.data_key_id not in self._opened:
                    self._opened[wrapped.data_key_id] = await self._unwrap(wrapped)
        return self._give

    async def sealing(self) -> DataKey | None:
        """The data key for new objects; None where nothing is encrypted."""
        give = await self.opened()
        return None if give is None else give(self.wrapped[-1].data_key_id)

    async def wrapped_by(self, kms_key_arn: str, kms: Kms | None = None) -> tuple[WrappedKey, ...]:
        """The same data keys, each wrapped by one KMS key, of another key service when given."""
        if all(wrapped.kms_key_arn == kms_key_arn for wrapped in self.wrapped):
            return self.wrapped
        give = await self.opened()
        assert give is not None
        service = _required(kms or self._kms)
        return tuple([await self._wrap(service, give(old.data_key_id), kms_key_arn) for old in self.wrapped])

    async def _wrap(self, kms: Kms, key: DataKey, kms_key_arn: str) -> WrappedKey:
        wrapped = await kms.wrap(key, kms_key_arn, context(self._volume))
        return WrappedKey(kms_key_arn, key.id, base64.b64encode(wrapped).decode())

    async def _unwrap(self, wrapped: WrappedKey) -> DataKey:
        try:
            content = base64.b64decode(wrapped.wrapped, validate=True)
        except binascii.Error as error:
            raise VolumeError(f"a wrapped data key of {self._volume.prefix} is damaged: {error}") from error
        key = await _required(self._kms).unwrap(content, wrapped.kms_key_arn, context(self._volume))
        if key.id != wrapped.data_key_id:
            raise VolumeError(f"a wrapped data key of {self._volume.prefix} is another one than it says")
        return key

    def _give(self, key_id: str) -> DataKey:
        try:
            return self._opened[key_id]
        except KeyError:
            raise VolumeError(
                f"an object of {self._volume.prefix} is encrypted with the data key {key_id}, which it does not have"
            ) from None


def _required(kms: Kms | None) -> Kms:
    if kms is None:
        raise VolumeError("encrypted archives need a key service, and none is configured")
    return kms
