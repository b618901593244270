"""Two accounts and two regions of one deployment: each sees its own, whatever the others call theirs."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import re
from collections.abc import AsyncIterator

import pytest

from stilldb.awsapi import keys
from stilldb.awsapi.keys import AccessKey, KeyFile
from stilldb.control.context import Quotas
from stilldb.domain.resources import Instance, Job
from support.api import GOOD, Failed, TwinApi, twin_api
from support.asgi import call
from support.signing import BODY
from support.twins import MemoryVolumes

HERE, THERE = "us-east-1", "eu-central-1"
OTHER = "111122223333"


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "access-keys.json"


@pytest.fixture
async def api(path: pathlib.Path) -> AsyncIterator[TwinApi]:
    quotas = Quotas(clusters=2, instances=2, manual_snapshots=2)
    async with twin_api(quotas, regions=(HERE, THERE), keys=KeyFile(path)) as it:
        yield it


@pytest.fixture
def callers(api: TwinApi, path: pathlib.Path) -> dict[tuple[str, str], TwinApi]:
    """One a (account, region): every combination of two accounts and two regions."""
    own, other = keys.load(path)[0], keys.create(path, OTHER)
    return {
        (key.account, region): api.signing(key, region) for key in (own, other) for region in (HERE, THERE)
    }


def arns(answer: object) -> set[str]:
    return set(re.findall(r"arn:aws:rds:[a-z0-9:-]+", json.dumps(answer, default=str)))


async def test_the_same_names_in_every_account_and_region(callers: dict[tuple[str, str], TwinApi]) -> None:
    for number, each in enumerate(callers.values()):
        await each.cluster("alpha", Tags=[{"Key": "number", "Value": str(number)}])
        await each.instance("alpha-1", "alpha")
        await each.snapshot("one", "alpha")
    seen: set[str] = set()
    addresses: set[str] = set()
    for number, ((account, region), each) in enumerate(callers.items()):
        clusters = await each("DescribeDBClusters")
        instances = await each("DescribeDBInstances")
        snapshots = await each("DescribeDBClusterSnapshots", SnapshotType="manual")
        own = f"arn:aws:rds:{region}:{account}:"
        assert arns([clusters, instances, snapshots]) >= {
            f"{own}cluster:alpha",
            f"{own}db:alpha-1",
            f"{own}cluster-snapshot:one",
        }
        assert all(arn.startswith(own) for arn in arns([clusters, instances, snapshots]))
        assert [len(rows) for rows in (clusters["DBClusters"], instances["DBInstances"])] == [1, 1]
        tags = await each("ListTagsForResource", ResourceName=f"{own}cluster:alpha")
        assert tags["TagList"] == [{"Key": "number", "Value": str(number)}]
        seen.add(clusters["DBClusters"][0]["DbClusterResourceId"])
        endpoint = clusters["DBClusters"][0]
        addresses |= {endpoint["Endpoint"], endpoint["ReaderEndpoint"]}
        addresses.add(instances["DBInstances"][0]["Endpoint"]["Address"])
    assert len(seen) == 4
    assert len(addresses) == 12, "the loopback interface is one for all"


async def test_what_another_account_or_region_has_is_not_there(
    callers: dict[tuple[str, str], TwinApi],
) -> None:
    (first, *others) = callers.values()
    await first.cluster("alpha")
    await first.instance("alpha-1", "alpha")
    await first.snapshot("one", "alpha")
    for each in others:
        assert (await each("DescribeDBClusters"))["DBClusters"] == []
        assert (await each("DescribeDBInstances"))["DBInstances"] == []
        assert (await each("DescribeDBClusterSnapshots", SnapshotType="manual"))["DBClusterSnapshots"] == []
        for operation, params, code in [
            (
                "DeleteDBCluster",
                {"DBClusterIdentifier": "alpha", "SkipFinalSnapshot": True},
                "DBClusterNotFoundFault",
            ),
            ("DeleteDBInstance", {"DBInstanceIdentifier": "alpha-1"}, "DBInstanceNotFound"),
            (
                "DeleteDBClusterSnapshot",
                {"DBClusterSnapshotIdentifier": "one"},
                "DBClusterSnapshotNotFoundFault",
            ),
            (
                "CreateDBClusterSnapshot",
                {"DBClusterIdentifier": "alpha", "DBClusterSnapshotIdentifier": "two"},
                "DBClusterNotFoundFault",
            ),
            (
                "RestoreDBClusterFromSnapshot",
                {"DBClusterIdentifier": "b", "SnapshotIdentifier": "one", "Engine": "docdb"},
                "DBClusterSnapshotNotFoundFault",
            ),
        ]:
            assert (await each.fault(operation, **params))[1] == code
        for kind in ("cluster:alpha", "db:alpha-1", "cluster-snapshot:one"):
            arn = f"arn:aws:rds:{HERE}:123456789012:{kind}"
            status, code, _ = await each.fault("ListTagsForResource", ResourceName=arn)
            assert (status, code) == (400, "InvalidParameterValue")
    assert (await first("DescribeDBClusters"))["DBClusters"][0]["Status"] == "available"


async def test_deleting_in_one_leaves_the_others(callers: dict[tuple[str, str], TwinApi]) -> None:
    for each in callers.values():
        await each.cluster("alpha")
    first, *others = callers.values()
    await first("DeleteDBCluster", DBClusterIdentifier="alpha", SkipFinalSnapshot=True)
    await first.becomes("DBCluster", "alpha", "gone")
    for each in others:
        assert (await each("DescribeDBClusters"))["DBClusters"][0]["Status"] == "available"


async def test_quotas_are_of_an_account_in_a_region(callers: dict[tuple[str, str], TwinApi]) -> None:
    for each in callers.values():
        for name in ("a", "b"):
            await each("CreateDBCluster", DBClusterIdentifier=name, **GOOD)
        fault = await each.fault("CreateDBCluster", DBClusterIdentifier="c", **GOOD)
        assert fault[1] == "DBClusterQuotaExceededFault"


async def test_a_restart_takes_up_every_account_and_region(callers: dict[tuple[str, str], TwinApi]) -> None:
    plane = next(iter(callers.values())).plane
    for each in callers.values():
        await each.cluster("alpha")
        await each.instance("alpha-1", "alpha")
    gate = asyncio.Event()
    for volumes in plane.controls.volumes.values():
        assert isinstance(volumes, MemoryVolumes)
        volumes.gates["mark"] = gate
    for each in callers.values():
        await each("CreateDBClusterSnapshot", DBClusterIdentifier="alpha", DBClusterSnapshotIdentifier="one")
    await plane.restart()
    gate.set()
    for each in callers.values():
        await each.becomes("DBInstance", "alpha-1", "available")
        await each.becomes("DBClusterSnapshot", "one", "available")
    assert await plane.controls.store.run(lambda tx: tx.everywhere(Job)) == []
    assert len(await plane.controls.store.run(lambda tx: tx.everywhere(Instance))) == 4


async def test_a_region_that_is_not_served_is_told_with_those_that_are(
    api: TwinApi, path: pathlib.Path
) -> None:
    elsewhere = api.signing(keys.load(path)[0], "ap-south-1")
    status, code, message = await elsewhere.fault("DescribeDBClusters")
    assert (status, code) == (403, "SignatureDoesNotMatch")
    assert f"one of the regions {HERE}, {THERE} " in message
    assert "ap-south-1/rds" in message


async def test_a_key_counts_as_soon_as_it_is_made_and_no_longer_than_it_is_there(
    api: TwinApi, path: pathlib.Path
) -> None:
    made = keys.create(path, OTHER, "for the test")
    mine = api.signing(made, THERE)
    await mine.cluster("alpha")
    assert (await mine("DescribeDBClusters"))["DBClusters"][0]["DBClusterArn"].split(":")[3:5] == [
        THERE,
        OTHER,
    ]
    keys.delete(path, made.access_key_id)
    with pytest.raises(Failed) as refused:
        await mine("DescribeDBClusters")
    assert (refused.value.status, refused.value.code) == (403, "InvalidClientTokenId")
    # The account still owns something, so another of its keys finds it.
    again = api.signing(keys.create(path, OTHER), THERE)
    assert len((await again("DescribeDBClusters"))["DBClusters"]) == 1


async def test_one_reaches_across_to_known_accounts_and_served_regions_only(
    api: TwinApi, path: pathlib.Path
) -> None:
    control = api.plane.control
    assert control.regions == (HERE, THERE)
    assert control.across(OTHER, HERE) is None
    keys.create(path, OTHER)
    other = control.across(OTHER, THERE)
    assert other is not None
    assert (other.deployment.account, other.deployment.region) == (OTHER, THERE)
    assert other is control.across(OTHER, THERE)
    assert other.volumes is not control.volumes
    assert control.across(OTHER, "ap-south-1") is None
    assert set(control.accounts()) == {"123456789012", OTHER}


async def test_letting_everybody_in_takes_the_account_and_region_that_are_named() -> None:
    async with twin_api(regions=(HERE, THERE)) as api:

        async def made(name: str, key: str, region: str) -> str:
            mine = api.signing(AccessKey(key, "any"), region)
            answer = await mine("CreateDBCluster", DBClusterIdentifier=name, **GOOD)
            return str(answer["DBCluster"]["DBClusterArn"])

        assert await made("a", "111122223333", THERE) == f"arn:aws:rds:{THERE}:111122223333:cluster:a"
        assert await made("b", "test", THERE) == f"arn:aws:rds:{THERE}:123456789012:cluster:b"
        here = await made("c", "1111222233334", "ap-south-1")  # no account, and a region that is not served
        assert here == f"arn:aws:rds:{HERE}:123456789012:cluster:c"
        unsigned = (await call(api.app, BODY.encode())).result("DescribeDBClusters")
        assert [cluster["DBClusterArn"] for cluster in unsigned["DBClusters"]] == [here]


def test_keys_of_earlier_versions_are_of_the_default_account(path: pathlib.Path) -> None:
    path.write_text(json.dumps([{"access_key_id": "AKIAOLD", "secret_access_key": "s"}]))
    assert KeyFile(path).find("AKIAOLD") == AccessKey("AKIAOLD", "s", "123456789012", "")
    keys.create(path, OTHER, "new")
    assert [key.account for key in keys.load(path)] == ["123456789012", OTHER]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "account", ["", "1", "12345678901a", "1234567890123", "١٢٣٤٥٦٧٨٩٠١٢", "12345678901\n"]
)
def test_an_account_has_twelve_digits(path: pathlib.Path, account: str) -> None:
    with pytest.raises(keys.KeyRefused, match="12 digits"):
        keys.create(path, account)
    assert not path.exists()
    path.write_text(json.dumps([{"access_key_id": "A", "secret_access_key": "s", "account": account}]))
    with pytest.raises(keys.DamagedKeys, match="12 digits"):
        keys.load(path)


def test_the_last_key_and_one_that_is_not_there_are_not_deleted(path: pathlib.Path) -> None:
    only = keys.create(path)
    with pytest.raises(keys.KeyRefused, match="the only access key"):
        keys.delete(path, only.access_key_id)
    with pytest.raises(keys.KeyRefused, match="no access key AKIAX"):
        keys.delete(path, "AKIAX")
    assert keys.load(path) == [only]


def test_a_damaged_file_leaves_the_keys_as_they_were(
    path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = KeyFile(path)
    (key,) = keys.load(path)
    content = path.read_text()
    for damage in ("{", "[]", '[{"access_key_id": 1, "secret_access_key": "s"}]'):
        path.write_text(damage)
        assert file.find(key.access_key_id) == key
        assert file.find(key.access_key_id) == key
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3
    path.unlink()
    assert file.find(key.access_key_id) == key
    path.write_text(content)
    os.utime(path, (1, 1))
    assert file.accounts() == {"123456789012"}


def test_the_secret_is_not_shown(path: pathlib.Path) -> None:
    made = keys.create(path)
    assert made.secret_access_key not in repr(made)
