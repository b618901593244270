"""StorageEncrypted and KmsKeyId on clusters, instances, snapshots and what is restored from them."""

from __future__ import annotations

from typing import Any

import pytest

from support.api import GOOD, TwinApi

KEYS = "arn:aws:kms:us-east-1:123456789012:key/"


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"StorageEncrypted": True}, "default"),
        ({"StorageEncrypted": True, "KmsKeyId": "own"}, "own"),
        ({"StorageEncrypted": True, "KmsKeyId": f"{KEYS}own"}, "own"),
    ],
)
async def test_what_is_encrypted_says_so(api: TwinApi, params: dict[str, Any], key: str) -> None:
    cluster = await api.cluster("alpha", **params)
    instance = await api.instance()
    snapshot = await api.snapshot()
    for seen in (cluster, instance, snapshot):
        assert (seen["StorageEncrypted"], seen["KmsKeyId"]) == (True, KEYS + key)
    (volume,) = api.plane.volumes.volumes.values()
    (published,) = api.plane.volumes.published.values()
    assert volume.kms_key_arn == published.kms_key_arn == KEYS + key


async def test_what_is_not_has_no_key(api: TwinApi) -> None:
    for seen in (await api.cluster(), await api.instance(), await api.snapshot()):
        assert seen["StorageEncrypted"] is False
        assert "KmsKeyId" not in seen


async def restored(api: TwinApi, name: str, **more: Any) -> str | None:
    """The KMS key of a cluster that is restored from the snapshot, in its volume too."""
    asked = {"DBClusterIdentifier": name, "SnapshotIdentifier": "one", "Engine": "docdb", **more}
    made = (await api("RestoreDBClusterFromSnapshot", **asked))["DBCluster"]
    await api.becomes("DBCluster", name, "available")
    key: str | None = made.get("KmsKeyId")
    (volume,) = [
        v for k, v in api.plane.volumes.volumes.items() if k.resource_id == made["DbClusterResourceId"]
    ]
    assert volume.kms_key_arn == key
    assert made["StorageEncrypted"] is (key is not None)
    return key


async def test_restores_from_a_plain_snapshot(api: TwinApi) -> None:
    await api.cluster()
    await api.snapshot()
    assert await restored(api, "plain") is None
    assert await restored(api, "sealed", KmsKeyId="own") == f"{KEYS}own"


async def test_restores_from_an_encrypted_snapshot(api: TwinApi) -> None:
    await api.cluster("alpha", StorageEncrypted=True, KmsKeyId="own")
    await api.snapshot()
    assert await restored(api, "same") == f"{KEYS}own"
    assert await restored(api, "other", KmsKeyId="default") == f"{KEYS}default"


async def test_recoveries_of_an_encrypted_cluster(api: TwinApi) -> None:
    await api.cluster("alpha", StorageEncrypted=True, KmsKeyId="own")
    asked = {"SourceDBClusterIdentifier": "alpha", "UseLatestRestorableTime": True}
    same = await api("RestoreDBClusterToPointInTime", DBClusterIdentifier="same", **asked)
    assert same["DBCluster"]["KmsKeyId"] == f"{KEYS}own"
    other = await api(
        "RestoreDBClusterToPointInTime", DBClusterIdentifier="other", KmsKeyId="default", **asked
    )
    assert other["DBCluster"]["KmsKeyId"] == f"{KEYS}default"


async def test_a_closed_key_is_the_fault_and_opens_again(api: TwinApi) -> None:
    await api.cluster("alpha", StorageEncrypted=True, KmsKeyId="own")
    await api.snapshot()
    kms: Any = api.plane.control.kms
    kms.closed.add(f"{KEYS}own")
    asked = {"DBClusterIdentifier": "beta", "Engine": "docdb"}
    for operation, params in (
        ("CreateDBCluster", {**GOOD, "StorageEncrypted": True, "KmsKeyId": "own"}),
        ("RestoreDBClusterFromSnapshot", {"SnapshotIdentifier": "one"}),
        ("RestoreDBClusterFromSnapshot", {"SnapshotIdentifier": "one", "KmsKeyId": "default"}),
    ):
        status, code, message = await api.fault(operation, **{**asked, **params})
        assert (status, code) == (400, "KMSKeyNotAccessibleFault")
        assert "does not exist, is not enabled or you do not have permissions" in message
    kms.closed.clear()
    assert await restored(api, "beta") == f"{KEYS}own"


async def test_a_key_that_is_closed_while_the_job_runs(api: TwinApi) -> None:
    await api.cluster("alpha", StorageEncrypted=True, KmsKeyId="own")
    await api.snapshot()
    api.plane.volumes.closed_keys.add(f"{KEYS}own")
    asked = {"DBClusterIdentifier": "beta", "SnapshotIdentifier": "one", "Engine": "docdb"}
    await api("RestoreDBClusterFromSnapshot", **asked)
    await api.becomes("DBCluster", "beta", "migration-failed")
    told = await api("DescribeEvents", EventCategories=["failure"])
    assert "is not enabled" in told["Events"][-1]["Message"]


async def test_a_key_service_that_does_not_answer(api: TwinApi) -> None:
    kms: Any = api.plane.control.kms
    kms.silent = True
    asked = {"DBClusterIdentifier": "beta", **GOOD, "StorageEncrypted": True}
    assert await api.fault("CreateDBCluster", **asked) == (
        503,
        "ServiceUnavailable",
        "The key service can't be asked now: the key service does not answer. Try again later.",
    )
