"""What a client is told when a unique index refuses a document. Source: MongoDB's E11000 and its keyPattern, keyValue."""

from __future__ import annotations

from typing import Any

import asyncpg

from stilldb.documents.catalog import Collection
from stilldb.documents.indexes import ID_INDEX
from stilldb.query.errors import MongoError
from stilldb.query.values import Document


def duplicate_key(
    error: asyncpg.UniqueViolationError, collection: Collection, document: Document | None
) -> MongoError:
    """The error reply. ``document`` is the one refused, None when it is one of several."""
    table = str(error.table_name)
    spec = ID_INDEX
    for index in collection.indexes:
        if index.table == f"stilldb.{table}":
            spec = index.spec
    return refused(collection, spec, document)


def refused(collection: Collection, spec: Document, document: Document | None) -> MongoError:
    """The error of the index ``spec``."""
    message = f"E11000 duplicate key error collection: {collection.namespace} index: {spec['name']}"
    details: dict[str, Any] = {"keyPattern": spec["key"]}
    if document is not None:
        values = {path: _value(document, path) for path in spec["key"]}
        message += f" dup key: {_shown(values)}"
        details["keyValue"] = values
    return MongoError("DuplicateKey", message, details=details)


def _value(document: Any, path: str) -> Any:
    """The value at a path of documents; an array on the way is shown whole."""
    for part in path.split("."):
        if not isinstance(document, dict):
            return document
        document = document.get(part)
    return document


def _shown(values: dict[str, Any]) -> str:
    return "{ " + ", ".join(f"{path}: {_literal(value)}" for path, value in values.items()) + " }"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"ObjectId('{value}')" if type(value).__name__ == "ObjectId" else str(value)
