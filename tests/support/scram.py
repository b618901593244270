"""The client's side of SCRAM (RFC 5802), written apart from the server's."""

from __future__ import annotations

import base64
import hashlib
import hmac


def client_final(
    mechanism: str, user: str, server_first: bytes, client_bare: str, password: str, nonce: str | None = None
) -> bytes:
    """The client's final message; ``nonce`` is the server's unless given."""
    algorithm = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}[mechanism]
    fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
    if mechanism == "SCRAM-SHA-1":
        secret = hashlib.md5(f"{user}:mongo:{password}".encode()).hexdigest()
    else:
        secret = password
    salted = hashlib.pbkdf2_hmac(algorithm, secret.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    stored = hashlib.new(algorithm, client_key).digest()
    without_proof = f"c=biws,r={nonce or fields['r']}"
    signature = hmac.digest(
        stored, f"{client_bare},{server_first.decode()},{without_proof}".encode(), algorithm
    )
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()
