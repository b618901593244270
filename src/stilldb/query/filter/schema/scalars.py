"""Keywords about the type, the value or the size of one value."""

from __future__ import annotations

from typing import Any, Final

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.filter.core import Context
from stilldb.query.filter.element import parse_types, type_test
from stilldb.query.filter.patterns import pattern_test
from stilldb.query.filter.schema.core import (
    failed,
    keyword,
    mismatch,
    non_negative,
)
from stilldb.query.order import compare, hash_key
from stilldb.query.paths import Test
from stilldb.query.values import Document

_JSON_TYPES: Final = {
    "array": "array",
    "boolean": "bool",
    "null": "null",
    "number": "number",
    "object": "object",
    "string": "string",
}


@keyword("bsonType")
def _bson_type(value: Any, schema: Document, context: Context) -> Test:
    if not isinstance(value, str | list):
        raise mismatch("$jsonSchema keyword 'bsonType' must be either a string or an array of strings")
    return type_test(parse_types("$jsonSchema keyword 'bsonType'", value))


@keyword("type")
def _type(value: Any, schema: Document, context: Context) -> Test:
    names = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str):
            raise mismatch("$jsonSchema keyword 'type' must be either a string or an array of strings")
        if name == "integer":
            raise failed("$jsonSchema type 'integer' is not currently supported.")
        if name not in _JSON_TYPES:
            raise MongoError("BadValue", f"Unknown type name alias: {name}")
    return type_test(parse_types("$jsonSchema keyword 'type'", [_JSON_TYPES[name] for name in names]))


@keyword("enum")
def _enum(value: Any, schema: Document, context: Context) -> Test:
    if not isinstance(value, list):
        raise mismatch("$jsonSchema keyword 'enum' must be an array")
    if not value:
        raise failed("$jsonSchema keyword 'enum' cannot be an empty array")
    wanted = {hash_key(item) for item in value}
    return lambda item: hash_key(item) in wanted


@keyword("title", "description")
def _words(value: Any, schema: Document, context: Context) -> None:
    if not isinstance(value, str):
        raise mismatch("$jsonSchema keywords 'title' and 'description' must be of type string")


def _bound(name: str, exclusive: str, sign: int) -> None:
    @keyword(name)
    def parse(value: Any, schema: Document, context: Context) -> Test:
        if not numbers.kind(value):
            raise mismatch(f"$jsonSchema keyword '{name}' must be a number")
        least = 1 if schema.get(exclusive) is True else 0

        def test(item: Any) -> bool:
            return not numbers.kind(item) or compare(item, value) * sign >= least

        return test

    @keyword(exclusive)
    def check(value: Any, schema: Document, context: Context) -> None:
        if not isinstance(value, bool):
            raise mismatch(f"$jsonSchema keyword '{exclusive}' must be a boolean")
        if name not in schema:
            raise failed(f"$jsonSchema keyword '{name}' must be a present if {exclusive} is present")


_bound("minimum", "exclusiveMinimum", 1)
_bound("maximum", "exclusiveMaximum", -1)


@keyword("multipleOf")
def _multiple_of(value: Any, schema: Document, context: Context) -> Test:
    if not numbers.kind(value):
        raise mismatch("$jsonSchema keyword 'multipleOf' must be a number")
    if numbers.is_nan(value) or compare(value, 0) <= 0:
        raise failed("$jsonSchema keyword 'multipleOf' must have a positive value")
    divisor = numbers.to_decimal(value)

    def test(item: Any) -> bool:
        if not numbers.kind(item):
            return True
        exact = numbers.to_decimal(item)
        return exact.is_finite() and numbers.CONTEXT.remainder(exact, divisor) == 0

    return test


def _length(name: str, kind: type[Any], least: bool) -> None:
    @keyword(name)
    def parse(value: Any, schema: Document, context: Context) -> Test:
        count = non_negative(name, value)
        if least:
            return lambda item: not isinstance(item, kind) or len(item) >= count
        return lambda item: not isinstance(item, kind) or len(item) <= count


_length("minLength", str, True)
_length("maxLength", str, False)
_length("minItems", list, True)
_length("maxItems", list, False)
_length("minProperties", dict, True)
_length("maxProperties", dict, False)


@keyword("pattern")
def _pattern(value: Any, schema: Document, context: Context) -> Test:
    if not isinstance(value, str):
        raise mismatch("$jsonSchema keyword 'pattern' must be a string")
    found = pattern_test(value, "")
    return lambda item: not isinstance(item, str) or found(item)
