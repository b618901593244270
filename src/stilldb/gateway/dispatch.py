"""From a message to the reply document's bytes: the request path of the data plane, as a visible list of steps."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from stilldb.gateway import errors, registry
from stilldb.gateway.request import RawReply, Request, Session
from stilldb.query.errors import MongoError
from stilldb.query.values import Document, decode, encode
from stilldb.util.log import event
from stilldb.wire import bsonguard
from stilldb.wire.messages import EXHAUST_ALLOWED, OP_QUERY, Message

log = logging.getLogger("stilldb.gateway")

# The names that a client may use in an OP_QUERY, and whose replies are never compressed.
_HANDSHAKE = frozenset({"hello", "isMaster", "ismaster"})
_SECRET = frozenset({"saslStart", "saslContinue"})
_LONGEST_REPLY = bsonguard.MAX_DOCUMENT + 16 * 1024  # what drivers take


class Call:
    """One command being answered; ``answer`` gives its reply, and again one each time while ``more``."""

    __slots__ = ("_command", "_error", "_request", "name", "writes")

    def __init__(self, session: Session, message: Message) -> None:
        """Read the message; what is wrong with it is told by ``answer``."""
        self.name = "?"
        self.writes = False
        self._error: Exception | None = None
        try:
            self._read(session, message)
        except Exception as error:  # noqa: BLE001 - the funnel decides what the client is told
            self._error = error

    def _read(self, session: Session, message: Message) -> None:
        body, sequences = message.body, message.sequences
        name = body[5 : body.find(b"\0", 5)].decode(errors="replace")
        self.name = name
        self._command = command = registry.find(name)
        self.writes = command.writes
        if command.raw and command.raw.decode() not in sequences:
            taken = bsonguard.take_array(body, command.raw)
            if taken is not None:
                body, documents = taken
                sequences = {**sequences, command.raw.decode(): documents}
        document = decode(body)
        database = _database(document, message)
        exhaust = bool(message.flags & EXHAUST_ALLOWED)
        self._request = Request(session, name, database, document, sequences, exhaust)

    @property
    def more(self) -> bool:
        """Whether the client is to get another reply without asking."""
        return self._error is None and self._request.more

    @property
    def handshake(self) -> bool:
        """Whether it is a hello, which may wait for news of the topology."""
        return self.name in _HANDSHAKE

    @property
    def compressible(self) -> bool:
        """Whether its reply may be compressed: none that tells secrets or comes before compression is agreed."""
        return not self.handshake and self.name not in _SECRET

    def answer_at_once(self) -> bytes | None:
        """The reply document's bytes if nothing need be waited for; None when ``answer`` must tell."""
        try:
            if self._error is not None or self._command.at_once is None:
                return None
            registry.allowed(self._command, self._request)
            reply = self._command.at_once(self._request, registry.validated(self._command, self._request))
        except Exception:  # noqa: BLE001 - the funnel in ``answer`` meets it again
            return None
        if reply is None:
            return None
        self._request.session.context.commands += 1
        return reply.document

    async def answer(self) -> bytes:
        """The reply document's bytes; errors are replies too."""
        try:
            if self._error is not None:
                raise self._error
            reply = await self._run(self._command, self._request)
            return reply.document if isinstance(reply, RawReply) else _encoded(reply)
        except Exception as error:  # noqa: BLE001 - the funnel
            self._error = error
            return errors.encoded_reply(error, self.name)

    @staticmethod
    async def _run(command: registry.Command, request: Request) -> Document | RawReply:
        registry.allowed(command, request)
        values = registry.validated(command, request)
        request.session.context.commands += 1
        seconds = _time_limit(request.body)
        if seconds is None:
            return await command.handler(request, values)
        try:
            async with asyncio.timeout(seconds) as limit:
                return await command.handler(request, values)
        except TimeoutError:
            if limit.expired():
                raise errors.out_of_time() from None
            raise


def _encoded(reply: Document) -> bytes:
    raw = encode(reply)
    if len(raw) > _LONGEST_REPLY:
        raise MongoError("BSONObjectTooLarge", f"the reply is {len(raw)} bytes, more than {_LONGEST_REPLY}")
    return raw


def _database(document: Document, message: Message) -> str:
    if message.opcode == OP_QUERY:
        database, _, collection = message.collection.partition(".")
        if collection != "$cmd" or next(iter(document), "") not in _HANDSHAKE:
            raise MongoError(
                "UnsupportedOpQueryCommand",
                "Unsupported OP_QUERY command. The client driver may require an upgrade.",
                code=352,
            )
        return database
    named = document.get("$db")
    if not isinstance(named, str):
        raise MongoError("Location40571", "OP_MSG requests require a $db argument")
    return named


def _time_limit(body: dict[str, Any]) -> float | None:
    """maxTimeMS in seconds, None when there is none. A hello's wait is no limit."""
    given = body.get("maxTimeMS")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or given != int(given):
        raise MongoError("TypeMismatch", "maxTimeMS must be a whole number")
    if not 0 <= given < 1 << 31:
        raise MongoError("BadValue", f"{given} value for maxTimeMS is out of range [0, 2147483647]")
    return given / 1000 or None


def log_unreadable(session: Session, error: Exception) -> None:
    """One line for a peer that broke the protocol."""
    log.warning(
        event("connection closed", connection=session.connection_id, remote=session.remote, reason=error)
    )


def log_failed(session: Session, error: BaseException | None) -> None:
    """A connection's task failed of itself: a defect, told with its stack."""
    log.error(
        event("connection failed", connection=session.connection_id, remote=session.remote), exc_info=error
    )
