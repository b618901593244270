"""Values as MongoDB's error messages print them."""

from __future__ import annotations

from typing import Any

from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from stilldb.query.paths import as_document
from stilldb.query.values import MISSING, Document

_LONGEST = 200


def _text(value: Any) -> str:
    document = as_document(value)
    if document is not None:
        return document_text(document)
    if isinstance(value, list):
        return f"[ {', '.join(map(_text, value))} ]" if value else "[]"
    if isinstance(value, str):
        return f'"{value}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, ObjectId):
        return f"ObjectId('{value}')"
    if isinstance(value, DatetimeMS):
        return f"new Date({int(value)})"
    if isinstance(value, Decimal128):
        return f'NumberDecimal("{value}")'
    return str(int(value)) if isinstance(value, Int64) else str(value)


def document_text(document: Document) -> str:
    """A document in short."""
    inner = ", ".join(f"{name}: {_text(value)}" for name, value in document.items())
    return _cut(f"{{ {inner} }}") if inner else "{}"


def element_text(name: str, value: Any) -> str:
    """A field with its value."""
    return _cut(f"{{{name}: {_text(value)}}}")


def id_text(document: Document) -> str:
    """A document by its ``_id``."""
    own = document.get("_id", MISSING)
    return "{no id}" if own is MISSING else element_text("_id", own)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
