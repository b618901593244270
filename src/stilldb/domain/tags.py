"""Rules of tags. Source: the model's Tag shape and the tagging page of the Developer Guide."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from stilldb.domain.faults import InvalidParameterValue

MAX_TAGS = 50
MAX_KEY = 128
MAX_VALUE = 256
_RESERVED = ("aws:", "rds:")
_PUNCTUATION = frozenset("_.:/=+-")


def _allowed(text: str) -> bool:
    """The set of the Java expression ``^([\\p{L}\\p{Z}\\p{N}_.:/=+\\-]*)$``."""
    return all(char in _PUNCTUATION or unicodedata.category(char)[0] in "LZN" for char in text)


def _check(text: str, what: str, longest: int) -> None:
    if len(text) > longest:
        raise InvalidParameterValue(f"Tag {what} cannot be longer than {longest} characters.")
    if not _allowed(text):
        raise InvalidParameterValue(
            f"Tag {what} {text!r} holds a character that is not allowed. Use Unicode letters, digits, white space, "
            "and the characters _ . : / = + -"
        )
    for prefix in _RESERVED:
        if text.lower().startswith(prefix):
            raise InvalidParameterValue(f'Tag {what}s cannot start with the reserved prefix "{prefix}".')


def validated(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Key to value of the request's tags; a key given twice keeps its last value, no value is the empty string."""
    result: dict[str, str] = {}
    for tag in tags:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        if not key:
            raise InvalidParameterValue("Tag keys must be 1 to 128 characters long.")
        _check(key, "key", MAX_KEY)
        _check(value, "value", MAX_VALUE)
        result[key] = value
    within_limit(result)
    return result


def within_limit(tags: Mapping[str, str]) -> None:
    """Refuse more tags than a resource can have."""
    if len(tags) > MAX_TAGS:
        raise InvalidParameterValue(f"A resource cannot have more than {MAX_TAGS} tags.")
