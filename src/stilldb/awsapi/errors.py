"""Faults of the request itself, before any operation: query, authentication, size. Source: CommonErrors of the API."""

from __future__ import annotations

from stilldb.domain.faults import Fault


class MissingAction(Fault):
    """No Action is given."""

    code = "MissingAction"


class InvalidAction(Fault):
    """The Action or the Version is not known."""

    code = "InvalidAction"


class InvalidQueryParameter(Fault):
    """The query is malformed."""

    code = "InvalidQueryParameter"


class MalformedQueryString(Fault):
    """The query has a syntax error."""

    code = "MalformedQueryString"
    status = 404


class RequestTooLarge(Fault):
    """The body is larger than any request of this API."""

    code = "RequestEntityTooLarge"
    status = 413


class RequestTimeout(Fault):
    """The body did not arrive in time."""

    code = "RequestTimeout"
    status = 408


class MethodNotAllowed(Fault):
    """Neither GET nor POST."""

    code = "MethodNotAllowed"
    status = 405


class NoSuchPath(Fault):
    """A path at which nothing is."""

    code = "NotFound"
    status = 404


class MissingAuthenticationToken(Fault):
    """The request is not signed."""

    code = "MissingAuthenticationToken"
    status = 403


class IncompleteSignature(Fault):
    """The signature does not have the form of Signature Version 4."""

    code = "IncompleteSignature"


class InvalidClientTokenId(Fault):
    """The access key is not known."""

    code = "InvalidClientTokenId"
    status = 403


class SignatureDoesNotMatch(Fault):
    """The signature is not the one of this request and key."""

    code = "SignatureDoesNotMatch"
    status = 403


class RequestExpired(Fault):
    """The request was signed too long ago, or in the future."""

    code = "RequestExpired"


class InternalFailure(Fault):
    """Something that is our fault; what it was stands in the log."""

    code = "InternalFailure"
    status = 500


class ServiceUnavailable(Fault):
    """The service is on its way down."""

    code = "ServiceUnavailable"
    status = 503
