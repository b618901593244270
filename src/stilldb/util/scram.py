"""Derive SCRAM verifiers from a password (RFC 5802, RFC 7677; MongoDB's digest for SCRAM-SHA-1). Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata
from typing import TypedDict

ITERATIONS = {"SCRAM-SHA-1": 10_000, "SCRAM-SHA-256": 15_000}
_HASH = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
_SALT_BYTES = {"SCRAM-SHA-1": 16, "SCRAM-SHA-256": 28}  # MongoDB: hash length minus four


class Verifier(TypedDict):
    """The keys of ``stilldb.endpoint.ScramVerifier``; byte strings in base64."""

    mechanism: str
    iterations: int
    salt: str
    stored_key: str
    server_key: str


def saslprep(text: str) -> str:
    """Prepare a password by RFC 4013, as SCRAM-SHA-256 requires; raises ValueError for prohibited characters."""
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", mapped)
    for char in prepared:
        if (
            stringprep.in_table_c12(char)
            or stringprep.in_table_c21_c22(char)
            or stringprep.in_table_c3(char)
            or stringprep.in_table_c4(char)
            or stringprep.in_table_c5(char)
            or stringprep.in_table_c6(char)
            or stringprep.in_table_c7(char)
            or stringprep.in_table_c8(char)
            or stringprep.in_table_c9(char)
        ):
            raise ValueError("the password holds a character that SASLprep prohibits")
    return prepared


def verifier(mechanism: str, user: str, password: str, salt: bytes | None = None) -> Verifier:
    """What the server keeps for ``user``'s ``password`` under ``mechanism``; ``salt`` is random unless given."""
    algorithm = _HASH[mechanism]
    salt = os.urandom(_SALT_BYTES[mechanism]) if salt is None else salt
    if mechanism == "SCRAM-SHA-1":
        secret = hashlib.md5(f"{user}:mongo:{password}".encode(), usedforsecurity=False).hexdigest()
    else:
        secret = saslprep(password)
    iterations = ITERATIONS[mechanism]
    salted = hashlib.pbkdf2_hmac(algorithm, secret.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    return Verifier(
        mechanism=mechanism,
        iterations=iterations,
        salt=base64.b64encode(salt).decode(),
        stored_key=base64.b64encode(hashlib.new(algorithm, client_key).digest()).decode(),
        server_key=base64.b64encode(hmac.digest(salted, b"Server Key", algorithm)).decode(),
    )


def verifiers(user: str, password: str) -> tuple[Verifier, ...]:
    """Verifiers for every mechanism that StillDB offers."""
    return tuple(verifier(mechanism, user, password) for mechanism in ITERATIONS)
