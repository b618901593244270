"""How BSON values stand in Python while the engine looks at them, and the sentinel for a field that is not there.

Decoding keeps types apart so that encoding gives the same bytes: int64 is ``bson.Int64``, int32 ``int``, dates are
``DatetimeMS`` (any 64-bit value), binary of subtype 0 is ``bytes`` and of other subtypes ``bson.Binary``.
"""

from __future__ import annotations

import enum
from typing import Any, Final

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion

Document = dict[str, Any]

CODEC: Final[CodecOptions[Document]] = CodecOptions(
    document_class=dict,
    tz_aware=False,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
)


class Missing(enum.Enum):
    """The type of MISSING, so that type checkers can tell it apart."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


class Undefined(enum.Enum):
    """The type of UNDEFINED, so that type checkers can tell it apart."""

    UNDEFINED = "undefined"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined.UNDEFINED
"""What sorts and indexes see of an empty array: below null. No document holds it."""


def decode(raw: bytes) -> Document:
    """The document in ``raw`` BSON; raises bson.errors.InvalidBSON."""
    return bson.decode(raw, CODEC)


def encode(document: Document) -> bytes:
    """The BSON of ``document``; raises bson.errors.InvalidDocument."""
    return bson.encode(document, codec_options=CODEC)
