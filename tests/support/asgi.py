"""An ASGI application called without a socket, its answer read by botocore."""

from __future__ import annotations

import dataclasses
from typing import Any

import botocore.parsers
from starlette.types import ASGIApp

from stilldb.awsapi import model


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def error(self) -> dict[str, str]:
        """The Error that a client would see."""
        parsed = botocore.parsers.create_parser("query").parse(
            {"status_code": self.status, "headers": self.headers, "body": self.body}, None
        )
        return dict(parsed["Error"])

    def result(self, operation: str) -> dict[str, Any]:
        """The result that a client would see."""
        return read(operation, self.body, self.status, self.headers)


def read(
    operation: str, body: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """An answer as botocore parses it, without its metadata."""
    parsed = botocore.parsers.create_parser("query").parse(
        {"status_code": status, "headers": headers or {}, "body": body},
        model.operation(operation).output_shape,
    )
    assert status < 300, parsed
    parsed.pop("ResponseMetadata")
    return dict(parsed)


async def call(
    app: ASGIApp,
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/",
    query: bytes = b"",
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request and its answer."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in (headers or {}).items()],
    }
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(part.get("body", b"") for part in rest))
