"""hello and its older name isMaster: what a client learns of the server, and how a driver watches it.

Source: MongoDB's Server Discovery And Monitoring and Handshake specifications.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from typing import Any

from bson import ObjectId

from stilldb.gateway import auth
from stilldb.gateway.registry import Param, command, ignored, whole
from stilldb.gateway.request import Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document
from stilldb.util.log import event
from stilldb.wire.bsonguard import MAX_DOCUMENT
from stilldb.wire.compression import COMPRESSORS
from stilldb.wire.frames import MAX_MESSAGE
from stilldb.wire.scram import MECHANISMS

log = logging.getLogger("stilldb.gateway")

MAX_WRITE_BATCH = 100_000
_SESSION_MINUTES = 30
_LONGEST_WAIT = 60_000  # milliseconds

# The wire version that an engine version speaks. Today's drivers refuse servers below 9 (MongoDB 4.4: PyMongo 4.14 and
# newer) or 8 (Node 6.x, Java 5.x, Go 2.x), so the two oldest engines name 9 where Amazon's name 6 and 7. 5.0 is 13 as
# Amazon's. 8.0 names 21 (MongoDB 7.0): 25 would only tell drivers to send the bulkWrite command, which no engine has.
_WIRE_VERSIONS = {"3.6": 9, "4.0": 9, "5.0": 13, "8.0": 21}
_NEWEST_WIRE_VERSION = 21

_PARAMS = (
    Param("helloOk", bool),
    Param("client", dict),
    Param("compression", list),
    Param("saslSupportedMechs", str),
    Param("speculativeAuthenticate", dict),
    Param("topologyVersion", dict),
    Param("maxAwaitTimeMS", int),
    *ignored("hostInfo", "internalClient", "loadBalanced", "backpressure", "forShell"),
)


@command("hello", params=_PARAMS, auth=False)
async def hello(request: Request, values: dict[str, Any]) -> Document:
    """The handshake, or a monitor's heartbeat."""
    return await _answer(request, values, legacy=False)


@command("isMaster", params=_PARAMS, aliases=("ismaster",), auth=False)
async def is_master(request: Request, values: dict[str, Any]) -> Document:
    """The same by its older name, and with the older name of its result."""
    return await _answer(request, values, legacy=True)


async def _answer(request: Request, values: dict[str, Any], *, legacy: bool) -> Document:
    await _await_news(request, values)
    reply = describe(request, legacy=legacy)
    if values["helloOk"]:
        reply["helloOk"] = True
    if values["compression"]:
        reply["compression"] = _agree_on_compression(request, values["compression"])
    if values["saslSupportedMechs"] is not None:
        reply["saslSupportedMechs"] = list(
            MECHANISMS
        )  # of every user, so that it tells of none whether it exists
    if values["speculativeAuthenticate"] is not None:
        step = await _speculate(request, values["speculativeAuthenticate"])
        if step is not None:
            reply["speculativeAuthenticate"] = step
    if values["client"] is not None:
        _log_client(request, values["client"])
    reply["ok"] = 1.0
    return reply


def describe(request: Request, *, legacy: bool) -> Document:
    """What holds for every client: the replica set, the limits, the versions."""
    context = request.session.context
    endpoint = context.endpoint
    reply: Document = {
        "topologyVersion": context.topology_version,
        "hosts": list(endpoint.hosts),
        "setName": endpoint.replica_set,
        "setVersion": 1,
        "ismaster" if legacy else "isWritablePrimary": endpoint.writer,
        "secondary": not endpoint.writer,
        "primary": endpoint.primary,
        "me": endpoint.me,
    }
    if endpoint.writer:  # drivers take the greatest for the primary, so a new incarnation outranks the old
        reply["electionId"] = ObjectId(f"7fffffff{endpoint.incarnation:016x}")
    reply |= {
        "maxBsonObjectSize": MAX_DOCUMENT,
        "maxMessageSizeBytes": MAX_MESSAGE,
        "maxWriteBatchSize": MAX_WRITE_BATCH,
        "localTime": datetime.datetime.now(datetime.UTC),
    }
    release = endpoint.engine_version.rpartition(".")[0]
    if release != "3.6":  # which has no sessions
        reply["logicalSessionTimeoutMinutes"] = _SESSION_MINUTES
    reply |= {
        "connectionId": request.session.connection_id,
        "minWireVersion": 0,
        "maxWireVersion": _WIRE_VERSIONS.get(release, _NEWEST_WIRE_VERSION),
        "readOnly": False,
    }
    return reply


async def _await_news(request: Request, values: dict[str, Any]) -> None:
    """Where the client knows the topology, wait until it changes, which it does not, or for as long as it says."""
    known, milliseconds = values["topologyVersion"], values["maxAwaitTimeMS"]
    if (known is None) != (milliseconds is None):
        raise MongoError(
            "Location31368",
            "A request with a 'topologyVersion' must include 'maxAwaitTimeMS', and the other way",
        )
    if known is None:
        return
    if milliseconds > _LONGEST_WAIT:
        milliseconds = _LONGEST_WAIT
    request.more = request.exhaust
    current = request.session.context.topology_version
    if known.get("processId") == current["processId"]:
        await asyncio.sleep(whole("hello", "maxAwaitTimeMS", milliseconds) / 1000)
    elif request.exhaust:
        request.body["topologyVersion"] = current


def _agree_on_compression(request: Request, offered: list[Any]) -> list[str]:
    agreed = tuple(name for name in offered if isinstance(name, str) and name in COMPRESSORS)
    request.session.compressors = agreed
    return list(agreed)


async def _speculate(request: Request, asked: Document) -> Document | None:
    """The first step of an authentication, taken with the handshake; None where it can't be, and the client asks again."""
    mechanism, payload = asked.get("mechanism"), asked.get("payload")
    if "saslStart" not in asked or not isinstance(mechanism, str):
        return None
    options = asked.get("options")
    try:
        step = await auth.start(
            request.session, mechanism, payload, options if isinstance(options, dict) else None
        )
    except (MongoError, OSError):
        return None
    del step["ok"]
    return step


def _log_client(request: Request, client: Document) -> None:
    driver = client.get("driver")
    if isinstance(driver, dict):
        log.debug(
            event("client", connection=request.session.connection_id, driver=str(driver.get("name"))[:64])
        )
