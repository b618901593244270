"""Authentication of a session: SCRAM conversations, and what may be asked before they have succeeded."""

from __future__ import annotations

import base64
import dataclasses
import logging
from typing import Any

from bson import Binary

from stilldb.gateway.request import Session
from stilldb.query.errors import MongoError
from stilldb.query.values import Document
from stilldb.util.log import event
from stilldb.wire import scram

log = logging.getLogger("stilldb.auth")


@dataclasses.dataclass(slots=True)
class SaslConversation:
    """Where a session stands between saslStart and the end."""

    conversation: scram.Conversation
    skip_empty: bool
    proved: bool = False


def failed() -> MongoError:
    """The one answer to every failed authentication: it tells nothing about why."""
    return MongoError("AuthenticationFailed", "Authentication failed.")


def _payload(value: Any) -> bytes:
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            pass
    raise MongoError("TypeMismatch", "a SASL payload must be binary data")


async def start(session: Session, mechanism: str, payload: Any, options: Document | None) -> Document:
    """saslStart: the server's first message."""
    if mechanism not in scram.MECHANISMS:
        raise MongoError(
            "MechanismUnavailable", f"Received authentication for mechanism {mechanism} which is not enabled"
        )
    content = _payload(payload)
    try:
        verifiers = await _verifiers(session, scram.user_of(content))
        conversation = scram.Conversation(mechanism, content, verifiers.get(mechanism))
    except scram.AuthenticationError as error:
        _refused(session, error)
        raise failed() from None
    session.user = None
    session.sasl = SaslConversation(conversation, bool((options or {}).get("skipEmptyExchange")))
    return _step(conversation.first(), done=False)


async def _verifiers(session: Session, user: str) -> Document:
    """What is kept of a user's password, by mechanism; nothing for one that there is not."""
    guest = session.context.endpoint.guest
    if guest is not None and guest.name == user:
        return {one.mechanism: dataclasses.asdict(one) for one in guest.verifiers}
    found = await session.context.documents.find_user(user)
    return {verifier["mechanism"]: verifier for verifier in found["verifiers"]} if found else {}


def proceed(session: Session, payload: Any) -> Document:
    """saslContinue: the proof, and for older clients an empty exchange after it."""
    sasl = session.sasl
    if sasl is None:
        raise MongoError("ProtocolError", "No SASL session state found")
    if sasl.proved:
        session.sasl = None
        session.user = sasl.conversation.user
        return _step(b"", done=True)
    try:
        answer = sasl.conversation.final(_payload(payload))
    except scram.AuthenticationError as error:
        session.sasl = None
        _refused(session, error)
        raise failed() from None
    if sasl.skip_empty:
        session.sasl = None
        session.user = sasl.conversation.user
        return _step(answer, done=True)
    sasl.proved = True
    return _step(answer, done=False)


def _step(payload: bytes, *, done: bool) -> Document:
    return {"conversationId": 1, "done": done, "payload": Binary(payload), "ok": 1.0}


def _refused(session: Session, error: scram.AuthenticationError) -> None:
    log.warning(
        event("authentication failed", connection=session.connection_id, remote=session.remote, reason=error)
    )
