"""The registry of commands: each declares its parameters with a status, and what is not declared is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from bson import Decimal128, Int64

from stilldb.gateway.request import RawReply, Request, Session
from stilldb.query.errors import MongoError
from stilldb.query.values import Document

Handler = Callable[[Request, dict[str, Any]], Awaitable[Document | RawReply]]
AtOnce = Callable[[Request, dict[str, Any]], RawReply | None]  # None: the handler must be awaited

REQUIRED: Final = object()
ABSENT: Final = None
STATUSES: Final = ("supported", "ignored", "unimplemented")

_BSON_NAMES: Mapping[type, str] = {
    bool: "bool",
    int: "int",
    Int64: "long",
    float: "double",
    Decimal128: "decimal",
    str: "string",
    list: "array",
    dict: "object",
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
    bulk: bool = False  # may come as a document sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A command and how it is called."""

    name: str
    params: Mapping[str, Param]
    required: tuple[str, ...]
    defaults: Mapping[str, Any]
    bulk: frozenset[str]
    raw: bytes  # the array of documents that is never decoded, also when it comes in the body; b"": none
    auth: bool
    admin: bool
    writes: bool
    handler: Handler
    at_once: AtOnce | None = None


COMMANDS: Final[dict[str, Command]] = {}

# Taken on every command: they speak of the session and the concern, and have no effect of their own here.
_GENERIC: Final = frozenset(
    {
        "$audit",
        "$client",
        "$clusterTime",
        "$configServerState",
        "$db",
        "$readPreference",
        "apiDeprecationErrors",
        "apiStrict",
        "apiVersion",
        "comment",
        "lsid",
        "maxTimeMS",
        "mayBypassWriteBlocking",
        "writeConcern",
    }
)
# DocumentDB has no retryable writes: drivers are told to set retryWrites=false.
_UNRECOGNIZED: Final = frozenset({"txnNumber", "stmtId", "stmtIds"})
_TRANSACTION: Final = frozenset({"startTransaction", "autocommit"})
_READ_CONCERNS: Final = frozenset({"local", "available", "majority"})


def ignored(*names: str) -> tuple[Param, ...]:
    """Parameters that are taken without effect."""
    return tuple(Param(name, status="ignored") for name in names)


def unimplemented(*names: str) -> tuple[Param, ...]:
    """Parameters that are refused when they ask for something."""
    return tuple(Param(name, status="unimplemented") for name in names)


def command(
    name: str,
    *,
    params: tuple[Param, ...] = (),
    aliases: tuple[str, ...] = (),
    raw: bytes = b"",
    auth: bool = True,
    admin: bool = False,
    writes: bool = False,
    at_once: AtOnce | None = None,
) -> Callable[[Handler], Handler]:
    """Register a handler. The command's own field needs no declaration: the handler finds it in the request.

    ``auth``: needs a user. ``admin``: runs in the admin database only. ``writes``: only a writer does it.
    ``at_once``: answers what needs no waiting, as the handler would.
    """

    def register(handler: Handler) -> Handler:
        made = Command(
            name=name,
            params={param.name: param for param in params},
            required=tuple(param.name for param in params if param.default is REQUIRED),
            defaults={param.name: param.default for param in params if param.default is not REQUIRED},
            bulk=frozenset(param.name for param in params if param.bulk),
            raw=raw,
            auth=auth,
            admin=admin,
            writes=writes,
            handler=handler,
            at_once=at_once,
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


def allowed(of: Command, request: Request) -> None:
    """Refuse a command that this session, database or endpoint may not run."""
    session = request.session
    if of.auth and session.user is None:
        raise MongoError("Unauthorized", f"Command {of.name} requires authentication")
    if of.writes and not session.context.endpoint.writer:
        raise not_primary(session)
    if of.admin and request.database != "admin":
        raise MongoError("Unauthorized", f"{of.name} may only be run against the admin database.")


def not_primary(session: Session) -> MongoError:
    """The answer of a reader to a write. It names the topology that the client knows already, so that a driver does not
    take the server for one that changed its role and wait for news of it (Server Discovery And Monitoring, stale errors).
    """
    details = {"topologyVersion": session.context.topology_version}
    return MongoError("NotWritablePrimary", "not primary", details=details)


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
            _refuse_or_ignore(of, request, field, value)
    for field in request.sequences:
        if field not in of.bulk:
            raise MongoError("Location40415", f"BSON field '{of.name}.{field}' is an unknown field.")
        if field in request.body:
            raise MongoError("Location40413", f"BSON field '{of.name}.{field}' is a duplicate field")
        values[field] = request.sequences[field]
    for field in of.required:
        if values.get(field) is None:
            raise MongoError(
                "Location40414", f"BSON field '{of.name}.{field}' is missing but a required field"
            )
    return values


def _refuse_or_ignore(of: Command, request: Request, field: str, value: Any) -> None:
    if field in _UNRECOGNIZED and not _TRANSACTION & request.body.keys():
        raise MongoError(
            "FailedToParse",
            f"Unrecognized field: '{field}'. Retryable writes are not supported: connect with retryWrites=false.",
        )
    if field in _UNRECOGNIZED or field in _TRANSACTION:
        raise MongoError(
            "FeatureNotSupported",
            "Feature not supported: 'multi-statement transactions'. Each statement is atomic.",
        )
    if field == "readConcern":
        _check_read_concern(value)
        return
    raise MongoError("Location40415", f"BSON field '{of.name}.{field}' is an unknown field.")


def _check_read_concern(value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise MongoError("TypeMismatch", "BSON field 'readConcern' is the wrong type, expected type 'object'")
    if "afterClusterTime" in value:
        raise MongoError("FeatureNotSupported", "Feature not supported: 'causal consistency'")
    level = value.get("level", "local")
    if level not in _READ_CONCERNS:
        raise MongoError("FeatureNotSupported", f"Feature not supported: 'readConcern level {level}'")


def _typed(of: Command, param: Param, value: Any) -> Any:
    kinds = param.kinds if isinstance(param.kinds, tuple) else (param.kinds,)
    if value is None and param.default is ABSENT:
        return None
    if isinstance(value, bool):
        if bool in kinds:
            return value
    elif isinstance(value, kinds):
        return value
    elif int in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    elif bool in kinds and isinstance(value, int | float):
        return bool(value)
    expected = " or ".join(_BSON_NAMES.get(kind, kind.__name__) for kind in kinds)
    given = _BSON_NAMES.get(type(value), type(value).__name__)
    raise MongoError(
        "TypeMismatch",
        f"BSON field '{of.name}.{param.name}' is the wrong type '{given}', expected type '{expected}'",
    )


def whole(of: str, field: str, value: int | None, default: int = 0) -> int:
    """A count that may not be negative."""
    if value is None:
        return default
    if not 0 <= value < 1 << 63:
        raise MongoError(
            "Location51024", f"BSON field '{of}.{field}' value must be >= 0, actual value '{value}'"
        )
    return value
