"""The registry of commands: each declares its parameters with a status, and what is not declared is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from bson import Decimal128
from bson.raw_bson import RawBSONDocument

from stilldb.gateway.request import RawReply, Request
from stilldb.query.errors import MongoError
from stilldb.query.values import Document

Handler = Callable[[Request, dict[str, Any]], Awaitable[Document | RawReply]]

REQUIRED: Final = object()
ABSENT: Final = None

_NUMBERS = (int, float, Decimal128)
_BSON_NAMES: Mapping[type, str] = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    list: "array",
    dict: "object",
    RawBSONDocument: "object",
    type(None): "null",
    bytes: "binData",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Param:
    """One parameter. ``kinds`` are the Python types of its BSON types; a number may come as any whole number.

    Status: ``supported``; ``ignored`` (taken, without effect, as the servers this stands in for do);
    ``unimplemented`` (refused unless it is false, null or empty).
    """

    name: str
    kinds: type | tuple[type, ...] = object
    default: Any = ABSENT
    status: str = "supported"
    bulk: bool = False  # may come as a document sequence; its documents stay raw


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A command and how it is called."""

    name: str
    params: Mapping[str, Param]
    required: tuple[str, ...]
    defaults: Mapping[str, Any]
    bulk: frozenset[str]
    auth: bool
    writes: bool
    handler: Handler


COMMANDS: Final[dict[str, Command]] = {}

# Taken on every command: they speak of the session and the concern, and have no effect of their own here.
_GENERIC: Final = frozenset(
    ["$db", "lsid", "$clusterTime", "$readPreference", "writeConcern", "maxTimeMS", "comment", "apiVersion", "apiStrict", "apiDeprecationErrors", "$configServerState", "$audit", "$client", "mayBypassWriteBlocking"]
)
# DocumentDB has neither retryable writes nor these forms of transactions: drivers are told to set retryWrites=false.
_UNRECOGNIZED: Final = frozenset({"txnNumber", "startTransaction", "autocommit", "stmtId", "stmtIds"})


def command(
    name: str,
    *,
    params: tuple[Param, ...] = (),
    aliases: tuple[str, ...] = (),
    auth: bool = True,
    writes: bool = False,
) -> Callable[[Handler], Handler]:
    """Register a handler. The value of the command's own field is the parameter of its name, whether declared or not."""

    def register(handler: Handler) -> Handler:
        made = Command(
            name=name,
            params={param.name: param for param in params},
            required=tuple(param.name for param in params if param.default is REQUIRED),
            defaults={param.name: param.default for param in params if param.default is not REQUIRED},
            bulk=frozenset(param.name for param in params if param.bulk),
            auth=auth,
            writes=writes,
            handler=handler,
        )
        for key in (name, *aliases):
            COMMANDS[key] = made
        return handler

    return register


def find(name: str) -> Command:
    """The command with this name; raises CommandNotFound."""
    found = COMMANDS.get(name)
    if found is None:
        raise MongoError("CommandNotFound", f"no such command: '{name}'")
    return found


def validated(of: Command, request: Request) -> dict[str, Any]:
    """The declared parameters, defaults filled in; raises for unknown, missing and wrongly typed ones."""
    values = dict(of.defaults)
    for field, value in request.body.items():
        param = of.params.get(field)
        if param is not None:
            values[field] = value if param.kinds is object else _typed(of, param, value)
            if param.status == "unimplemented" and value not in (None, False, {}, [], 0):
                raise MongoError("FeatureNotSupported", f"Feature not supported: '{of.name}.{field}'")
        elif field not in _GENERIC and field != request.name:
            _refuse_or_ignore(of, field, value)
    for field in request.sequences:
        if field not in of.bulk:
            raise MongoError("Location40415", f"BSON field '{of.name}.{field}' is an unknown field.")
        values[field] = request.sequences[field]
    for field in of.required:
        if field not in values:
            raise MongoError(
                "Location40414", f"BSON field '{of.name}.{field}' is missing but a required field"
            )
    return values


def _refuse_or_ignore(of: Command, field: str, value: Any) -> None:
    if field in _UNRECOGNIZED:
        raise MongoError("FailedToParse", f"Unrecognized field: '{field}'")
    if field == "readConcern":
        if isinstance(value, dict) and "afterClusterTime" in value:
            raise MongoError("FeatureNotSupported", "Feature not supported: 'causal consistency'")
        return
    raise MongoError("Location40415", f"BSON field '{of.name}.{field}' is an unknown field.")


def _typed(of: Command, param: Param, value: Any) -> Any:
    kinds = param.kinds if isinstance(param.kinds, tuple) else (param.kinds,)
    if value is None and param.default is ABSENT:
        return None
    if isinstance(value, bool):
        if bool in kinds:
            return value
    elif isinstance(value, kinds):
        return value
    if int in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    if bool in kinds and isinstance(value, _NUMBERS) and not isinstance(value, Decimal128):
        return bool(value)
    expected = " or ".join(_BSON_NAMES.get(kind, kind.__name__) for kind in kinds)
    given = _BSON_NAMES.get(type(value), type(value).__name__)
    raise MongoError(
        "TypeMismatch",
        f"BSON field '{of.name}.{param.name}' is the wrong type '{given}', expected type '{expected}'",
    )
