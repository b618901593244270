"""What volumes tell becomes events of their clusters, whosever they are."""

from __future__ import annotations

from stilldb.control.notices import Notices
from stilldb.domain.volumes import Notice, VolumeKey
from support.callers import caller
from support.twins import plane


async def test_of_any_account_and_before_the_start() -> None:
    async with plane(
        regions=("us-east-1", "eu-west-1"), accounts=("123456789012", "999999999999")
    ) as running:
        keys = []
        for account, region in (("123456789012", "us-east-1"), ("999999999999", "eu-west-1")):
            of = caller(running, account, region)
            await of.cluster()
            (made,) = (await of("DescribeDBClusters"))["DBClusters"]
            keys.append((of, VolumeKey(made["DbClusterResourceId"], 1)))
        notices = Notices()
        notices(Notice(keys[0][1], "gap", "early"))
        notices.bind(running.controls)
        for key in (*(key for _, key in keys), VolumeKey("cluster-NOBODYS", 1)):
            notices(Notice(key, "lag", "the archive lags"))
        await notices.drain()
        told = []
        for of, _ in keys:
            listed = (await of("DescribeEvents", SourceType="db-cluster"))["Events"]
            told.append([event["Message"] for event in listed][1:])
        assert told == [["early", "the archive lags"], ["the archive lags"]]
