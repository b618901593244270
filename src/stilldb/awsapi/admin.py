"""The admin interface: verbs for what Amazon DocumentDB's API has no operation for, beside it and signed with the same keys.

``POST /_stilldb/v1/<Verb>`` with a JSON object of parameters -> 200 and a JSON object, or a fault's status and
``{code, message}``. A verb that may take long answers 202 and ``{job}`` at once: ``DescribeJob`` tells how far it is,
``CancelJob`` ends it (``awsapi.verbjobs``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from stilldb.awsapi import errors
from stilldb.awsapi.callers import Authenticator
from stilldb.awsapi.chain import Chain, Exchange
from stilldb.awsapi.context import Caller
from stilldb.awsapi.receive import receive
from stilldb.awsapi.verbjobs import VerbJobs
from stilldb.domain.faults import Fault, InvalidParameterValue, MissingParameter
from stilldb.domain.names import Scope

PATH: Final = "/_stilldb/v1/"

Params = Mapping[str, Any]
Progress = Callable[[int], None]
Run = Callable[[Any, Params, Progress], Awaitable[Mapping[str, Any]]]


class NoSuchVerb(Fault):
    """There is no verb of this name."""

    code = "NoSuchVerb"
    status = 404


class MalformedJson(Fault):
    """The body is no JSON object."""

    code = "SerializationException"


@dataclasses.dataclass(frozen=True, slots=True)
class Verb:
    """One verb. ``takes`` maps parameters to their type; those of ``needs`` must be there. A ``job`` may take long.

    ``run`` is given the tools of the caller's account and region, the parameters, and whom to tell the percentage done.
    """

    name: str
    takes: Mapping[str, type]
    needs: frozenset[str]
    job: bool
    run: Run

    def check(self, params: Params) -> None:
        """Refuse parameters that are unknown, missing or of another type."""
        for name, value in params.items():
            if name not in self.takes:
                raise InvalidParameterValue(f"{self.name} takes no parameter {name!r}.")
            kind = self.takes[name]
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise InvalidParameterValue(f"{name} must be of type {kind.__name__}.")
        for name in sorted(self.needs - params.keys()):
            raise MissingParameter.named(name)


VERBS: Final[dict[str, Verb]] = {}


def verb(name: str, *, job: bool = False, needs: str = "", **takes: type) -> Callable[[Run], Run]:
    """Register the function of a verb; ``needs`` is a blank-separated list of required parameters, ``takes`` types them all."""

    def register(run: Run) -> Run:
        VERBS[name] = Verb(name, takes, frozenset(needs.split()), job, run)
        return run

    return register


def _nobody(percent: int) -> None:
    """Nobody is told how far a verb is that answers at once."""


class Admin(Chain):
    """The verbs behind ``PATH``. ``tools_of`` gives what verbs of an account and region work with."""

    def __init__(
        self,
        verbs: Mapping[str, Verb],
        tools_of: Callable[[Scope], object],
        authenticate: Authenticator,
        jobs: VerbJobs,
    ) -> None:
        self._tools_of = tools_of
        self._authenticate = authenticate
        self._jobs = jobs
        own = (
            Verb("DescribeJob", {"job": str}, frozenset({"job"}), False, self._describe_job),
            Verb("CancelJob", {"job": str}, frozenset({"job"}), False, self._cancel_job),
        )
        self._own = {each.name: each for each in own}
        self._verbs = {**verbs, **self._own}

    async def respond(self, request: Request, exchange: Exchange) -> Response:
        """One verb: size and time limits, SigV4, JSON, declared parameters, run."""
        if request.method != "POST":
            raise errors.MethodNotAllowed(f"The method {request.method} is not allowed. Use POST.")
        received = await receive(request)
        caller = self._authenticate(received)
        found = self._verbs.get(request.url.path.removeprefix(PATH))
        if found is None:
            raise NoSuchVerb(
                f"There is no verb at {request.url.path}. There are {', '.join(sorted(self._verbs))}."
            )
        exchange.operation = found.name
        params = _parsed(received.body)
        found.check(params)
        return await self._run(found, caller, params, exchange.request_id)

    async def _run(self, found: Verb, caller: Caller, params: Params, request_id: str) -> Response:
        if found.name in self._own:
            return _response(await found.run(caller, params, _nobody), 200, request_id)
        tools = self._tools_of(caller.scope)
        if not found.job:
            return _response(await found.run(tools, params, _nobody), 200, request_id)
        job = self._jobs.start(caller.account, found.name, lambda told: found.run(tools, params, told))
        return _response({"job": job}, 202, request_id)

    def failure(self, fault: Fault, request_id: str) -> Response:
        """The JSON that tells a fault."""
        return _response({"code": fault.code, "message": fault.message}, fault.status, request_id)

    async def _describe_job(self, caller: Caller, params: Params, told: Progress) -> Mapping[str, Any]:
        return self._jobs.describe(caller.account, params["job"])

    async def _cancel_job(self, caller: Caller, params: Params, told: Progress) -> Mapping[str, Any]:
        await self._jobs.cancel(caller.account, params["job"])
        return {}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise MalformedJson(f"The body is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise MalformedJson("The body must be a JSON object with the parameters of the verb.")
    return found


def _response(content: Mapping[str, Any], status: int, request_id: str) -> Response:
    headers = {"x-amzn-requestid": request_id, "content-type": "application/json"}
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, headers)
