"""The verbs around snapshots, their archives and keys: JSON in, JSON out.

``Tools`` are those of the caller's account and region. A verb that takes long hears its own progress, in percent.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

from stilldb.awsapi.admin import Params, Progress, verb
from stilldb.control import backups
from stilldb.control.backups import Archives
from stilldb.control.browsing import Browsing
from stilldb.control.context import Control
from stilldb.control.proofs import Proofs
from stilldb.control.transfers import Transfers
from stilldb.domain.faults import Fault, InvalidParameterValue
from stilldb.domain.proofs import Proof
from stilldb.domain.volumes import VolumeError

LARGEST_PART: Final = 700_000  # bytes of one ``PutImportedObject``: in base64 it fits a request


class KeyInfo(Protocol):
    """A KMS key of the local key ring."""

    @property
    def arn(self) -> str: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def default(self) -> bool: ...
    @property
    def aliases(self) -> tuple[str, ...]: ...


class Keyring(Protocol):
    """The local key ring; raises VolumeError, KMSKeyNotAccessibleFault."""

    async def list(self) -> tuple[KeyInfo, ...]: ...
    async def create(self, alias: str | None = None) -> KeyInfo: ...
    async def enable(self, key_id: str) -> KeyInfo: ...
    async def disable(self, key_id: str) -> KeyInfo: ...
    async def delete(self, key_id: str, *, confirmed_arn: str) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the verbs work with. ``keyring`` is None where the keys are in AWS KMS."""

    control: Control
    browsing: Browsing
    proofs: Proofs
    transfers: Transfers
    archives: Archives
    keyring: Keyring | None


class KeyringNotLocal(Fault):
    """The KMS keys are not in the local key ring."""

    code = "KeyringNotLocal"


class KeyNotChanged(Fault):
    """The key could not be made or changed; the message says why."""

    code = "KeyNotChanged"
    status = 409


# -- proofs


def _proof(proof: Proof) -> dict[str, Any]:
    return {**dataclasses.asdict(proof), "proven_at": proof.proven_at.isoformat()}


