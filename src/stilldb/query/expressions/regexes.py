"""``$regexMatch``, ``$regexFind``, ``$regexFindAll``. Rules: MongoDB manual, the sections of these names.

Every match has a time limit, so that a hostile pattern cannot hold the process.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import regex
from bson import Regex

from stilldb.query.errors import MongoError
from stilldb.query.expressions.core import Named, fail, named_function
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING

MATCH_SECONDS = 2.0
_FLAGS = {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL, "x": regex.VERBOSE}
_PYTHON_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}


@functools.lru_cache(maxsize=256)
def compiled(pattern: str, options: str) -> Any:
    """The compiled pattern; raises MongoError for a bad one."""
    flags = regex.VERSION0
    for letter in options:
        if letter not in _FLAGS:
            raise fail(51108, f"invalid flag in regex options: {letter}")
        flags |= _FLAGS[letter]
    try:
        return regex.compile(pattern, flags)
    except (regex.error, RecursionError, OverflowError) as problem:
        raise fail(51111, f"Invalid Regex: {problem}") from None


def _options_of(value: Regex[Any]) -> str:
    return "".join(letter for flag, letter in _PYTHON_FLAGS.items() if value.flags & flag)


def _pattern(name: str, value: Any, options: Any) -> Any:
    """The compiled pattern, or None when ``value`` or ``options`` is null."""
    if options is not MISSING and options is not None and not isinstance(options, str):
        raise fail(51106, f"{name} needs 'options' to be of type string")
    letters = options if isinstance(options, str) else ""
    if isinstance(value, Regex):
        own = _options_of(value)
        if own and letters:
            raise fail(51107, f"{name}: found regex options specified in both 'regex' and 'options' fields")
        return compiled(_pattern_text(value.pattern), own or letters)
    if value is None or value is MISSING:
        return None
    if not isinstance(value, str):
        raise fail(51105, f"{name} needs 'regex' to be of type string or regex")
    if "\0" in value:
        raise fail(51109, f"{name}: regular expression cannot contain an embedded null byte")
    return compiled(value, letters)


def _pattern_text(pattern: str | bytes) -> str:
    return pattern.decode("utf-8", "replace") if isinstance(pattern, bytes) else pattern


def _limited(search: Callable[[], Any]) -> Any:
    try:
        return search()
    except TimeoutError:
        raise MongoError("MaxTimeMSExpired", "a regular expression took too long to match") from None


def _finding(match: Any) -> dict[str, Any]:
    return {"match": match.group(0), "idx": match.start(), "captures": list(match.groups())}


def _match(pattern: Any, text: str) -> bool:
    return _limited(lambda: pattern.search(text, timeout=MATCH_SECONDS)) is not None


def _find(pattern: Any, text: str) -> dict[str, Any] | None:
    match = _limited(lambda: pattern.search(text, timeout=MATCH_SECONDS))
    return None if match is None else _finding(match)


def _find_all(pattern: Any, text: str) -> list[dict[str, Any]]:
    return [
        _finding(match) for match in _limited(lambda: list(pattern.finditer(text, timeout=MATCH_SECONDS)))
    ]


def _register(name: str, answer: Callable[[Any, str], Any], nothing: Callable[[], Any]) -> None:
    def compute(input_: Any, regex: Any, options: Any = MISSING) -> Any:
        pattern = _pattern(name, regex, options)
        if input_ is None or input_ is MISSING:
            return nothing()
        if not isinstance(input_, str):
            raise fail(51104, f"{name} needs 'input' to be of type string, found {bson_type_name(input_)}")
        return nothing() if pattern is None else answer(pattern, input_)

    named = Named(name, {"input": 31022, "regex": 31023}, ("options",), not_object=51103, unknown=31024)
    named_function(named)(compute)


_register("$regexMatch", _match, lambda: False)
_register("$regexFind", _find, lambda: None)
_register("$regexFindAll", _find_all, list)
