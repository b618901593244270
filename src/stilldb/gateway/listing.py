"""What the commands share that list things which fit in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from stilldb.gateway.registry import whole
from stilldb.query.errors import MongoError
from stilldb.query.values import Document


async def once(raws: list[bytes]) -> AsyncGenerator[list[bytes], None]:
    """The source of a cursor over what is known already."""
    if raws:
        yield raws


def batch_size(of: str, cursor: Document | None) -> int | None:
    """The batch size of a command's ``cursor`` field, None when it names none."""
    if cursor is None:
        return None
    for field in cursor:
        if field != "batchSize":
            raise MongoError("Location40415", f"BSON field '{of}.cursor.{field}' is an unknown field.")
    size = cursor.get("batchSize")
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int | float) or size != size // 1:
        raise MongoError("TypeMismatch", f"BSON field '{of}.cursor.batchSize' must be a whole number")
    return whole(of, "cursor.batchSize", int(size))


def matching(documents: list[Document], filter: Document | None) -> list[Document]:
    """Those documents that the filter of a listing command finds."""
    if not filter:
        return documents
    from stilldb.query.filter import compile_filter  # noqa: PLC0415 - few listings have one

    matches = compile_filter(filter)
    return [document for document in documents if matches(document)]
