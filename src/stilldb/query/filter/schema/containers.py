"""Keywords about what arrays and objects hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stilldb.query.filter.core import Context
from stilldb.query.filter.patterns import pattern_test
from stilldb.query.filter.schema.core import (
    keyword,
    mismatch,
    parse_schema,
    schema_of,
    strings,
)
from stilldb.query.order import hash_key
from stilldb.query.paths import Test, as_document
from stilldb.query.values import Document


@keyword("uniqueItems")
def _unique_items(value: Any, schema: Document, context: Context) -> Test | None:
    if not isinstance(value, bool):
        raise mismatch("$jsonSchema keyword 'uniqueItems' must be a boolean")
    if not value:
        return None
    return lambda item: not isinstance(item, list) or len({hash_key(part) for part in item}) == len(item)


@keyword("items")
def _items(value: Any, schema: Document, context: Context) -> Test:
    if isinstance(value, list):
        tests = [schema_of("items", item, context) for item in value]
        return lambda item: (
            not isinstance(item, list) or all(test(part) for test, part in zip(tests, item, strict=False))
        )
    test = schema_of("items", value, context)
    return lambda item: not isinstance(item, list) or all(test(part) for part in item)


@keyword("additionalItems")
def _additional_items(value: Any, schema: Document, context: Context) -> Test | None:
    test = _yes_no_or_schema("additionalItems", value, context)
    if not isinstance(schema.get("items"), list):
        return None
    count = len(schema["items"])
    return lambda item: not isinstance(item, list) or all(test(part) for part in item[count:])


def _yes_no_or_schema(name: str, value: Any, context: Context) -> Test:
    if isinstance(value, bool):
        return lambda item: value
    if not isinstance(value, dict):
        raise mismatch(f"$jsonSchema keyword '{name}' must be either an object or a boolean")
    return parse_schema(value, context)


# Objects.


@keyword("required")
def _required(value: Any, schema: Document, context: Context) -> Test:
    names = strings("required", value)
    return _of_document(lambda document: all(name in document for name in names))


def _of_document(test: Callable[[Document], bool]) -> Test:
    def check(item: Any) -> bool:
        document = as_document(item)
        return document is None or test(document)

    return check


def _named_schemas(name: str, value: Any, context: Context) -> dict[str, Test]:
    if not isinstance(value, dict):
        raise mismatch(f"$jsonSchema keyword '{name}' must be an object")
    return {key: schema_of(f"{name}.{key}", item, context) for key, item in value.items()}


@keyword("properties")
def _properties(value: Any, schema: Document, context: Context) -> Test:
    tests = _named_schemas("properties", value, context)
    return _of_document(
        lambda document: all(test(document[name]) for name, test in tests.items() if name in document)
    )


@keyword("patternProperties")
def _pattern_properties(value: Any, schema: Document, context: Context) -> Test:
    tests = _named_schemas("patternProperties", value, context)
    pairs = [(pattern_test(pattern, ""), test) for pattern, test in tests.items()]
    return _of_document(
        lambda document: all(
            test(item) for name, item in document.items() for found, test in pairs if found(name)
        )
    )


@keyword("additionalProperties")
def _additional_properties(value: Any, schema: Document, context: Context) -> Test:
    test = _yes_no_or_schema("additionalProperties", value, context)
    known = set(schema.get("properties", {}))
    patterns = [pattern_test(pattern, "") for pattern in schema.get("patternProperties", {})]

    def additional(name: str) -> bool:
        return name not in known and not any(found(name) for found in patterns)

    return _of_document(
        lambda document: all(test(item) for name, item in document.items() if additional(name))
    )


@keyword("dependencies")
def _dependencies(value: Any, schema: Document, context: Context) -> Test:
    if not isinstance(value, dict):
        raise mismatch("$jsonSchema keyword 'dependencies' must be an object")
    tests = {name: _dependency(name, item, context) for name, item in value.items()}
    return _of_document(
        lambda document: all(test(document) for name, test in tests.items() if name in document)
    )


def _dependency(name: str, value: Any, context: Context) -> Test:
    if isinstance(value, list):
        names = strings(f"dependencies.{name}", value)
        return lambda document: all(item in document for item in names)
    return schema_of(f"dependencies.{name}", value, context)
