"""$jsonSchema. Source: MongoDB manual, "$jsonSchema", "Available Keywords"; JSON Schema draft 4.

Each keyword becomes a test of one value. A keyword about one type passes values of other types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.filter.core import Context, Predicate, conjunction, top_operator
from stilldb.query.order import bson_type_name
from stilldb.query.paths import Test
from stilldb.query.values import Document

# A keyword's parser gets its value, the schema around it and the context; None adds nothing.
Keyword = Callable[[Any, Document, Context], Test | None]
KEYWORDS: Final[dict[str, Keyword]] = {}
_REFUSED: Final = frozenset({"$ref", "$schema", "default", "definitions", "format", "id"})


def failed(message: str) -> MongoError:
    """The error for a keyword whose value is not allowed."""
    return MongoError("FailedToParse", message)


def mismatch(message: str) -> MongoError:
    """The error for a keyword whose value has the wrong type."""
    return MongoError("TypeMismatch", message)


@top_operator("$jsonSchema")
def _json_schema(argument: Any, context: Context) -> Predicate:
    if not isinstance(argument, dict):
        raise mismatch("$jsonSchema must be an object")
    return Predicate(parse_schema(argument, context), lambda document: None)


def parse_schema(spec: Document, context: Context) -> Test:
    """The test of a schema; raises MongoError for unknown keywords and malformed values."""
    context = context.deeper()
    if "type" in spec and "bsonType" in spec:
        raise failed("Cannot specify both $jsonSchema keywords 'type' and 'bsonType'")
    tests = []
    for name, value in spec.items():
        parser = KEYWORDS.get(name)
        if parser is None:
            words = f"$jsonSchema keyword '{name}' is not currently supported"
            raise failed(words if name in _REFUSED else f"Unknown $jsonSchema keyword: {name}")
        test = parser(value, spec, context)
        if test is not None:
            tests.append(test)
    return conjunction(tests)


def keyword(*names: str) -> Callable[[Keyword], Keyword]:
    """Register the parser of a keyword."""

    def register(parser: Keyword) -> Keyword:
        for name in names:
            KEYWORDS[name] = parser
        return parser

    return register


def schema_of(name: str, value: Any, context: Context) -> Test:
    """The test of the schema that is the value of the keyword ``name``."""
    if not isinstance(value, dict):
        raise mismatch(f"$jsonSchema keyword '{name}' must be an object, but found {bson_type_name(value)}")
    return parse_schema(value, context)


def non_negative(name: str, value: Any) -> int:
    """The whole number, not below zero, that is the value of the keyword ``name``."""
    if not numbers.kind(value):
        raise mismatch(f"$jsonSchema keyword '{name}' must be a number")
    count = numbers.integral(value)
    if count is None or count < 0:
        raise failed(f"$jsonSchema keyword '{name}' must be a non-negative integer")
    return count


def strings(name: str, value: Any) -> list[str]:
    """The different strings that are the value of the keyword ``name``."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise mismatch(f"$jsonSchema keyword '{name}' must be an array of strings")
    if not value:
        raise failed(f"$jsonSchema keyword '{name}' cannot be an empty array")
    if len(set(value)) != len(value):
        raise failed(f"$jsonSchema keyword '{name}' array cannot contain duplicate values")
    return value
