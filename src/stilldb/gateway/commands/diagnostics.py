"""What shells and monitors ask of a server about itself."""

from __future__ import annotations

import datetime
import os
import platform
import resource
import time
from typing import Any

from bson import Int64

from stilldb.gateway.registry import COMMANDS, command, ignored
from stilldb.gateway.request import Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document
from stilldb.wire.bsonguard import MAX_DOCUMENT

_LOGS = ("global", "startupWarnings")


@command("ping", auth=False)
async def ping(request: Request, values: dict[str, Any]) -> Document:
    """The gateway lives; whether PostgreSQL does, other commands tell."""
    return {"ok": 1.0}


@command("buildInfo", aliases=("buildinfo",), auth=False)
async def build_info(request: Request, values: dict[str, Any]) -> Document:
    """The version of MongoDB's interface that the engine version stands for."""
    version = request.session.context.endpoint.engine_version
    return {
        "version": version,
        "gitVersion": "stilldb",
        "modules": [],
        "versionArray": [*(int(part) for part in version.split(".")), 0],
        "bits": 64,
        "debug": False,
        "maxBsonObjectSize": MAX_DOCUMENT,
        "storageEngines": ["stilldb"],
        "ok": 1.0,
    }


@command("whatsmyuri", auth=False)
async def whats_my_uri(request: Request, values: dict[str, Any]) -> Document:
    """The client's address as the server sees it."""
    return {"you": request.session.remote, "ok": 1.0}


@command("getParameter", params=(*ignored("allParameters", "featureCompatibilityVersion"),), admin=True)
async def get_parameter(request: Request, values: dict[str, Any]) -> Document:
    """The one parameter that clients ask for."""
    asked = request.body["getParameter"]
    release = request.session.context.endpoint.engine_version.rpartition(".")[0]
    everything = asked == "*" or (isinstance(asked, dict) and asked.get("allParameters"))
    if not everything and "featureCompatibilityVersion" not in request.body:
        raise MongoError("InvalidOptions", "no option found to get")
    return {"featureCompatibilityVersion": {"version": release}, "ok": 1.0}


@command("getLog", admin=True)
async def get_log(request: Request, values: dict[str, Any]) -> Document:
    """No lines: logs are read where the instance runs."""
    asked = request.body["getLog"]
    if asked == "*":
        return {"names": list(_LOGS), "ok": 1.0}
    if asked not in _LOGS:
        raise MongoError("OperationFailed", f"No log named '{asked}'")
    return {"totalLinesWritten": 0, "log": [], "ok": 1.0}


@command("getCmdLineOpts", admin=True)
async def get_cmd_line_opts(request: Request, values: dict[str, Any]) -> Document:
    """No options of a client's concern."""
    return {"argv": ["stilldb"], "parsed": {}, "ok": 1.0}


@command("hostInfo", admin=True)
async def host_info(request: Request, values: dict[str, Any]) -> Document:
    """The instance's name and the machine's kind."""
    return {
        "system": {
            "currentTime": datetime.datetime.now(datetime.UTC),
            "hostname": request.session.context.endpoint.me,
            "cpuAddrSize": 64,
            "numCores": os.cpu_count() or 1,
            "cpuArch": platform.machine(),
        },
        "os": {"type": platform.system(), "name": "StillDB", "version": ""},
        "extra": {},
        "ok": 1.0,
    }


@command("serverStatus", params=(*ignored("repl", "metrics", "locks", "mirroredReads", "latchAnalysis"),))
async def server_status(request: Request, values: dict[str, Any]) -> Document:
    """How the gateway does."""
    context = request.session.context
    endpoint = context.endpoint
    uptime = time.monotonic() - context.started
    return {
        "host": endpoint.me,
        "version": endpoint.engine_version,
        "process": "stilldb",
        "pid": Int64(os.getpid()),
        "uptime": uptime,
        "uptimeMillis": Int64(uptime * 1000),
        "localTime": datetime.datetime.now(datetime.UTC),
        "connections": {
            "current": context.connections,
            "available": endpoint.max_connections - context.connections,
            "totalCreated": Int64(context.connections_made),
        },
        "opcounters": {"command": Int64(context.commands)},
        "metrics": {"cursor": {"open": {"total": Int64(len(context.cursors))}}},
        "mem": {"bits": 64, "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024},
        "repl": {
            "setName": endpoint.replica_set,
            "isWritablePrimary": endpoint.writer,
            "secondary": not endpoint.writer,
            "hosts": list(endpoint.hosts),
            "primary": endpoint.primary,
            "me": endpoint.me,
        },
        "ok": 1.0,
    }


@command("listCommands", auth=False)
async def list_commands(request: Request, values: dict[str, Any]) -> Document:
    """The commands there are, by name."""
    names = sorted({of.name for of in COMMANDS.values()})
    return {
        "commands": {
            name: {"help": COMMANDS[name].handler.__doc__ or "", "requiresAuth": COMMANDS[name].auth}
            for name in names
        },
        "ok": 1.0,
    }
