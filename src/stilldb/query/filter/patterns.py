"""$regex, $options and regular expressions as values. Source: MongoDB manual, "$regex".

Every match has a time limit, so that a hostile pattern cannot hold the process.
"""

from __future__ import annotations

from typing import Any

from bson import Regex

from stilldb.query.errors import MongoError
from stilldb.query.expressions.regexes import MATCH_SECONDS, compiled
from stilldb.query.filter.core import Context, Leaf, Node, bad_value, field_operator
from stilldb.query.order import order_key, regex_options
from stilldb.query.paths import Test
from stilldb.query.values import Document


def pattern_test(pattern: str, options: str) -> Test:
    """The test for strings that the pattern is found in; raises MongoError for a bad one."""
    if "\0" in pattern:
        raise bad_value("Regular expression cannot contain an embedded null byte")
    try:
        search = compiled(pattern, options).search
    except MongoError as error:
        if error.code == 51111:
            raise MongoError("Location51091", f"Regular expression is invalid: {error.message}") from None
        raise

    def test(value: Any) -> bool:
        if type(value) is not str:
            return False
        try:
            return search(value, timeout=MATCH_SECONDS) is not None
        except TimeoutError:
            raise MongoError("MaxTimeMSExpired", "a regular expression took too long to match") from None

    return test


def _letters(value: Regex[Any]) -> str:
    return "".join(letter for letter in regex_options(value) if letter in "imsx")


def regex_test(value: Regex[Any]) -> Test:
    """The test for strings that ``value`` is found in, and for the same regular expression as a value."""
    text = value.pattern if isinstance(value.pattern, str) else value.pattern.decode("utf-8", "replace")
    return _or_itself(pattern_test(text, _letters(value)), value)


def _or_itself(found: Test, value: Regex[Any]) -> Test:
    key = order_key(value)
    return lambda other: found(other) or (isinstance(other, Regex) and order_key(other) == key)


@field_operator("$regex")
def _regex(argument: Any, siblings: Document, context: Context) -> Node:
    options = siblings.get("$options", "")
    if not isinstance(options, str):
        raise bad_value("$options has to be a string")
    if isinstance(argument, Regex):
        if options and _letters(argument):
            code = 51074 if list(siblings).index("$options") < list(siblings).index("$regex") else 51075
            raise MongoError(f"Location{code}", "options set in both $regex and $options")
        if not options:
            return Leaf(regex_test(argument))
        argument = argument.pattern
    if not isinstance(argument, str):
        raise bad_value("$regex has to be a string")
    found = pattern_test(argument, options)
    try:
        return Leaf(_or_itself(found, Regex(argument, options)))
    except ValueError:
        return Leaf(found)


@field_operator("$options")
def _options(argument: Any, siblings: Document, context: Context) -> None:
    if "$regex" not in siblings:
        raise bad_value("$options needs a $regex")
