"""A client of the wire protocol that sends any bytes it likes, for tests of what drivers never do."""

from __future__ import annotations

import socket
import struct
from typing import Any

import bson

from support.scram import client_final

HEADER = struct.Struct("<iiii")
OP_MSG = 2013
OP_QUERY = 2004
PATIENCE = 10.0  # seconds


def op_msg(
    body: dict[str, Any],
    sequences: dict[str, list[dict[str, Any]]] | None = None,
    *,
    flags: int = 0,
    request_id: int = 1,
) -> bytes:
    """An OP_MSG as a driver makes it."""
    content = struct.pack("<I", flags) + b"\0" + bson.encode(body)
    for name, documents in (sequences or {}).items():
        section = name.encode() + b"\0" + b"".join(map(bson.encode, documents))
        content += b"\1" + struct.pack("<i", len(section) + 4) + section
    return frame(content, OP_MSG, request_id)


def op_query(collection: str, body: dict[str, Any], *, request_id: int = 1) -> bytes:
    """The legacy message of a driver's first handshake."""
    content = struct.pack("<i", 0) + collection.encode() + b"\0" + struct.pack("<ii", 0, -1)
    return frame(content + bson.encode(body), OP_QUERY, request_id)


def frame(content: bytes, opcode: int, request_id: int = 1) -> bytes:
    """A message with its header."""
    return HEADER.pack(HEADER.size + len(content), request_id, 0, opcode) + content


def nested(levels: int) -> bytes:
    """A document in which documents are nested that deep, itself the first level."""
    document = b"\x05\0\0\0\0"
    for _ in range(levels - 1):
        content = b"\x03a\0" + document + b"\0"
        document = struct.pack("<i", len(content) + 4) + content
    return document


class RawClient:
    """One socket. Use it in a ``with``."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.flags = 0

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[int, int, int, dict[str, Any]]:
        """Reply's request id, what it responds to, its opcode, its document. Raises ConnectionError at the end."""
        size, request_id, response_to, opcode = HEADER.unpack(self._exactly(HEADER.size))
        content = self._exactly(size - HEADER.size)
        if opcode == OP_MSG:
            self.flags = struct.unpack_from("<I", content)[0]
            return request_id, response_to, opcode, bson.decode(content[5:])
        return request_id, response_to, opcode, bson.decode(content[20:])

    def command(self, body: dict[str, Any]) -> dict[str, Any]:
        """One command and its reply."""
        self.send(op_msg(body))
        return self.receive()[3]

    def authenticate(self, user: str, password: str, *, skip_empty: bool = True) -> dict[str, Any]:
        """A SCRAM-SHA-256 conversation; the server's last reply."""
        bare = f"n={user},r=rawclientnonce012345"
        first = self.command(
            {
                "saslStart": 1,
                "mechanism": "SCRAM-SHA-256",
                "payload": b"n,," + bare.encode(),
                "options": {"skipEmptyExchange": skip_empty},
                "$db": "admin",
            }
        )
        payload = client_final("SCRAM-SHA-256", user, first["payload"], bare, password)
        return self.command({"saslContinue": 1, "conversationId": 1, "payload": payload, "$db": "admin"})

    def closed_by_peer(self) -> bool:
        """Wait until the peer has closed; what it still sends is thrown away."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the peer closed the connection")
            data += more
        return data
