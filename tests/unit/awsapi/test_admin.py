"""The admin interface: verbs with declared parameters, long ones as jobs that are asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from stilldb.awsapi import admin, callers, verbjobs
from stilldb.awsapi.admin import Admin, Verb
from stilldb.awsapi.keys import AccessKey
from stilldb.awsapi.verbjobs import VerbJobs
from stilldb.awsapi.verbs import VERBS
from stilldb.domain.names import Scope
from support.asgi import Answer, call
from support.signing import KEY, REGION, SECRET, signed

OTHER = "AKIAOTHER234567AAAAA"


class Bench:
    """An Admin with verbs of the test, called with signed requests."""

    def __init__(self) -> None:
        self.jobs = VerbJobs()
        self.gate = asyncio.Event()
        self.cleaned_up = False
        keys = {KEY: AccessKey(KEY, SECRET), OTHER: AccessKey(OTHER, SECRET, "111122223333")}
        verbs = [
            Verb("Echo", {"text": str, "number": int, "flag": bool}, frozenset({"text"}), False, self.echo),
            Verb("Long", {"fail": str}, frozenset(), True, self.long),
        ]
        self.app = Admin(
            {each.name: each for each in verbs},
            lambda scope: scope,
            callers.signed([REGION], keys.get),
            self.jobs,
        )

    async def echo(self, tools: Scope, params: Mapping[str, Any], told: admin.Progress) -> Mapping[str, Any]:
        return {"account": tools.account, "region": tools.region, **params}

    async def long(self, tools: Scope, params: Mapping[str, Any], told: admin.Progress) -> Mapping[str, Any]:
        told(40)
        try:
            await self.gate.wait()
        finally:
            self.cleaned_up = True
        if params.get("fail") == "fault":
            raise verbjobs.TooManyJobs("enough")
        if params.get("fail"):
            raise KeyError("the secret of the house")
        return {"account": tools.account}

    async def __call__(self, verb: str, body: Any = None, *, key: str = KEY, method: str = "POST") -> Answer:
        text = body if isinstance(body, str) else json.dumps(body or {})
        url = f"http://127.0.0.1:8010{admin.PATH}{verb}"
        request = signed(body=text, url=url, key=key, method=method)
        headers = {name: values[0] for name, values in request.headers.items()}
        return await call(self.app, request.body, method=method, path=f"{admin.PATH}{verb}", headers=headers)

    async def ended(self, job: str) -> dict[str, Any]:
        for _ in range(200):
            told = json.loads((await self("DescribeJob", {"job": job})).body)
            if told["state"] != "running":
                return dict(told)
            await asyncio.sleep(0.005)
        raise AssertionError("the job goes on and on")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.jobs.close()


async def test_a_verb_answers_for_the_account_of_the_key(bench: Bench) -> None:
    answer = await bench("Echo", {"text": "x"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-amzn-requestid"]
    assert json.loads(answer.body) == {"account": "123456789012", "region": REGION, "text": "x"}
    assert json.loads((await bench("Echo", {"text": "x"}, key=OTHER)).body)["account"] == "111122223333"


@pytest.mark.parametrize(
    ("verb", "body", "status", "code"),
    [
        ("Explode", {}, 404, "NoSuchVerb"),
        ("", {}, 404, "NoSuchVerb"),
        ("Echo", {}, 400, "MissingParameter"),
        ("Echo", {"text": 1}, 400, "InvalidParameterValue"),
        ("Echo", {"text": None}, 400, "InvalidParameterValue"),
        ("Echo", {"text": "x", "number": True}, 400, "InvalidParameterValue"),
        ("Echo", {"text": "x", "flag": 1}, 400, "InvalidParameterValue"),
        ("Echo", {"text": "x", "more": "y"}, 400, "InvalidParameterValue"),
        ("Echo", "{", 400, "SerializationException"),
        ("Echo", "[]", 400, "SerializationException"),
        ("Echo", '{"text": NaN}', 400, "SerializationException"),
        ("Echo", '"' + "x" * (1 << 20) + '"', 413, "RequestEntityTooLarge"),
        ("DescribeJob", {"job": "x"}, 404, "JobNotFound"),
        ("DescribeJob", {}, 400, "MissingParameter"),
    ],
)
async def test_what_is_wrong_is_told_as_json(
    bench: Bench, verb: str, body: Any, status: int, code: str
) -> None:
    answer = await bench(verb, body)
    told = json.loads(answer.body)
    assert (answer.status, told["code"]) == (status, code)
    assert set(told) == {"code", "message"}


async def test_only_signed_posts_are_taken(bench: Bench) -> None:
    assert (await bench("Echo", {"text": "x"}, method="PUT")).status == 405
    answer = await call(bench.app, b'{"text": "x"}', path=f"{admin.PATH}Echo")
    assert (answer.status, json.loads(answer.body)["code"]) == (403, "MissingAuthenticationToken")


async def test_a_long_verb_is_begun_told_of_and_done(bench: Bench) -> None:
    answer = await bench("Long")
    assert answer.status == 202
    job = json.loads(answer.body)["job"]
    await asyncio.sleep(0)
    told = json.loads((await bench("DescribeJob", {"job": job})).body)
    assert told == {"job": job, "verb": "Long", "progress": 40, "state": "running"}
    bench.gate.set()
    done = {"job": job, "verb": "Long", "progress": 100, "state": "done"}
    assert await bench.ended(job) == {**done, "result": {"account": "123456789012"}}


async def test_jobs_are_of_the_account_that_began_them(bench: Bench) -> None:
    job = json.loads((await bench("Long")).body)["job"]
    for verb in ("DescribeJob", "CancelJob"):
        assert (await bench(verb, {"job": job}, key=OTHER)).status == 404
    assert json.loads((await bench("DescribeJob", {"job": job})).body)["state"] == "running"


async def test_a_job_fails_with_its_fault_and_hides_what_is_none(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.gate.set()
    job = json.loads((await bench("Long", {"fail": "fault"})).body)["job"]
    assert (await bench.ended(job))["error"] == {"code": "ThrottlingException", "message": "enough"}
    assert not caplog.records
    job = json.loads((await bench("Long", {"fail": "x"})).body)["job"]
    error = (await bench.ended(job))["error"]
    assert error["code"] == "InternalFailure"
    assert "secret" not in error["message"]
    assert job in error["message"]
    assert job in caplog.text


async def test_a_cancelled_job_has_cleaned_up(bench: Bench) -> None:
    job = json.loads((await bench("Long")).body)["job"]
    await asyncio.sleep(0)
    assert (await bench("CancelJob", {"job": job})).status == 200
    assert bench.cleaned_up
    assert (await bench.ended(job))["error"]["code"] == "JobCancelled"


async def test_a_job_that_never_began_can_be_cancelled_too(bench: Bench) -> None:
    job = bench.jobs.start("123456789012", "Long", lambda told: bench.long(Scope("1", "2"), {}, told))
    await bench.jobs.cancel("123456789012", job)
    assert (await bench.ended(job))["error"]["code"] == "JobCancelled"


async def test_an_account_has_so_many_jobs_at_once(bench: Bench) -> None:
    for _ in range(verbjobs.MOST_RUNNING):
        assert (await bench("Long")).status == 202
    answer = await bench("Long")
    assert (answer.status, json.loads(answer.body)["code"]) == (429, "ThrottlingException")
    assert (await bench("Long", key=OTHER)).status == 202


async def test_outcomes_are_not_kept_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.gate.set()
    job = json.loads((await bench("Long")).body)["job"]
    await bench.ended(job)
    monkeypatch.setattr(verbjobs, "KEPT", 0.0)
    await bench("Long")
    assert (await bench("DescribeJob", {"job": job})).status == 404


def test_every_verb_declares_what_it_needs() -> None:
    for verb in VERBS.values():
        assert verb.needs <= set(verb.takes), verb.name
