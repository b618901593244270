"""The server's side of SCRAM-SHA-1 and SCRAM-SHA-256 as a state machine over payloads (RFC 5802, RFC 7677). Pure.

It never tells whether a user exists: an unknown one gets a salt that is always the same for that name, and fails at the end.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re

from stilldb.util.scram import ITERATIONS, Verifier

MECHANISMS = tuple(ITERATIONS)
_HASH = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
_SALT_BYTES = {"SCRAM-SHA-1": 16, "SCRAM-SHA-256": 28}
_FIRST = re.compile(r"([ny]),(?:a=[^,]*)?,(n=((?:[^,=]|=2C|=3D)+),r=([\x21-\x2b\x2d-\x7e]{8,512}))(?:,.*)?")
_FINAL = re.compile(r"(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)),p=([A-Za-z0-9+/=]+)")
_PEPPER = os.urandom(32)


class AuthenticationError(Exception):
    """The conversation failed; the message is for the log, not for the peer."""


def user_of(payload: bytes) -> str:
    """The user that a client's first message names; raises AuthenticationError."""
    return _first(payload)[0]


def _first(payload: bytes) -> tuple[str, str, str, str]:
    try:
        match = _FIRST.fullmatch(payload.decode())
    except UnicodeDecodeError:
        match = None
    if match is None:
        raise AuthenticationError("the client's first message is malformed")
    user = match[3].replace("=2C", ",").replace("=3D", "=")
    return user, match[4], match[2], match[1]


class Conversation:
    """One authentication: ``first`` with the client's first payload, ``final`` with its second."""

    def __init__(
        self, mechanism: str, payload: bytes, verifier: Verifier | None, nonce: str | None = None
    ) -> None:
        """``verifier`` is the user's for this mechanism, None for an unknown user; ``nonce`` is random unless given."""
        self._mechanism = mechanism
        self._algorithm = _HASH[mechanism]
        self.user, client_nonce, self._bare, self._gs2 = _first(payload)
        self._known = verifier is not None
        self._verifier = verifier or _fake(mechanism, self.user)
        self._nonce = client_nonce + (nonce or base64.b64encode(os.urandom(24)).decode())

    def first(self) -> bytes:
        """The server's first message."""
        v = self._verifier
        self._server_first = f"r={self._nonce},s={v['salt']},i={v['iterations']}"
        return self._server_first.encode()

    def final(self, payload: bytes) -> bytes:
        """The server's last message, the proof that it knows the user too; raises AuthenticationError."""
        try:
            match = _FINAL.fullmatch(payload.decode())
        except UnicodeDecodeError:
            match = None
        if match is None:
            raise AuthenticationError("the client's final message is malformed")
        without_proof, binding, nonce, proof = match[1], match[2], match[3], match[4]
        expected_binding = base64.b64encode(f"{self._gs2},,".encode()).decode()
        if not hmac.compare_digest(nonce, self._nonce) or binding != expected_binding:
            raise AuthenticationError("the client's nonce or channel binding is not the one it began with")
        message = f"{self._bare},{self._server_first},{without_proof}".encode()
        self._check(message, proof)
        signature = hmac.digest(base64.b64decode(self._verifier["server_key"]), message, self._algorithm)
        return b"v=" + base64.b64encode(signature)

    def _check(self, message: bytes, proof: str) -> None:
        stored = base64.b64decode(self._verifier["stored_key"])
        signature = hmac.digest(stored, message, self._algorithm)
        try:
            given = base64.b64decode(proof, validate=True)
        except binascii.Error:
            raise AuthenticationError("the client's proof is not base64") from None
        if len(given) != len(signature):
            raise AuthenticationError("the client's proof has the wrong length")
        client_key = bytes(a ^ b for a, b in zip(given, signature, strict=True))
        good = hmac.compare_digest(hashlib.new(self._algorithm, client_key).digest(), stored)
        if not good or not self._known:
            raise AuthenticationError("the proof does not match" if self._known else "there is no such user")


def _fake(mechanism: str, user: str) -> Verifier:
    digest = hmac.digest(_PEPPER, f"{mechanism}:{user}".encode(), "sha512")
    salt = digest[: _SALT_BYTES[mechanism]]
    key = base64.b64encode(hashlib.new(_HASH[mechanism], digest).digest()).decode()
    return Verifier(
        mechanism=mechanism,
        iterations=ITERATIONS[mechanism],
        salt=base64.b64encode(salt).decode(),
        stored_key=key,
        server_key=key,
    )
