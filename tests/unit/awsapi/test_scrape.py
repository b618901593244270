"""The metrics: what is counted, and who may read it."""

from __future__ import annotations

import asyncio
import functools
import pathlib

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message

from stilldb.awsapi import callers
from stilldb.awsapi.keys import AccessKey
from stilldb.awsapi.scrape import Scrape
from stilldb.control import gauges
from stilldb.domain.volumes import ArchiveState, VolumeKey
from stilldb.util.metrics import REGISTRY
from support.api import GOOD, TwinApi
from support.signing import BODY, KEY, REGION, SECRET, signed
from support.twins import until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scraped(
    app: Scrape, client: str | None = "127.0.0.1", headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, bytes]:
    given = {"host": "127.0.0.1:8010", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": "/metrics",
        "raw_path": b"/metrics",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": None if client is None else (client, 50_000),
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


def made(api: TwinApi) -> Scrape:
    who = callers.signed([REGION], {KEY: AccessKey(KEY, SECRET)}.get)
    return Scrape(who, [functools.partial(gauges.look, api.plane.controls.store)])


async def samples(app: Scrape) -> Samples:
    status, body = await scraped(app)
    assert status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


async def test_requests_are_counted_by_operation_and_outcome(api: TwinApi) -> None:
    app = made(api)
    before = await samples(app)
    await api("DescribeDBClusters")
    await api.fault("DescribeDBClusters", DBClusterIdentifier="none")
    await api.raw("Action=Explode&Version=2014-10-31")
    await api.raw(BODY, method="PUT")
    after = await samples(app)

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    total = functools.partial(more, "stilldb_api_requests_total")
    assert total(operation="DescribeDBClusters", outcome="ok") == 1
    assert total(operation="DescribeDBClusters", outcome="DBClusterNotFoundFault") == 1
    assert total(operation="unknown", outcome="InvalidAction") == 1, "what a client makes up is no label"
    assert total(operation="unknown", outcome="MethodNotAllowed") == 1
    assert more("stilldb_api_request_seconds_count", operation="DescribeDBClusters") == 2
    assert total(operation="metrics", outcome="ok") == 1


async def test_jobs_are_counted_by_kind_and_outcome(api: TwinApi) -> None:
    app = made(api)
    before = await samples(app)
    api.plane.volumes.failing["create"] = 1
    await api.cluster("alpha")
    api.plane.volumes.failing["mark"] = 99
    await api("CreateDBClusterSnapshot", DBClusterIdentifier="alpha", DBClusterSnapshotIdentifier="one")
    await api.becomes("DBClusterSnapshot", "one", "failed")

    async def counted() -> bool:
        after = await samples(app)

        def more(kind: str, outcome: str) -> float:
            labels = {"kind": kind, "outcome": outcome}
            return value(after, "stilldb_jobs_total", **labels) - value(
                before, "stilldb_jobs_total", **labels
            )

        return (
            more("create-cluster", "failed") == 1
            and more("create-cluster", "done") == 1
            and more("create-snapshot", "given-up") == 1
            and more("create-snapshot", "done") == 0
            and value(after, "stilldb_job_seconds_count", kind="create-cluster")
            == value(before, "stilldb_job_seconds_count", kind="create-cluster") + 1
        )

    await until(counted)


async def test_clusters_are_told_by_status_and_forgotten_with_them(api: TwinApi) -> None:
    app = made(api)
    of_here = {"account": "123456789012", "region": "us-east-1"}
    assert value(await samples(app), "stilldb_clusters", **of_here, status="available") == 0
    await api.cluster("alpha")
    await api.cluster("beta")
    await api.instance("alpha-1", "alpha")
    found = await samples(app)
    assert value(found, "stilldb_clusters", **of_here, status="available") == 2
    assert value(found, "stilldb_instances", **of_here, status="available") == 1
    await api("DeleteDBCluster", DBClusterIdentifier="beta", SkipFinalSnapshot=True)
    await api.becomes("DBCluster", "beta", "gone")
    assert value(await samples(app), "stilldb_clusters", **of_here, status="available") == 1


async def test_pending_jobs_are_told(api: TwinApi) -> None:
    app = made(api)
    api.plane.volumes.gates["create"] = gate = asyncio.Event()
    await api("CreateDBCluster", DBClusterIdentifier="alpha", **GOOD)
    pending = {"account": "123456789012", "region": "us-east-1", "kind": "create-cluster"}
    assert value(await samples(app), "stilldb_jobs_pending", **pending) == 1
    gate.set()
    await api.becomes("DBCluster", "alpha", "available")
    assert value(await samples(app), "stilldb_jobs_pending", **pending) == 0


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("192.0.2.1", {}),
        (None, {}),
        ("not-an-address", {}),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}),
        ("127.0.0.1", {"forwarded": "for=192.0.2.1"}),
    ],
)
async def test_from_elsewhere_it_must_be_signed(
    api: TwinApi, client: str | None, headers: dict[str, str]
) -> None:
    app = made(api)
    status, body = await scraped(app, client, headers)
    assert (status, body.split(b":")[0]) == (403, b"MissingAuthenticationToken")
    request = signed(method="GET", body="", url="http://127.0.0.1:8010/metrics")
    named = {name: values[0] for name, values in request.headers.items()}
    status, body = await scraped(app, client, {**headers, **named})
    assert status == 200
    assert b"stilldb_clusters" in body


async def test_it_is_read_only(api: TwinApi) -> None:
    assert (await scraped(made(api), method="POST"))[0] == 405


def test_every_metric_is_in_the_documentation() -> None:
    documented = (pathlib.Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    names = set()
    for family in REGISTRY.collect():
        names.add(family.name + ("_total" if family.type == "counter" else ""))
        assert family.documentation.endswith("."), family.name
    assert "stilldb_clusters" in names
    assert [name for name in sorted(names) if f"`{name}`" not in documented] == []


async def test_how_far_an_archive_is_behind_is_told(api: TwinApi, monkeypatch: pytest.MonkeyPatch) -> None:
    app = made(api)
    await api.cluster("alpha")

    async def behind(key: VolumeKey) -> ArchiveState:
        return ArchiveState(3, 48 << 20, 61.5, 1, "the bucket does not answer")

    monkeypatch.setattr(api.plane.volumes, "archive_state", behind)
    api.plane.volumes.failing["maintain"] = 1  # the lag is told all the more when the care of a volume fails
    here = {"account": "123456789012", "region": "us-east-1", "cluster": "alpha"}

    async def told() -> bool:
        found = await samples(app)
        return (
            value(found, "stilldb_archive_lag_segments", **here) == 3
            and value(found, "stilldb_archive_lag_bytes", **here) == 48 << 20
            and value(found, "stilldb_archive_lag_seconds", **here) == 61.5
            and value(found, "stilldb_archive_gaps", **here) == 1
        )

    await until(told, seconds=20)
    await api("DeleteDBCluster", DBClusterIdentifier="alpha", SkipFinalSnapshot=True)
    await api.becomes("DBCluster", "alpha", "gone")
    assert not any(name.startswith("stilldb_archive") for name, _ in await samples(app))
