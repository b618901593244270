"""String operators. Rules: MongoDB manual, "String Expression Operators"; regular ones are in regexes.py."""

from __future__ import annotations

from typing import Any

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.expressions.core import (
    Named,
    coded,
    fail,
    function,
    named_function,
    variadic,
)
from stilldb.query.expressions.texts import coerce_text
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING


@variadic("$concat")
def concat(values: list[Any]) -> Any:
    """The strings joined; null if one of them is null or missing."""
    if any(value is None or value is MISSING for value in values):
        return None
    for value in values:
        if not isinstance(value, str):
            raise fail(16702, f"$concat only supports strings, not {bson_type_name(value)}")
    return "".join(values)


def _ascii_cased(value: str, *, upper: bool) -> str:
    """Only ASCII letters change case, as in MongoDB."""
    raw = value.encode("utf-8", "surrogatepass")
    return (raw.upper() if upper else raw.lower()).decode("utf-8", "surrogatepass")


@function("$toLower", 1, null=False)
def to_lower(value: Any) -> str:
    """ASCII letters in lower case; null becomes the empty string."""
    return _ascii_cased(coerce_text(value), upper=False)


@function("$toUpper", 1, null=False)
def to_upper(value: Any) -> str:
    """ASCII letters in upper case; null becomes the empty string."""
    return _ascii_cased(coerce_text(value), upper=True)


@function("$strcasecmp", 2, null=False)
def strcasecmp(left: Any, right: Any) -> int:
    """-1, 0 or 1 without regard to ASCII case."""
    first, second = _ascii_cased(coerce_text(left), upper=True), _ascii_cased(coerce_text(right), upper=True)
    return (first > second) - (first < second)


@function("$strLenBytes", 1, null=False)
def str_len_bytes(value: Any) -> int:
    """The number of UTF-8 bytes; null is refused."""
    if not isinstance(value, str):
        raise fail(34473, f"$strLenBytes requires a string argument, found: {bson_type_name(value)}")
    return len(value.encode())


@function("$strLenCP", 1, null=False)
def str_len_cp(value: Any) -> int:
    """The number of code points; null is refused."""
    if not isinstance(value, str):
        raise fail(34471, f"$strLenCP requires a string argument, found: {bson_type_name(value)}")
    return len(value)


def _substr_bytes(text: Any, start: Any, length: Any) -> str:
    raw = coerce_text(text).encode()
    if not numbers.kind(start):
        found = bson_type_name(start)
        raise fail(16034, f"$substrBytes:  starting index must be a numeric type (is BSON type {found})")
    if not numbers.kind(length):
        found = bson_type_name(length)
        raise fail(16035, f"$substrBytes:  length must be a numeric type (is BSON type {found})")
    low, count = _truncated(start), _truncated(length)
    if low < 0:
        raise fail(50752, f"$substrBytes:  starting index must be non-negative (got: {low})")
    if low < len(raw) and raw[low] & 0xC0 == 0x80:
        raise fail(28656, "$substrBytes:  Invalid range, starting index is a UTF-8 continuation byte.")
    high = len(raw) if count < 0 else low + count
    if high < len(raw) and raw[high] & 0xC0 == 0x80:
        raise fail(28657, "$substrBytes:  Invalid range, ending index is in the middle of a UTF-8 character.")
    return raw[low:high].decode()


def _truncated(value: Any) -> int:
    exact = numbers.to_decimal(value)
    return int(exact) if exact.is_finite() and exact.adjusted() <= 19 else numbers.INT64_MAX


function("$substr", 3, null=False)(_substr_bytes)
function("$substrBytes", 3, null=False)(_substr_bytes)


@function("$substrCP", 3, null=False)
def substr_cp(text: Any, start: Any, length: Any) -> str:
    """``length`` code points from ``start``; shorter at the end of the string."""
    whole = coerce_text(text)
    low = _cp_argument("starting index", start, 34450, 34451)
    count = _cp_argument("length", length, 34452, 34453)
    if count < 0:
        raise fail(34454, "$substrCP: length must be a nonnegative integer.")
    if low < 0:
        raise fail(34455, "$substrCP: the starting index must be nonnegative integer.")
    return whole[low : low + count]


def _cp_argument(what: str, value: Any, not_number: int, not_integral: int) -> int:
    if not numbers.kind(value):
        raise fail(
            not_number, f"$substrCP: {what} must be a numeric type (is BSON type {bson_type_name(value)})"
        )
    exact = numbers.integral(value)
    if exact is None or not numbers.INT32_MIN <= exact <= numbers.INT32_MAX:
        raise fail(
            not_integral, f"$substrCP: {what} cannot be represented as a 32-bit integral value: {value}"
        )
    return exact


