"""Answers in the AWS Query protocol's XML, written by walking the service model's output shapes. Pure.

The byte form is AWS's: two blanks an indentation, no XML declaration, a newline at the end, empty containers closed in
themselves, absent values left out.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from stilldb.awsapi import model
from stilldb.domain.faults import Fault

LONGEST_MESSAGE = 2000  # characters; a message may quote what the caller sent, which may be long

# What XML 1.0 can't carry at all, even escaped; and the carriage return, which parsers turn into a newline.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class ContractError(Exception):
    """An answer that the service model's output shape does not have: a bug of ours."""


class _Writer:
    """Lines of XML; names come from the model, text is escaped."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def open(self, name: str, attributes: str = "") -> None:
        self._lines.append(f"{'  ' * self._depth}<{name}{attributes}>")
        self._depth += 1

    def close(self, name: str) -> None:
        self._depth -= 1
        self._lines.append(f"{'  ' * self._depth}</{name}>")

    def empty(self, name: str) -> None:
        self._lines.append(f"{'  ' * self._depth}<{name}/>")

    def text(self, name: str, value: str) -> None:
        safe = escape(_FORBIDDEN.sub("\ufffd", value), {"\r": "&#xD;"})
        self._lines.append(f"{'  ' * self._depth}<{name}>{safe}</{name}>")

    def bytes(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode()


def answer(operation: str, result: Mapping[str, Any], request_id: str) -> bytes:
    """The body of a success; raises ContractError for a member that the output shape does not have."""
    shape = model.operation(operation).output_shape
    writer = _Writer()
    writer.open(f"{operation}Response", f' xmlns="{model.namespace()}"')
    if shape is not None:
        _structure(writer, shape.serialization.get("resultWrapper", f"{operation}Result"), shape, result)
    elif result:
        raise ContractError(f"{operation} has no result, but {sorted(result)} was given")
    writer.open("ResponseMetadata")
    writer.text("RequestId", request_id)
    writer.close("ResponseMetadata")
    writer.close(f"{operation}Response")
    return writer.bytes()


def error(fault: Fault, request_id: str) -> bytes:
    """The body of an error."""
    writer = _Writer()
    writer.open("ErrorResponse", f' xmlns="{model.namespace()}"')
    writer.open("Error")
    writer.text("Type", "Sender" if fault.status < 500 else "Receiver")
    writer.text("Code", fault.code)
    writer.text("Message", fault.message[:LONGEST_MESSAGE])
    writer.close("Error")
    writer.text("RequestId", request_id)
    writer.close("ErrorResponse")
    return writer.bytes()


def _structure(writer: _Writer, name: str, shape: Any, value: Mapping[str, Any]) -> None:
    unknown = set(value) - set(shape.members)
    if unknown:
        raise ContractError(f"{shape.name} has no members {sorted(unknown)}")
    if all(value.get(member) is None for member in shape.members):
        writer.empty(name)
        return
    writer.open(name)
    for member, below in shape.members.items():
        if value.get(member) is not None:
            _value(writer, below.serialization.get("name", member), below, value[member])
    writer.close(name)


def _list(writer: _Writer, name: str, shape: Any, value: list[Any]) -> None:
    if not value:
        writer.empty(name)
        return
    item = shape.member.serialization.get("name", "member")
    writer.open(name)
    for element in value:
        _value(writer, item, shape.member, element)
    writer.close(name)


def timestamp(moment: datetime.datetime) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_SCALARS: Mapping[str, Callable[[Any], str]] = {
    "string": str,
    "integer": str,
    "long": str,
    "float": repr,
    "double": repr,
    "boolean": lambda value: "true" if value else "false",
    "timestamp": timestamp,
}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (datetime.datetime,),
}


def _value(writer: _Writer, name: str, shape: Any, value: Any) -> None:
    kind = shape.type_name
    if kind == "structure":
        _structure(writer, name, shape, value)
    elif kind == "list":
        _list(writer, name, shape, value)
    elif isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind == "boolean"):
        writer.text(name, _SCALARS[kind](value))
    else:
        raise ContractError(f"{name} is a {kind}, not {value!r}")
