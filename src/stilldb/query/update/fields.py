"""$set, $setOnInsert, $unset, $min, $max, $rename, $currentDate. Source: MongoDB manual, "Field Update Operators"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stilldb.query.errors import MongoError
from stilldb.query.order import bson_type_name, compare
from stilldb.query.paths import Path, as_document
from stilldb.query.update.core import Act, Change, Run, bad_value, computing, operator
from stilldb.query.update.dynamic import is_dynamic, update_path
from stilldb.query.update.editor import Editor
from stilldb.query.update.words import element_text, id_text
from stilldb.query.values import MISSING


def _assign(value: Any) -> Act:
    return computing(lambda old, path, run: value)


@operator("$set")
def _set(path: Path, argument: Any) -> Change:
    return Change("$set", path, _assign(argument))


@operator("$setOnInsert")
def _set_on_insert(path: Path, argument: Any) -> Change:
    return Change("$setOnInsert", path, _assign(argument), only_inserting=True)


@operator("$unset")
def _unset(path: Path, argument: Any) -> Change:
    return Change("$unset", path, computing(lambda old, path, run: MISSING, creates=False, tolerant=True))


def _extreme(name: str, sign: int) -> None:
    @operator(name)
    def parse(path: Path, argument: Any) -> Change:
        def compute(old: Any, path: Path, run: Run) -> Any:
            return argument if old is MISSING or compare(argument, old) * sign > 0 else old

        return Change(name, path, computing(compute))


_extreme("$max", 1)
_extreme("$min", -1)


@operator("$currentDate")
def _current_date(path: Path, argument: Any) -> Change:
    moment = _moment(argument)
    return Change("$currentDate", path, computing(lambda old, path, run: moment(run)))


def _moment(argument: Any) -> Callable[[Run], Any]:
    if isinstance(argument, bool):
        return lambda run: run.date
    if not isinstance(argument, dict):
        raise bad_value(
            f"{bson_type_name(argument)} is not valid type for $currentDate. Please use a boolean ('true') or a $type "
            "expression ({$type: 'timestamp/date'})."
        )
    for key in argument:
        if key != "$type":
            raise bad_value(f"Unrecognized $currentDate option: {key}")
    if argument.get("$type") == "date":
        return lambda run: run.date
    if argument.get("$type") == "timestamp":
        return lambda run: run.timestamp
    raise bad_value(
        "The '$type' string field is required to be 'date' or 'timestamp': {$currentDate: {field : {$type: 'date'}}}"
    )


@operator("$rename")
def _rename(path: Path, argument: Any) -> Change:
    source = ".".join(path)
    if not isinstance(argument, str):
        raise bad_value(
            f"The 'to' field for $rename must be a string: {element_text(source, argument)[1:-1]}"
        )
    if "\0" in argument:
        raise bad_value("The 'to' field for $rename cannot contain an embedded null byte")
    target = update_path(argument)
    if is_dynamic(path):
        raise bad_value(f"The source field for $rename may not be dynamic: {source}")
    if is_dynamic(target):
        raise bad_value(f"The destination field for $rename may not be dynamic: {argument}")
    if path == target:
        raise bad_value(f'The source and target field for $rename must differ: {source}: "{argument}"')
    shared = min(len(path), len(target))
    if path[:shared] == target[:shared]:
        raise bad_value(
            f'The source and target field for $rename must not be on the same path: {source}: "{argument}"'
        )
    return Change("$rename", target, _moving(path), also=path)


def _moving(source: Path) -> Act:
    def act(editor: Editor, target: Path, run: Run) -> None:
        value = editor.value_at(source)
        if value is MISSING:
            return
        _no_arrays("source", editor, source, run)
        _no_arrays("destination", editor, target, run)
        editor.modify(target, lambda old: value)
        editor.modify(source, lambda old: MISSING, creates=False)

    return act


def _no_arrays(which: str, editor: Editor, path: Path, run: Run) -> None:
    value: Any = editor.document
    for part in path[:-1]:
        value = (as_document(value) or {}).get(part)
        if isinstance(value, list):
            words = f"The {which} field cannot be an array element, '{'.'.join(path)}' in doc with"
            raise MongoError(
                "BadValue", f"{words} {id_text(run.document)[1:-1]} has an array field called '{part}'"
            )
