"""$jsonSchema. Source: MongoDB manual, "$jsonSchema", "Available Keywords"; JSON Schema draft 4.

Each keyword becomes a test of one value. A keyword about one type passes values of other types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.filter.core import Context, Predicate, conjunction, top_operator
from stilldb.query.filter.element import parse_types, type_test
from stilldb.query.filter.patterns import pattern_test
from stilldb.query.order import bson_type_name, compare, hash_key
from stilldb.query.paths import Test, as_document
from stilldb.query.values import Document

# A keyword's parser gets its value, the schema around it and the context; None adds nothing.
Keyword = Callable[[Any, Document, Context], Test | None]
KEYWORDS: Final[dict[str, Keyword]] = {}
_REFUSED: Final = frozenset({"$ref", "$schema", "default", "definitions", "format", "id"})
_JSON_TYPES: Final = {
    "array": "array",
    "boolean": "bool",
    "null": "null",
    "number": "number",
    "object": "object",
    "string": "string",
}


def _failed(message: str) -> MongoError:
    return MongoError("FailedToParse", message)


def _mismatch(message: str) -> MongoError:
    return MongoError("TypeMismatch", message)


@top_operator("$jsonSchema")
def _json_schema(argument: Any, context: Context) -> Predicate:
    if not isinstance(argument, dict):
        raise _mismatch("$jsonSchema must be an object")
    return Predicate(parse_schema(argument, context), lambda document: None)


def parse_schema(spec: Document, context: Context) -> Test:
    """The test of a schema; raises MongoError for unknown keywords and malformed values."""
    context = context.deeper()
    if "type" in spec and "bsonType" in spec:
        raise _failed("Cannot specify both $jsonSchema keywords 'type' and 'bsonType'")
    tests = []
    for name, value in spec.items():
        parser = KEYWORDS.get(name)
        if parser is None:
            words = f"$jsonSchema keyword '{name}' is not currently supported"
            raise _failed(words if name in _REFUSED else f"Unknown $jsonSchema keyword: {name}")
        test = parser(value, spec, context)
        if test is not None:
            tests.append(test)
    return conjunction(tests)


def _keyword(*names: str) -> Callable[[Keyword], Keyword]:
    def register(parser: Keyword) -> Keyword:
        for name in names:
            KEYWORDS[name] = parser
        return parser

    return register


def _schema_of(name: str, value: Any, context: Context) -> Test:
    if not isinstance(value, dict):
        raise _mismatch(f"$jsonSchema keyword '{name}' must be an object, but found {bson_type_name(value)}")
    return parse_schema(value, context)


def _count(name: str, value: Any) -> int:
    if not numbers.kind(value):
        raise _mismatch(f"$jsonSchema keyword '{name}' must be a number")
    count = numbers.integral(value)
    if count is None or count < 0:
        raise _failed(f"$jsonSchema keyword '{name}' must be a non-negative integer")
    return count


def _strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _mismatch(f"$jsonSchema keyword '{name}' must be an array of strings")
    if not value:
        raise _failed(f"$jsonSchema keyword '{name}' cannot be an empty array")
    if len(set(value)) != len(value):
        raise _failed(f"$jsonSchema keyword '{name}' array cannot contain duplicate values")
    return value


@_keyword("bsonType")
def _bson_type(value: Any, schema: Document, context: Context) -> Test:
    if not isinstance(value, str | list):
        raise _mismatch("$jsonSchema keyword 'bsonType' must be either a string or an array of strings")
    return type_test(parse_types("$jsonSchema keyword 'bsonType'", value))


@_keyword("type")
def _type(value: Any, schema: Document, context: Context) -> Test:
    names = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str):
            raise _mismatch("$jsonSchema keyword 'type' must be either a string or an array of strings")
        if name == "integer":
            raise _failed("$jsonSchema type 'integer' is not currently supported.")
        if name not in _JSON_TYPES:
            raise MongoError("BadValue", f"Unknown type name alias: {name}")
    return type_test(parse_types("$jsonSchema keyword 'type'", [_JSON_TYPES[name] for name in names]))


@_keyword("enum")
def _enum(value: Any, schema: Document, context: Context) -> Test:
    if not isinstance(value, list):
        raise _mismatch("$jsonSchema keyword 'enum' must be an array")
    if not value:
        raise _failed("$jsonSchema keyword 'enum' cannot be an empty array")
    wanted = {hash_key(item) for item in value}
    return lambda item: hash_key(item) in wanted


@_keyword("title", "description")
def _words(value: Any, schema: Document, context: Context) -> None:
    if not isinstance(value, str):
        raise _mismatch("$jsonSchema keywords 'title' and 'description' must be of type string")


# Numbers and strings.


def _bound(name: str, exclusive: str, sign: int) -> None:
    @_keyword(name)
    def parse(value: Any, schema: Document, context: Context) -> Test:
        if not numbers.kind(value):
            raise _mismatch(f"$jsonSchema keyword '{name}' must be a number")
        least = 1 if schema.get(exclusive) is True else 0

        def test(item: Any) -> bool:
            return not numbers.kind(item) or compare(item, value) * sign >= least

        return test

    @_keyword(exclusive)
    def check(value: Any, schema: Document, context: Context) -> None:
        if not isinstance(value, bool):
            raise _mismatch(f"$jsonSchema keyword '{exclusive}' must be a boolean")
        if name not in schema:
            raise _failed(f"$jsonSchema keyword '{name}' must be a present if {exclusive} is present")


_bound("minimum", "exclusiveMinimum", 1)
_bound("maximum", "exclusiveMaximum", -1)


@_keyword("multipleOf")
def _multiple_of(value: Any, schema: Document, context: Context) -> Test:
    if not numbers.kind(value):
        raise _mismatch("$jsonSchema keyword 'multipleOf' must be a number")
    if numbers.is_nan(value) or compare(value, 0) <= 0:
        raise _failed("$jsonSchema keyword 'multipleOf' must have a positive value")
    divisor = numbers.to_decimal(value)

    def test(item: Any) -> bool:
        if not numbers.kind(item):
            return True
        exact = numbers.to_decimal(item)
        return exact.is_finite() and numbers.CONTEXT.remainder(exact, divisor) == 0

    return test


def _length(name: str, kind: type[Any], least: bool) -> None:
    @_keyword(name)
    def parse(value: Any, schema: Document, context: Context) -> Test:
        count = _count(name, value)
        if least:
            return lambda item: not isinstance(item, kind) or len(item) >= count
        return lambda item: not isinstance(item, kind) or len(item) <= count


_length("minLength", str, True)
_length("maxLength", str, False)
_length("minItems", list, True)
_length("maxItems", list, False)
_length("minProperties", dict, True)
_length("maxProperties", dict, False)


@_keyword("pattern")
def _pattern(value: Any, schema: Document, context: Context) -> Test:
    if not isinstance(value, str):
        raise _mismatch("$jsonSchema keyword 'pattern' must be a string")
    found = pattern_test(value, "")
    return lambda item: not isinstance(item, str) or found(item)


# Schemas of schemas.


def _schemas(name: str, value: Any, context: Context) -> list[Test]:
    if not isinstance(value, list):
        raise _mismatch(f"$jsonSchema keyword '{name}' must be an array")
    if not value:
        raise MongoError("BadValue", f"$jsonSchema keyword '{name}' must be a non-empty array")
    return [_schema_of(name, item, context) for item in value]


@_keyword("allOf")
def _all_of(value: Any, schema: Document, context: Context) -> Test:
    return conjunction(_schemas("allOf", value, context))


@_keyword("anyOf")
def _any_of(value: Any, schema: Document, context: Context) -> Test:
    tests = _schemas("anyOf", value, context)
    return lambda item: any(test(item) for test in tests)


@_keyword("oneOf")
def _one_of(value: Any, schema: Document, context: Context) -> Test:
    tests = _schemas("oneOf", value, context)
    return lambda item: sum(test(item) for test in tests) == 1


@_keyword("not")
def _not(value: Any, schema: Document, context: Context) -> Test:
    test = _schema_of("not", value, context)
    return lambda item: not test(item)


# Arrays.


@_keyword("uniqueItems")
def _unique_items(value: Any, schema: Document, context: Context) -> Test | None:
    if not isinstance(value, bool):
        raise _mismatch("$jsonSchema keyword 'uniqueItems' must be a boolean")
    if not value:
        return None
    return lambda item: not isinstance(item, list) or len({hash_key(part) for part in item}) == len(item)


@_keyword("items")
def _items(value: Any, schema: Document, context: Context) -> Test:
    if isinstance(value, list):
        tests = [_schema_of("items", item, context) for item in value]
        return lambda item: (
            not isinstance(item, list) or all(test(part) for test, part in zip(tests, item, strict=False))
        )
    test = _schema_of("items", value, context)
    return lambda item: not isinstance(item, list) or all(test(part) for part in item)


@_keyword("additionalItems")
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
        raise _mismatch(f"$jsonSchema keyword '{name}' must be either an object or a boolean")
    return parse_schema(value, context)


# Objects.


@_keyword("required")
def _required(value: Any, schema: Document, context: Context) -> Test:
    names = _strings("required", value)
    return _of_document(lambda document: all(name in document for name in names))


def _of_document(test: Callable[[Document], bool]) -> Test:
    def check(item: Any) -> bool:
        document = as_document(item)
        return document is None or test(document)

    return check


def _named_schemas(name: str, value: Any, context: Context) -> dict[str, Test]:
    if not isinstance(value, dict):
        raise _mismatch(f"$jsonSchema keyword '{name}' must be an object")
    return {key: _schema_of(f"{name}.{key}", item, context) for key, item in value.items()}


@_keyword("properties")
def _properties(value: Any, schema: Document, context: Context) -> Test:
    tests = _named_schemas("properties", value, context)
    return _of_document(
        lambda document: all(test(document[name]) for name, test in tests.items() if name in document)
    )


@_keyword("patternProperties")
def _pattern_properties(value: Any, schema: Document, context: Context) -> Test:
    tests = _named_schemas("patternProperties", value, context)
    pairs = [(pattern_test(pattern, ""), test) for pattern, test in tests.items()]
    return _of_document(
        lambda document: all(
            test(item) for name, item in document.items() for found, test in pairs if found(name)
        )
    )


@_keyword("additionalProperties")
def _additional_properties(value: Any, schema: Document, context: Context) -> Test:
    test = _yes_no_or_schema("additionalProperties", value, context)
    known = set(schema.get("properties", {}))
    patterns = [pattern_test(pattern, "") for pattern in schema.get("patternProperties", {})]

    def additional(name: str) -> bool:
        return name not in known and not any(found(name) for found in patterns)

    return _of_document(
        lambda document: all(test(item) for name, item in document.items() if additional(name))
    )


@_keyword("dependencies")
def _dependencies(value: Any, schema: Document, context: Context) -> Test:
    if not isinstance(value, dict):
        raise _mismatch("$jsonSchema keyword 'dependencies' must be an object")
    tests = {name: _dependency(name, item, context) for name, item in value.items()}
    return _of_document(
        lambda document: all(test(document) for name, test in tests.items() if name in document)
    )


def _dependency(name: str, value: Any, context: Context) -> Test:
    if isinstance(value, list):
        names = _strings(f"dependencies.{name}", value)
        return lambda document: all(item in document for item in names)
    return _schema_of(f"dependencies.{name}", value, context)
