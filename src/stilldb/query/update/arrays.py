"""$addToSet, $pop, $pull, $pullAll. Source: MongoDB manual, "Array Update Operators"."""

from __future__ import annotations

from typing import Any

from bson import Regex

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.filter import FIELD_OPERATORS, compile_filter
from stilldb.query.order import bson_type_name, hash_key
from stilldb.query.paths import Path, Test, as_document
from stilldb.query.update.core import Change, Run, bad_value, computing, operator
from stilldb.query.update.words import document_text, element_text
from stilldb.query.values import MISSING


@operator("$addToSet")
def _add_to_set(path: Path, argument: Any) -> Change:
    items = _to_add(argument)

    def compute(old: Any, path: Path, run: Run) -> Any:
        if old is not MISSING and not isinstance(old, list):
            words = f"Cannot apply $addToSet to non-array field. Field named '{path[-1]}' has non-array type"
            raise bad_value(f"{words} {bson_type_name(old)}")
        there = [] if old is MISSING else old
        seen = {hash_key(item) for item in there}
        added = []
        for item in items:
            key = hash_key(item)
            if key not in seen:
                seen.add(key)
                added.append(item)
        return [*there, *added] if added or old is MISSING else old

    return Change("$addToSet", path, computing(compute))


def _to_add(argument: Any) -> list[Any]:
    if not isinstance(argument, dict) or next(iter(argument), None) != "$each":
        return [argument]
    items = argument["$each"]
    if not isinstance(items, list):
        raise MongoError(
            "TypeMismatch",
            f"The argument to $each in $addToSet must be an array but it was of type {bson_type_name(items)}",
        )
    if len(argument) > 1:
        raise bad_value(f"Found unexpected fields after $each in $addToSet: {document_text(argument)}")
    return items


@operator("$pop")
def _pop(path: Path, argument: Any) -> Change:
    text = element_text(".".join(path), argument)[1:-1]
    if not numbers.kind(argument):
        raise MongoError("FailedToParse", f"Expected a number in: {text}")
    which = numbers.integral(argument)
    if which is None:
        raise MongoError("FailedToParse", f"Expected an integer: {text}")
    if which not in (1, -1):
        raise MongoError("FailedToParse", f"$pop expects 1 or -1, found: {argument}")

    def compute(old: Any, path: Path, run: Run) -> Any:
        if not isinstance(old, list):
            raise MongoError(
                "TypeMismatch",
                f"Path '{'.'.join(path)}' contains an element of non-array type '{bson_type_name(old)}'",
            )
        return (old[:-1] if which == 1 else old[1:]) if old else old

    return Change("$pop", path, computing(compute, creates=False))


def _culling(name: str, path: Path, goes: Test) -> Change:
    """The change that takes the elements that pass ``goes`` out of the array."""

    def compute(old: Any, path: Path, run: Run) -> Any:
        if not isinstance(old, list):
            raise bad_value("Cannot apply $pull to a non-array value")
        left = [item for item in old if not goes(item)]
        return left if len(left) < len(old) else old

    return Change(name, path, computing(compute, creates=False, tolerant=True))


@operator("$pull")
def _pull(path: Path, argument: Any) -> Change:
    return _culling("$pull", path, _to_pull(argument))


def _to_pull(argument: Any) -> Test:
    """The test of elements: a document is a filter of documents, operators and patterns are a field's, else equality."""
    if isinstance(argument, Regex) or (
        isinstance(argument, dict) and next(iter(argument), "") in FIELD_OPERATORS
    ):
        matches = compile_filter({"": argument})
        return lambda item: matches({"": item})
    if isinstance(argument, dict):
        fields = compile_filter(argument)

        def test(item: Any) -> bool:
            document = as_document(item)
            return document is not None and fields(document)

        return test
    wanted = hash_key(argument)
    return lambda item: hash_key(item) == wanted


@operator("$pullAll")
def _pull_all(path: Path, argument: Any) -> Change:
    if not isinstance(argument, list):
        raise bad_value(f"$pullAll requires an array argument but was given a {bson_type_name(argument)}")
    wanted = {hash_key(item) for item in argument}
    return _culling("$pullAll", path, lambda item: hash_key(item) in wanted)
