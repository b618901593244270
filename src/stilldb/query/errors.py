"""Errors of the data plane, with MongoDB's codes and names. Source: MongoDB's error_codes.yml."""

from __future__ import annotations

from typing import Any

CODES: dict[str, int] = {
    "InternalError": 1,
    "BadValue": 2,
    "HostUnreachable": 6,
    "FailedToParse": 9,
    "UserNotFound": 11,
    "UnsupportedFormat": 12,
    "Unauthorized": 13,
    "TypeMismatch": 14,
    "Overflow": 15,
    "InvalidLength": 16,
    "InvalidBSON": 22,
    "CursorInUse": 12051,
    "MechanismUnavailable": 334,
    "OutOfDiskSpace": 14031,
    "QueryExceededMemoryLimitNoDiskUseAllowed": 292,
    "InvalidPipelineOperator": 168,
    "CannotIndexParallelArrays": 171,
    "NotImplemented": 238,
    "ProtocolError": 17,
    "AuthenticationFailed": 18,
    "IllegalOperation": 20,
    "NamespaceNotFound": 26,
    "IndexNotFound": 27,
    "PathNotViable": 28,
    "ConflictingUpdateOperators": 40,
    "CursorNotFound": 43,
    "NamespaceExists": 48,
    "MaxTimeMSExpired": 50,
    "DollarPrefixedFieldName": 52,
    "InvalidIdField": 53,
    "EmptyFieldName": 56,
    "DottedFieldName": 57,
    "CommandNotFound": 59,
    "ImmutableField": 66,
    "CannotCreateIndex": 67,
    "IndexAlreadyExists": 68,
    "InvalidOptions": 72,
    "InvalidNamespace": 73,
    "IndexOptionsConflict": 85,
    "IndexKeySpecsConflict": 86,
    "OperationFailed": 96,
    "WriteConflict": 112,
    "CommandNotSupported": 115,
    "NamespaceTooLong": 10010,
    "CommandNotSupportedOnView": 166,
    "ConversionFailure": 241,
    "NoSuchTransaction": 251,
    "InvalidResumeToken": 260,
    "ChangeStreamHistoryLost": 286,
    "FeatureNotSupported": 303,
    "NotWritablePrimary": 10107,
    "BSONObjectTooLarge": 10334,
    "DuplicateKey": 11000,
    "ShutdownInProgress": 91,
    "Location40415": 40415,
}


class MongoError(Exception):
    """A command's error reply: ``{ok: 0, code, codeName, errmsg}``."""

    def __init__(
        self,
        name: str,
        message: str,
        *,
        code: int | None = None,
        labels: tuple[str, ...] = (),
        details: dict[str, Any] | None = None,
    ) -> None:
        """``name`` is MongoDB's code name; give ``code`` for the numbered ones (``Location31249``)."""
        super().__init__(message)
        if code is None:
            code = CODES[name] if name in CODES else int(name.removeprefix("Location"))
        self.name = name
        self.code = code
        self.message = message
        self.labels = labels
        self.details = details or {}
