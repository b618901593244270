"""MaxRecords and Marker of Describe operations: keyset pages, and markers that only this operation could have issued.

AWS checks MaxRecords first, then looks the named resource up, and only then looks at the Marker.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from stilldb.domain.faults import InvalidParameterValue

DEFAULT = 100
SMALLEST = 20
LARGEST = 100

Row = TypeVar("Row")


def limit(params: Mapping[str, Any]) -> int:
    """How many rows a page has; a fault for a number out of range."""
    number: int = params.get("MaxRecords", DEFAULT)
    if not SMALLEST <= number <= LARGEST:
        raise InvalidParameterValue(
            f"Invalid value {number} for MaxRecords. Must be between {SMALLEST} and {LARGEST}"
        )
    return number


def after(operation: str, params: Mapping[str, Any], name: str | None) -> str | None:
    """The key after which the page starts; a fault for a marker that the operation never issued.

    Of a named resource there is one page, and its marker is looked at once it was found (``cut``).
    """
    return None if name is not None else _start(operation, params)


def _start(operation: str, params: Mapping[str, Any]) -> str | None:
    marker = params.get("Marker")
    return None if not marker else _key_of(operation, marker)


def cut(
    operation: str, params: Mapping[str, Any], rows: Sequence[Row], key: Callable[[Row], str]
) -> tuple[Sequence[Row], dict[str, str]]:
    """The rows of the page, and ``{"Marker": ...}`` when there was one row more."""
    _start(operation, params)
    most = limit(params)
    if len(rows) <= most:
        return rows, {}
    return rows[:most], {"Marker": marker_for(operation, key(rows[most - 1]))}


def marker_for(operation: str, key: str) -> str:
    """The opaque marker of the page after ``key``; its checksum tells it from made-up ones."""
    content = key.encode()
    return base64.urlsafe_b64encode(_checksum(operation, content) + content).decode()


def _checksum(operation: str, content: bytes) -> bytes:
    return zlib.crc32(operation.encode() + b"\0" + content).to_bytes(4, "big")


def _key_of(operation: str, marker: str) -> str:
    try:
        content = base64.b64decode(marker.encode("ascii"), altchars=b"-_", validate=True)
        if len(content) > 4 and _checksum(operation, content[4:]) == content[:4]:
            return content[4:].decode()
    except (binascii.Error, UnicodeError):
        pass
    raise InvalidParameterValue("The request token is invalid.")
