"""MaxRecords and Marker of Describe operations: keyset pages, markers that only this process's kind could have issued."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any

from stilldb.domain.faults import InvalidParameterValue

DEFAULT = 100
SMALLEST = 20
LARGEST = 100


def page_limits(params: Mapping[str, Any]) -> tuple[int, str | None]:
    """How many rows, after which key; faults for a number out of range and for a marker that was never issued."""
    limit = params.get("MaxRecords", DEFAULT)
    if not SMALLEST <= limit <= LARGEST:
        raise InvalidParameterValue(
            f"Invalid value {limit} for MaxRecords. Must be between {SMALLEST} and {LARGEST}"
        )
    marker = params.get("Marker")
    return limit, None if not marker else _key_of(marker)


def marker_for(key: str) -> str:
    """The opaque marker of the page after ``key``; its checksum tells it from made-up ones."""
    content = key.encode()
    return base64.urlsafe_b64encode(zlib.crc32(content).to_bytes(4, "big") + content).decode()


def _key_of(marker: str) -> str:
    try:
        content = base64.b64decode(marker.encode("ascii"), altchars=b"-_", validate=True)
        if len(content) > 4 and zlib.crc32(content[4:]) == int.from_bytes(content[:4], "big"):
            return content[4:].decode()
    except (binascii.Error, UnicodeError):
        pass
    raise InvalidParameterValue("The request token is invalid.")