@verb("ListProofs")
async def list_proofs(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """The last proof of each snapshot that has one."""
    return {"proofs": {name: _proof(proof) for name, proof in (await tools.proofs.last()).items()}}


@verb("ProveSnapshot", job=True, needs="snapshot", snapshot=str)
async def prove_snapshot(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Restore the snapshot into a throw-away PostgreSQL and check it, now."""
    return _proof(await tools.proofs.prove(params["snapshot"], progress=progress))


# -- looks


@verb("OpenSnapshot", job=True, needs="snapshot", snapshot=str, port=int)
async def open_snapshot(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Serve the snapshot read only; the look must be renewed."""
    port = params.get("port")
    if port is not None and not 1150 <= port <= 65535:
        raise InvalidParameterValue("port must be from 1150 to 65535.")
    return dataclasses.asdict(await tools.browsing.open(params["snapshot"], port=port, progress=progress))


@verb("RenewLook", needs="look_id", look_id=str)
async def renew_look(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Keep a look open."""
    return {"lease_seconds": await tools.browsing.renew(params["look_id"])}


@verb("CloseLook", needs="look_id", look_id=str)
async def close_look(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Close a look."""
    await tools.browsing.close(params["look_id"])
    return {}


@verb("DiffSnapshots", job=True, needs="old new", old=str, new=str, examples=int)
async def diff_snapshots(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """What changed from one snapshot to another, or to ``cluster:NAME``."""
    examples = params.get("examples", 5)
    return await tools.browsing.diff(params["old"], params["new"], examples=examples, progress=progress)


# -- exports and imports


@verb("DescribeExport", needs="snapshot", snapshot=str, passphrase=str)
async def describe_export(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """What an export of the snapshot consists of."""
    packed, description = await tools.transfers.pack(params["snapshot"], params.get("passphrase"))
    return {
        "description": description,
        "keys": list(packed.keys),
        "manifest_key": packed.manifest_key,
        "manifest": base64.b64encode(packed.manifest).decode(),
    }


@verb("GetExportedObject", needs="snapshot key", snapshot=str, key=str)
async def get_exported_object(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """One object of an export, verified, in base64."""
    content = await tools.transfers.content(params["snapshot"], params["key"])
    return {"content": base64.b64encode(content).decode()}


@verb("BeginImport", needs="description", description=dict)
async def begin_import(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Begin an import."""
    return {"import_id": await tools.transfers.begin(params["description"])}


@verb(
    "PutImportedObject",
    needs="import_id key content offset total",
    import_id=str,
    key=str,
    content=str,
    offset=int,
    total=int,
)
async def put_imported_object(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Bytes of an object, in base64, in their order."""
    try:
        content = base64.b64decode(params["content"], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameterValue("content must be base64.") from None
    await tools.transfers.put(
        params["import_id"], params["key"], content, offset=params["offset"], total=params["total"]
    )
    return {}


@verb(
    "FinishImport", job=True, needs="import_id", import_id=str, snapshot=str, kms_key_id=str, passphrase=str
)
async def finish_import(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Make a snapshot of what came in."""
    made = await tools.transfers.finish(
        params["import_id"],
        identifier=params.get("snapshot"),
        kms_key_id=params.get("kms_key_id"),
        passphrase=params.get("passphrase"),
        progress=progress,
    )
    return {"snapshot": made.identifier}


@verb("AbandonImport", needs="import_id", import_id=str)
async def abandon_import(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Throw an import away."""
    await tools.transfers.abandon(params["import_id"])
    return {}


# -- backups


@verb("ListBackups", job=True)
async def list_backups(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Every archive of the region."""
    return {"backups": await backups.listed(tools.control, tools.archives)}


@verb("ExpireBackups", job=True, needs="dry_run", cluster=str, dry_run=bool)
async def expire_backups(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """The verdict on everything in the archives; what nothing needs is removed unless ``dry_run``."""
    found = await backups.expire(
        tools.control, tools.archives, params.get("cluster"), dry_run=params["dry_run"]
    )
    return {"verdicts": found}


@verb("CheckBackups", job=True, cluster=str, deep=bool)
async def check_backups(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """What is wrong with the archives."""
    return await backups.check(
        tools.control, tools.archives, params.get("cluster"), deep=params.get("deep", False)
    )


@verb("PurgeBackups", job=True, needs="cluster", cluster=str)
async def purge_backups(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Drop what is retained of a deleted cluster."""
    return await backups.purge(tools.control, params["cluster"])


# -- the key ring


def _keyring(tools: Tools) -> Keyring:
    if tools.keyring is None:
        raise KeyringNotLocal("The KMS keys of this deployment are in AWS KMS: use its own tools.")
    return tools.keyring


def _key(key: KeyInfo) -> dict[str, Any]:
    return {"arn": key.arn, "enabled": key.enabled, "default": key.default, "aliases": list(key.aliases)}


async def _changed(change: Awaitable[KeyInfo]) -> Mapping[str, Any]:
    try:
        return _key(await change)
    except VolumeError as error:
        raise KeyNotChanged(str(error)) from error


@verb("ListKeys")
async def list_keys(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """The account's KMS keys in this region."""
    return {"keys": [_key(key) for key in await _keyring(tools).list()]}


@verb("CreateKey", alias=str)
async def create_key(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """A new KMS key."""
    return await _changed(_keyring(tools).create(params.get("alias")))


@verb("EnableKey", needs="key_id", key_id=str)
async def enable_key(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Open a KMS key again."""
    return await _changed(_keyring(tools).enable(params["key_id"]))


@verb("DisableKey", needs="key_id", key_id=str)
async def disable_key(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Close a KMS key: what is under it can't be read until it is enabled."""
    return await _changed(_keyring(tools).disable(params["key_id"]))


@verb("DeleteKey", needs="key_id confirmed_arn", key_id=str, confirmed_arn=str)
async def delete_key(tools: Tools, params: Params, progress: Progress) -> Mapping[str, Any]:
    """Remove a KMS key for ever."""
    try:
        await _keyring(tools).delete(params["key_id"], confirmed_arn=params["confirmed_arn"])
    except VolumeError as error:
        raise KeyNotChanged(str(error)) from error
    return {}