@function("$split", 2)
def split(text: Any, separator: Any) -> list[str]:
    """The parts of the text between separators."""
    if not isinstance(text, str):
        found = bson_type_name(text)
        raise fail(
            40085,
            f"$split requires an expression that evaluates to a string as a first argument, found: {found}",
        )
    if not isinstance(separator, str):
        found = bson_type_name(separator)
        raise fail(
            40086,
            f"$split requires an expression that evaluates to a string as a second argument, found: {found}",
        )
    if not separator:
        raise fail(40087, "$split requires a non-empty separator")
    return text.split(separator)


def index_bounds(name: str, length: int, start: Any, end: Any) -> tuple[int, int]:
    """The search window of an ``$indexOf...`` operator; raises MongoError for bad bounds."""
    low = _bound(name, "starting", start)
    high = length if end is MISSING else min(length, _bound(name, "ending", end))
    return low, high


def _bound(name: str, which: str, value: Any) -> int:
    exact = numbers.integral(value)
    if exact is None:
        found = f"found a value of type: {bson_type_name(value)}"
        raise fail(40096, f"{name} requires an integral {which} index, {found}")
    if exact < 0:
        raise fail(40097, f"{name} requires a nonnegative {which} index, found: {exact}")
    return exact


def _index_of_bytes(text: Any, token: Any, start: Any = 0, end: Any = MISSING) -> int | None:
    if text is None or text is MISSING:
        return None
    _check_texts("$indexOfBytes", text, token, 40091, 40092)
    raw = text.encode()
    low, high = index_bounds("$indexOfBytes", len(raw), start, end)
    return -1 if low > len(raw) or high < low else raw.find(token.encode(), low, high)


def _index_of_cp(text: Any, token: Any, start: Any = 0, end: Any = MISSING) -> int | None:
    if text is None or text is MISSING:
        return None
    _check_texts("$indexOfCP", text, token, 40093, 40094)
    low, high = index_bounds("$indexOfCP", len(text), start, end)
    return -1 if low > len(text) or high < low else text.find(token, low, high)


def _check_texts(name: str, text: Any, token: Any, first: int, second: int) -> None:
    if not isinstance(text, str):
        raise fail(first, f"{name} requires a string as the first argument, found: {bson_type_name(text)}")
    if not isinstance(token, str):
        raise fail(second, f"{name} requires a string as the second argument, found: {bson_type_name(token)}")


function("$indexOfBytes", 2, 4, null=False)(_index_of_bytes)
function("$indexOfCP", 2, 4, null=False)(_index_of_cp)

# The characters MongoDB's manual lists as whitespace for $trim.
WHITESPACE = "\0 \t\n\v\f\r\u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))


def _trimmer(name: str, cut: Any) -> None:
    def compute(input_: Any, chars: Any = WHITESPACE) -> Any:
        if input_ is None or input_ is MISSING or chars is None or chars is MISSING:
            return None
        if not isinstance(input_, str):
            found = bson_type_name(input_)
            raise fail(
                50699, f"{name} requires its input to be a string, got {input_!r} (of type {found}) instead."
            )
        if not isinstance(chars, str):
            found = bson_type_name(chars)
            raise fail(
                50700, f"{name} requires 'chars' to be a string, got {chars!r} (of type {found}) instead."
            )
        return cut(input_, chars) if chars else input_

    named = Named(name, {"input": 50695}, ("chars",), not_object=50696, unknown=50694)
    named_function(named)(compute)


_trimmer("$trim", str.strip)
_trimmer("$ltrim", str.lstrip)
_trimmer("$rtrim", str.rstrip)


def _replacer(name: str, count: int) -> None:
    def compute(input_: Any, find: Any, replacement: Any) -> Any:
        values = {"input": input_, "find": find, "replacement": replacement}
        codes = {"input": 51746, "find": 51745, "replacement": 51744}
        for key, value in values.items():
            if value is not None and value is not MISSING and not isinstance(value, str):
                raise coded(
                    codes[key], f"{name} requires that '{key}' be a string, found: {bson_type_name(value)}"
                )
        if not all(isinstance(value, str) for value in values.values()):
            return None
        if len(input_) + max(0, len(replacement) - len(find)) * input_.count(find) > _TEXT_LIMIT:
            raise MongoError("BSONObjectTooLarge", f"{name} would make a string above the limit of 16 MiB")
        return input_.replace(find, replacement, count)

    required = {"input": 51749, "find": 51748, "replacement": 51747}
    named_function(Named(name, required, not_object=51751, unknown=51750))(compute)


_TEXT_LIMIT = 16 * 2**20
_replacer("$replaceOne", 1)
_replacer("$replaceAll", -1)
