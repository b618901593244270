"""Requests of the AWS Query protocol, parsed by walking the service model's input shapes. Pure.

Keys are matched whole or by ``name + "."``, never by a bare prefix: ``Filters`` does not swallow ``FiltersX``. Keys that the
input shape does not have are ignored, as AWS ignores them.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from stilldb.awsapi import model
from stilldb.awsapi.errors import (
    InvalidAction,
    InvalidQueryParameter,
    MalformedQueryString,
    MissingAction,
)
from stilldb.domain.faults import InvalidParameterValue, MissingParameter

MAX_KEYS = 5_000
MAX_ITEMS = 1_000  # of one list; more than any list of this API may hold
_INDEX = re.compile(r"[1-9]\d{0,4}", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NUMBERS = {"MaxRecords": "between 20 and 100"}  # AWS says so too when it is no number at all

MAX_DEPTH = 16  # parts of a key; deeper than any shape of the model

Node = dict[str | None, Any]  # a part of a key -> the node below; None -> the value that stands here


def fields(query: bytes) -> dict[str, str]:
    """The names and values of a query string or form body; faults for bad encoding, NUL, doubled or too many names."""
    try:
        pairs = parse_qsl(
            query.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            encoding="utf-8",
            errors="strict",
            max_num_fields=MAX_KEYS,
        )
    except ValueError as error:
        raise MalformedQueryString(f"The query string is malformed: {error}") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidQueryParameter("A parameter is given twice.")
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise InvalidQueryParameter("A parameter holds a NUL character.")
    return found


def operation(found: Mapping[str, str]) -> str:
    """The operation that is asked for; faults for a missing or unknown one, and for another API version."""
    name = found.get("Action", "")
    if not name:
        raise MissingAction("The request must contain the parameter Action")
    version = found.get("Version", model.version())
    if name not in model.operations() or version != model.version():
        raise InvalidAction(f"Could not find operation {name} for version {version}")
    return name


def parameters(name: str, found: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of an operation; faults for what is missing or of the wrong type."""
    shape = model.operation(name).input_shape
    return {} if shape is None else _structure(shape, _tree(found), "")


def _tree(found: Mapping[str, str]) -> Node:
    root: Node = {}
    for key, value in found.items():
        parts = key.split(".", MAX_DEPTH)
        if len(parts) > MAX_DEPTH:
            continue
        node = root
        for part in parts:
            node = node.setdefault(part, {})
        node[None] = value
    return root


def _structure(shape: Any, node: Node, path: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, member in shape.members.items():
        below = node.get(member.serialization.get("name", name))
        if member.type_name == "list" and below is None and "name" in member.member.serialization:
            below = node.get(member.member.serialization["name"])  # older clients send Tag.1, not Tags.Tag.1
        if below is not None:
            result[name] = _value(member, below, f"{path}{name}")
    for name in shape.required_members:
        if name not in result:
            raise MissingParameter.named(f"{path}{name}")
    return result


def _list(shape: Any, node: Node, path: str) -> list[Any]:
    """``Tags.Tag.1``, ``Tags.member.1`` and ``Tags.1``, as older and hand-written clients send them; ``Tags=`` is an empty list."""
    if set(node) == {None}:
        if node[None] == "":
            return []
        raise InvalidParameterValue(f"{path} is a list; give {path}.member.1")
    names = (
        shape.member.serialization.get("name"),
        "member",
        path.rpartition(".")[2].removesuffix("s"),  # TagKeys.TagKey.1
    )
    items = next((node[name] for name in names if name in node), node)
    indexes = sorted(int(part) for part in items if part is not None and _INDEX.fullmatch(part))
    if len(indexes) != len([part for part in items if part is not None]):
        raise InvalidQueryParameter(f"The items of {path} must be numbered from 1.")
    if len(indexes) > MAX_ITEMS:
        raise InvalidParameterValue(f"{path} has more than {MAX_ITEMS} items.")
    return [_value(shape.member, items[str(index)], f"{path}.{index}") for index in indexes]


def _scalar(node: Node, path: str) -> str:
    if set(node) != {None}:
        raise InvalidQueryParameter(f"{path} is not a structure or a list.")
    text: str = node[None]
    return text


def _boolean(text: str, path: str) -> bool:
    lowered = text.lower()
    if lowered not in {"true", "false"}:
        raise InvalidParameterValue(f"Invalid value {text} for {path}. Must be true or false")
    return lowered == "true"


def _integer(text: str, path: str) -> int:
    if not _INTEGER.fullmatch(text):
        wanted = _NUMBERS.get(path, "an integer")
        raise InvalidParameterValue(f"Invalid value {text} for {path}. Must be {wanted}")
    return int(text)


def _float(text: str, path: str) -> float:
    if not re.fullmatch(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})", text, re.ASCII):
        raise InvalidParameterValue(f"Invalid value {text} for {path}. Must be a number")
    return float(text)


def _timestamp(text: str, path: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParameterValue(f"Invalid value {text} for {path}. Must be an ISO 8601 time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


_SCALARS: Mapping[str, Callable[[str, str], Any]] = {
    "string": lambda text, path: text,
    "boolean": _boolean,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "timestamp": _timestamp,
}
_CONTAINERS: Mapping[str, Callable[[Any, Node, str], Any]] = {
    "structure": lambda shape, node, path: _structure(shape, node, f"{path}."),
    "list": _list,
}


def _value(shape: Any, node: Node, path: str) -> Any:
    if shape.type_name in _CONTAINERS:
        return _CONTAINERS[shape.type_name](shape, node, path)
    return _SCALARS[shape.type_name](_scalar(node, path), path)
