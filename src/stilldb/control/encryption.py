"""Which KMS key a new cluster, restore or copy is encrypted under, and whether the keys can be used. Source: API reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stilldb.control.context import Control
from stilldb.control.outside import asked
from stilldb.domain.faults import (
    InvalidParameterCombination,
    InvalidParameterValue,
    KMSKeyNotAccessibleFault,
)
from stilldb.domain.names import Place

if TYPE_CHECKING:
    from stilldb.control.clusters import NewCluster


async def of_new_cluster(control: Control, new: NewCluster) -> str | None:
    """The key of a new, empty cluster; None when it is not encrypted."""
    if new.kms_key_id is not None and not new.storage_encrypted:
        raise InvalidParameterCombination(
            "KmsKeyId needs StorageEncrypted beside it. Set it, or leave KmsKeyId out."
        )
    return await _resolve(control, new.kms_key_id) if new.storage_encrypted else None


async def of_snapshot_restore(
    control: Control, source: Place, source_key: str | None, key_id: str | None
) -> str | None:
    """The key of a cluster restored from a snapshot; a plain snapshot can become an encrypted cluster, never the reverse."""
    if source_key is None:
        return None if key_id is None else await _resolve(control, key_id)
    return await _of_encrypted(control, source, source_key, key_id)


async def of_recovery(
    control: Control, source_key: str | None, key_id: str | None, source: str
) -> str | None:
    """The key of a cluster restored to a moment of another: encrypted if, and only if, that one is."""
    if source_key is None:
        if key_id is not None:
            raise InvalidParameterCombination(
                f"The cluster {source} is not encrypted, so KmsKeyId can't be specified. Leave it out, or restore a "
                "snapshot of the cluster under the key."
            )
        return None
    own = Place(control.deployment.account, control.deployment.region, source)
    return await _of_encrypted(control, own, source_key, key_id)


async def of_copy(control: Control, source: Place, source_key: str | None, key_id: str | None) -> str | None:
    """The key of a copy: encrypted if, and only if, the source is."""
    if source_key is None:
        if key_id is not None:
            raise InvalidParameterCombination(
                f"The snapshot {source.name} is not encrypted, so KmsKeyId can't be specified. Leave it out, or restore "
                "the snapshot under the key."
            )
        return None
    if key_id is None and source.region != control.deployment.region:
        raise InvalidParameterValue("Must specify new KMS key for cross region encrypted snapshot copy.")
    return await _of_encrypted(control, source, source_key, key_id)


async def _of_encrypted(control: Control, source: Place, source_key: str, key_id: str | None) -> str:
    owner = control if source.is_of(control.deployment) else control.across(source.account, source.region)
    try:
        if owner is None:
            raise KMSKeyNotAccessibleFault(f"The region {source.region} is not served here.")
        await _resolve(owner, source_key)
    except KMSKeyNotAccessibleFault as fault:
        raise KMSKeyNotAccessibleFault(
            f"The source snapshot KMS key [{source_key}] does not exist, is not enabled or you do not have permissions "
            "to access it."
        ) from fault
    if key_id is None and source.account != control.deployment.account:
        raise KMSKeyNotAccessibleFault(
            "The target KMS key [None] does not exist, is not enabled or you do not have permissions to access it. "
            "The snapshot is encrypted under another account's key: give a KmsKeyId of this account."
        )
    return await _resolve(control, key_id) if key_id is not None else source_key


async def _resolve(control: Control, key_id: str | None) -> str:
    with asked("The key service"):
        return await control.kms.resolve(key_id)
