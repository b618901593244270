"""Splitting a byte stream into messages by their header (MongoDB manual, 'Wire Protocol', standard message header). Pure."""

from __future__ import annotations

import struct

from stilldb.wire.errors import ProtocolError

HEADER = struct.Struct("<iiii")  # messageLength, requestID, responseTo, opCode
MAX_MESSAGE = 48_000_000  # bytes, header included
_LENGTH = struct.Struct("<i")


class Splitter:
    """Give it bytes as they come; it gives whole messages, headers included.

    ``limit`` may change at any time; it holds for messages whose header has not been read yet.
    """

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._wanted = 0  # length of the message that the buffer begins with, 0 while unknown

    def feed(self, data: bytes) -> list[bytes]:
        """Every message that ``data`` completes; raises ProtocolError for a length that no message may have."""
        if not self._buffer and len(data) >= HEADER.size and self._length(data) == len(data):
            return [data]  # the usual case: one whole message, nothing copied
        messages: list[bytes] = []
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            self._wanted = self._wanted or self._length(self._buffer)
            if len(self._buffer) < self._wanted:
                break
            messages.append(bytes(memoryview(self._buffer)[: self._wanted]))
            del self._buffer[: self._wanted]
            self._wanted = 0
        return messages

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer)

    def _length(self, data: bytes | bytearray) -> int:
        (length,) = _LENGTH.unpack_from(data)
        if not HEADER.size <= length <= self.limit:
            raise ProtocolError(f"a message can't be {length} bytes long")
        return int(length)
