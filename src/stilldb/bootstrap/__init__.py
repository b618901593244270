"""The composition root: the only room that knows every other. It opens a state directory and binds what runs on it."""

from stilldb.awsapi.keys import AccessKey, KeyRefused
from stilldb.bootstrap.application import handler
from stilldb.bootstrap.clients import (
    Connection,
    connection,
    create_key,
    default_state,
    delete_key,
    keys,
    reach,
)
from stilldb.bootstrap.options import DEFAULT_REGION, CannotServe, NotServed, ServeOptions
from stilldb.bootstrap.serving import serve
from stilldb.domain.names import DEFAULT_ACCOUNT

__all__ = [
    "DEFAULT_ACCOUNT",
    "DEFAULT_REGION",
    "AccessKey",
    "CannotServe",
    "Connection",
    "KeyRefused",
    "NotServed",
    "ServeOptions",
    "connection",
    "create_key",
    "default_state",
    "delete_key",
    "handler",
    "keys",
    "reach",
    "serve",
]
