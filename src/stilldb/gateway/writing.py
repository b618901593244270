"""What the write commands share: the size of a batch, the shape of its errors, a statement's fields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

from stilldb.documents.model import WriteError
from stilldb.query.errors import MongoError
from stilldb.query.values import Document

MAX_BATCH = 100_000
_T = TypeVar("_T")
# Errors that end a batch, because they have nothing to do with the statement: the storage is not there, time is up.
_OF_THE_COMMAND = frozenset({"HostUnreachable", "InternalError", "MaxTimeMSExpired", "NotWritablePrimary"})


def batch(statements: list[_T]) -> list[_T]:
    """The statements, if they are not too many or none."""
    if not 0 < len(statements) <= MAX_BATCH:
        raise MongoError(
            "InvalidLength",
            f"Write batch sizes must be between 1 and {MAX_BATCH}. Got {len(statements)} operations.",
        )
    return statements


def write_error(index: int, error: MongoError) -> Document:
    """One element of ``writeErrors``."""
    return {"index": index, "code": error.code, "errmsg": error.message, **error.details}


def write_errors(found: Iterable[WriteError]) -> list[Document]:
    """``writeErrors``, in the order of the statements."""
    return [write_error(one.index, one.error) for one in found]


async def run_statements(
    statements: list[Document], ordered: bool, run: Callable[[int, Document], Awaitable[None]]
) -> list[Document]:
    """Run each statement; the errors of those that failed. An ordered batch ends with the first."""
    failed: list[Document] = []
    for index, statement in enumerate(statements):
        try:
            await run(index, statement)
        except MongoError as error:
            if error.name in _OF_THE_COMMAND or (error.labels and not index):
                raise
            failed.append(write_error(index, error))
        except RecursionError:
            failed.append(write_error(index, MongoError("Overflow", "the statement is nested too deep")))
        else:
            continue
        if ordered:
            break
    return failed


def check_fields(of: str, statement: Document, known: Collection[str], refused: Collection[str] = ()) -> None:
    """Refuse a statement with fields that are not known, or that ask for what there is not."""
    for field, value in statement.items():
        if field not in known:
            raise MongoError("Location40415", f"BSON field '{of}.{field}' is an unknown field.")
        if field in refused and value not in (None, False, {}, []):
            raise MongoError("FeatureNotSupported", f"Feature not supported: '{of}.{field}'")


def required(of: str, statement: Document, field: str) -> Any:
    """A field that must be there."""
    if field not in statement:
        raise MongoError("Location40414", f"BSON field '{of}.{field}' is missing but a required field")
    return statement[field]


def document(of: str, field: str, value: Any) -> Document:
    """A field that must be a document."""
    if not isinstance(value, dict):
        raise MongoError(
            "TypeMismatch",
            f"BSON field '{of}.{field}' is the wrong type '{type(value).__name__}', expected type 'object'",
        )
    return value


def change(of: str, field: str, value: Any) -> Document | list[Document]:
    """An update's operators, replacement or pipeline."""
    if isinstance(value, list):
        if not all(isinstance(stage, dict) for stage in value):
            raise MongoError("TypeMismatch", "Each element of the 'pipeline' array must be an object")
        return value
    if not isinstance(value, dict):
        raise MongoError("FailedToParse", "Update argument must be either an object or an array")
    return value


def hint(of: str, value: Any) -> str | Document | None:
    """An index's name or key."""
    if value is None or value == {}:
        return None
    if not isinstance(value, str | dict):
        raise MongoError("FailedToParse", "Hint must be a string or an object")
    return value


def array_filters(of: str, value: Any) -> list[Document]:
    """The filters of ``$[name]`` in an update."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MongoError("TypeMismatch", f"BSON field '{of}.arrayFilters' must be an array of objects")
    return value


def flag(of: str, statement: Document, field: str) -> bool:
    """A boolean field, false when absent; numbers count as booleans."""
    value = statement.get(field, False)
    if not isinstance(value, bool | int | float):
        raise MongoError("TypeMismatch", f"BSON field '{of}.{field}' must be a boolean")
    return bool(value)
