"""explain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stilldb.documents.model import Aggregate, Find
from stilldb.gateway import registry
from stilldb.gateway.commands import aggregate, count, delete, find, find_and_modify, update
from stilldb.gateway.explaining import explain_aggregate, explain_find
from stilldb.gateway.registry import REQUIRED, Param, command
from stilldb.gateway.request import Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document

_VERBOSITIES = ("queryPlanner", "executionStats", "allPlansExecution")


@command("explain", params=(Param("explain", dict, REQUIRED), Param("verbosity", str, "queryPlanner")))
async def explain(request: Request, values: dict[str, Any]) -> Document:
    """How a command would be answered; with executionStats a read is run, a write never."""
    verbosity = values["verbosity"]
    if verbosity not in _VERBOSITIES:
        raise MongoError(
            "BadValue", f"verbosity string must be one of {{{', '.join(map(repr, _VERBOSITIES))}}}"
        )
    inner: Document = {**values["explain"], "$db": request.database}
    name = next(iter(inner))
    asked = Request(request.session, name, request.database, inner, {})
    of = registry.find(name)
    if of.name not in _QUERIES:
        raise MongoError("CommandNotFound", f"Explain failed due to unknown command: {name}")
    query = _QUERIES[of.name](registry.validated(of, asked))
    if isinstance(query, Aggregate):
        return await explain_aggregate(request, asked.namespace(), query, verbosity)
    run = verbosity != "queryPlanner" and not of.writes
    return await explain_find(request, asked.namespace(), query, run=run)


def _distinct(values: dict[str, Any]) -> Find:
    return Find(filter=values["query"] or {})


def _find_and_modify(values: dict[str, Any]) -> Find:
    asked = find_and_modify.statement(values)
    return Find(filter=asked.filter, sort=asked.sort, projection=asked.projection, limit=1, hint=asked.hint)


def _one_statement(values: dict[str, Any], field: str) -> Document:
    given = values[field]
    if len(given) != 1 or not isinstance(given[0], dict):
        raise MongoError("InvalidLength", "explained write batches must be of size 1")
    found: Document = given[0]
    return found


def _update(values: dict[str, Any]) -> Find:
    asked = update.statement(_one_statement(values, "updates"))
    return Find(filter=asked.filter, limit=0 if asked.multi else 1, hint=asked.hint)


def _delete(values: dict[str, Any]) -> Find:
    asked = delete.statement(_one_statement(values, "deletes"))
    return Find(filter=asked.filter, limit=1 if asked.one else 0, hint=asked.hint)


_QUERIES: Mapping[str, Callable[[dict[str, Any]], Find | Aggregate]] = {
    "find": find.query,
    "aggregate": aggregate.query,
    "count": count.query,
    "distinct": _distinct,
    "findAndModify": _find_and_modify,
    "update": _update,
    "delete": _delete,
}
