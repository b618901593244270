"""Keywords that join schemas: allOf, anyOf, oneOf, not."""

from __future__ import annotations

from typing import Any

from stilldb.query.errors import MongoError
from stilldb.query.filter.core import Context, conjunction
from stilldb.query.filter.schema.core import (
    keyword,
    mismatch,
    schema_of,
)
from stilldb.query.paths import Test
from stilldb.query.values import Document


def _schemas(name: str, value: Any, context: Context) -> list[Test]:
    if not isinstance(value, list):
        raise mismatch(f"$jsonSchema keyword '{name}' must be an array")
    if not value:
        raise MongoError("BadValue", f"$jsonSchema keyword '{name}' must be a non-empty array")
    return [schema_of(name, item, context) for item in value]


@keyword("allOf")
def _all_of(value: Any, schema: Document, context: Context) -> Test:
    return conjunction(_schemas("allOf", value, context))


@keyword("anyOf")
def _any_of(value: Any, schema: Document, context: Context) -> Test:
    tests = _schemas("anyOf", value, context)
    return lambda item: any(test(item) for test in tests)


@keyword("oneOf")
def _one_of(value: Any, schema: Document, context: Context) -> Test:
    tests = _schemas("oneOf", value, context)
    return lambda item: sum(test(item) for test in tests) == 1


@keyword("not")
def _not(value: Any, schema: Document, context: Context) -> Test:
    test = schema_of("not", value, context)
    return lambda item: not test(item)
