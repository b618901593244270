"""The commands: importing this registers every one of them."""

from __future__ import annotations

from stilldb.gateway.commands import (
    aggregate,
    authentication,
    count,
    create,
    cursors,
    delete,
    diagnostics,
    distinct,
    drop,
    explain,
    find,
    find_and_modify,
    hello,
    indexes,
    insert,
    list_collections,
    list_databases,
    sessions,
    stats,
    update,
)
from stilldb.gateway.registry import COMMANDS

__all__ = [
    "COMMANDS",
    "aggregate",
    "authentication",
    "count",
    "create",
    "cursors",
    "delete",
    "diagnostics",
    "distinct",
    "drop",
    "explain",
    "find",
    "find_and_modify",
    "hello",
    "indexes",
    "insert",
    "list_collections",
    "list_databases",
    "sessions",
    "stats",
    "update",
]
