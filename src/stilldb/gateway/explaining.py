"""Explanations: the query planner's part from the documents, and what a run of the query shows."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from stilldb.documents.model import Aggregate, Find, Namespace
from stilldb.gateway.request import Request
from stilldb.query.values import Document

_WRITING = ("$out", "$merge")


def ends_in_collection(query: Aggregate) -> bool:
    """Whether the pipeline writes what comes out of it."""
    return bool(query.pipeline) and next(iter(query.pipeline[-1]), "") in _WRITING


async def explain_aggregate(request: Request, ns: Namespace, query: Aggregate, verbosity: str) -> Document:
    """The reply for a pipeline."""
    reply: Document = {"queryPlanner": await request.documents.explain_aggregate(ns, query)}
    if verbosity != "queryPlanner" and not ends_in_collection(query):
        reply["executionStats"] = await _stats(request.documents.aggregate(ns, query))
    return _ended(request, reply)


async def explain_find(request: Request, ns: Namespace, query: Find, *, run: bool) -> Document:
    """The reply for a query."""
    reply: Document = {"queryPlanner": await request.documents.explain_find(ns, query)}
    if run:
        reply["executionStats"] = await _stats(request.documents.find(ns, query))
    return _ended(request, reply)


async def _stats(source: Any) -> Document:
    begun = time.perf_counter()
    found = 0
    async with contextlib.aclosing(source) as batches:
        async for batch in batches:
            found += len(batch)
    return {
        "executionSuccess": True,
        "nReturned": found,
        "executionTimeMillis": round((time.perf_counter() - begun) * 1000),
    }


def _ended(request: Request, reply: Document) -> Document:
    endpoint = request.session.context.endpoint
    host, _, port = endpoint.me.rpartition(":")
    reply["serverInfo"] = {"host": host, "port": int(port), "version": endpoint.engine_version}
    reply["ok"] = 1.0
    return reply
