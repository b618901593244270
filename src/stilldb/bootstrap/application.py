"""The HTTP application over the management plane of every account and region."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from stilldb import __version__
from stilldb.awsapi import admin, app, callers, scrape
from stilldb.awsapi.context import RequestContext
from stilldb.awsapi.keys import KeyFile
from stilldb.awsapi.operations import OPERATIONS, Operation
from stilldb.awsapi.verbjobs import VerbJobs
from stilldb.awsapi.verbs import VERBS
from stilldb.bootstrap.options import ServeOptions
from stilldb.bootstrap.toolboxes import Toolboxes
from stilldb.control import gauges
from stilldb.control.context import Controls
from stilldb.node.tls import Authority


def handler(controls: Controls, operation: Operation) -> app.Handler:
    """What the request chain calls for an operation: the caller's account and region answer."""

    async def handle(context: RequestContext, params: Mapping[str, Any]) -> Mapping[str, Any]:
        operation.check(params)
        return await operation.run(controls.of(context.caller.scope), params)

    return handle


def application(
    options: ServeOptions,
    controls: Controls,
    toolboxes: Toolboxes,
    authority: Authority,
    keys: KeyFile,
    jobs: VerbJobs,
) -> Starlette:
    """Everything that the service answers by HTTP."""
    who = callers.anyone if options.auth == "any" else callers.signed
    authenticate = who(options.regions, keys.find)
    verbs = admin.Admin(VERBS, toolboxes.of, authenticate, jobs)

    looks = [functools.partial(gauges.look, controls.store)]

    async def ca_bundle(_: Request) -> Response:
        return FileResponse(authority.bundle, media_type="application/x-pem-file")

    async def health(_: Request) -> Response:
        known = {"region": options.region, "regions": list(options.regions)}
        return JSONResponse({"status": "serving", "version": __version__, **known})

    routes = [
        Route("/_stilldb/ca-bundle.pem", ca_bundle),
        Route("/_stilldb/health", health),
        Route(admin.PATH + "{verb:path}", verbs),
        Route(scrape.PATH, scrape.Scrape(authenticate, looks)),
    ]
    handlers = {name: handler(controls, operation) for name, operation in OPERATIONS.items()}
    return app.build(handlers, authenticate, routes)
