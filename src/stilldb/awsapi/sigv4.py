"""Signature Version 4, verified. Pure: a request, a clock and a key lookup in, the caller or a fault out.

Source: AWS General Reference, 'Signing AWS API requests'.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, unquote_to_bytes

from stilldb.awsapi.errors import (
    IncompleteSignature,
    InvalidClientTokenId,
    MissingAuthenticationToken,
    RequestExpired,
    SignatureDoesNotMatch,
)

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "rds"
MAX_SKEW = datetime.timedelta(minutes=15)
MAX_PRESIGNED = 7 * 24 * 3600
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_CREDENTIAL = re.compile(r"([\w]{4,128})/(\d{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request", re.ASCII)
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclasses.dataclass(frozen=True, slots=True)
class HttpRequest:
    """What was received, as it was received; header names in lower case, a repeated header's values in order."""

    method: str
    path: str  # still percent-encoded
    query: str  # still percent-encoded
    headers: Mapping[str, Sequence[str]]
    body: bytes

    def header(self, name: str) -> str:
        """The first value of a header, or nothing."""
        return next(iter(self.headers.get(name, ())), "")


@dataclasses.dataclass(frozen=True, slots=True)
class Credential:
    """The key that a request names, and the region that it is for."""

    access_key: str
    region: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Claim:
    """What the request says about its signature."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    stamp: str
    expires: int | None  # seconds, for presigned requests
    payload_hash: str


def verify(
    request: HttpRequest,
    *,
    regions: Sequence[str],
    now: datetime.datetime,
    secret_of: Callable[[str], str | None],
) -> Credential:
    """The key that signed the request, for one of ``regions``; each way to fail is a fault of its own."""
    if _has_session_token(request):
        raise InvalidClientTokenId(
            "The security token included in the request is invalid. StillDB issues no session tokens: use a long-lived key."
        )
    claim = _claimed(request)
    _check_time(claim, now)
    secret = secret_of(claim.access_key)
    if secret is None:
        raise unknown_key()
    if claim.region not in regions or claim.service != SERVICE:
        served = (
            f"the region {regions[0]}" if len(regions) == 1 else f"one of the regions {', '.join(regions)}"
        )
        raise SignatureDoesNotMatch(
            f"Credential should be scoped to {served} and the service {SERVICE}, not {claim.region}/{claim.service}."
        )
    # As bytes: comparing strings raises for a signature that is not ASCII.
    if not hmac.compare_digest(_signature(request, claim, secret).encode(), claim.signature.encode()):
        raise SignatureDoesNotMatch(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
            "Key and signing method. Consult the service documentation for details."
        )
    return Credential(claim.access_key, claim.region)


def credential(request: HttpRequest) -> Credential | None:
    """The key and the region that a request names, whether or not its signature is good."""
    try:
        claim = _claimed(request)
    except (MissingAuthenticationToken, IncompleteSignature):
        return None
    return Credential(claim.access_key, claim.region)


def unknown_key() -> InvalidClientTokenId:
    """The fault for a key that is not there."""
    return InvalidClientTokenId("The security token included in the request is invalid.")


def _has_session_token(request: HttpRequest) -> bool:
    return "x-amz-security-token" in request.headers or "X-Amz-Security-Token=" in request.query


def _claimed(request: HttpRequest) -> _Claim:
    if "authorization" in request.headers:
        return _from_header(request)
    if "X-Amz-Signature=" in request.query:
        return _from_query(request)
    raise MissingAuthenticationToken("Missing Authentication Token")


def _from_header(request: HttpRequest) -> _Claim:
    algorithm, _, rest = request.header("authorization").partition(" ")
    if algorithm != ALGORITHM:
        raise IncompleteSignature(f"Unsupported algorithm {algorithm[:40]!r}; {ALGORITHM} is expected.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not parts.get(name):
            raise IncompleteSignature(f"Authorization header requires '{name}' parameter.")
    stamp = request.header("x-amz-date")
    if not stamp:
        raise IncompleteSignature("Authorization header requires existence of a 'X-Amz-Date' header.")
    actual = hashlib.sha256(request.body).hexdigest()
    if request.header("x-amz-content-sha256") not in {"", actual}:
        raise SignatureDoesNotMatch("The header x-amz-content-sha256 is not the hash of the body.")
    return _made(parts["Credential"], parts["SignedHeaders"], parts["Signature"], stamp, None, actual)


def _from_query(request: HttpRequest) -> _Claim:
    found = {
        unquote_to_bytes(name).decode("latin-1"): unquote_to_bytes(value).decode("latin-1")
        for name, _, value in (part.partition("=") for part in request.query.split("&"))
    }
    for name in ("Algorithm", "Credential", "SignedHeaders", "Date", "Expires"):
        if not found.get(f"X-Amz-{name}"):
            raise IncompleteSignature(f"AWS query-string parameters must include 'X-Amz-{name}'.")
    if found["X-Amz-Algorithm"] != ALGORITHM:
        raise IncompleteSignature(f"{ALGORITHM} is expected.")
    expires = found["X-Amz-Expires"]
    if not re.fullmatch(r"\d{1,7}", expires, re.ASCII) or int(expires) > MAX_PRESIGNED:
        raise IncompleteSignature("X-Amz-Expires must be a number of seconds of at most a week.")
    payload = _EMPTY_SHA256 if request.method == "GET" else hashlib.sha256(request.body).hexdigest()
    return _made(
        found["X-Amz-Credential"],
        found["X-Amz-SignedHeaders"],
        found["X-Amz-Signature"],
        found["X-Amz-Date"],
        int(expires),
        payload,
    )


def _made(
    credential: str, signed: str, signature: str, stamp: str, expires: int | None, payload_hash: str
) -> _Claim:
    match = _CREDENTIAL.fullmatch(credential)
    if match is None:
        raise IncompleteSignature(
            "Credential must be of the form <access key>/<date>/<region>/<service>/aws4_request."
        )
    headers = tuple(signed.split(";"))
    if "host" not in headers:
        raise IncompleteSignature("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    return _Claim(match[1], match[2], match[3], match[4], headers, signature, stamp, expires, payload_hash)


def _check_time(claim: _Claim, now: datetime.datetime) -> None:
    try:
        signed_at = datetime.datetime.strptime(claim.stamp, _STAMP).replace(tzinfo=datetime.UTC)
    except ValueError:
        raise IncompleteSignature("X-Amz-Date must be of the form YYYYMMDDTHHMMSSZ.") from None
    if claim.date != claim.stamp[:8]:
        raise SignatureDoesNotMatch(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date."
        )
    lifetime = MAX_SKEW if claim.expires is None else datetime.timedelta(seconds=claim.expires)
    if now - signed_at > lifetime:  # differences: a sum with year 9999 overflows
        raise RequestExpired(f"Signature expired: {claim.stamp} is too long before {now.strftime(_STAMP)}")
    if signed_at - now > MAX_SKEW:
        raise RequestExpired(
            f"Signature not yet current: {claim.stamp} is still later than {now.strftime(_STAMP)}"
        )


def _signature(request: HttpRequest, claim: _Claim, secret: str) -> str:
    canonical = "\n".join(
        [
            request.method,
            quote(unquote_to_bytes(request.path or "/"), safe="/-_.~"),
            _canonical_query(request.query),
            *(f"{name}:{_canonical_value(request.headers.get(name, ()))}" for name in claim.signed_headers),
            "",
            ";".join(claim.signed_headers),
            claim.payload_hash,
        ]
    )
    scope = f"{claim.date}/{claim.region}/{claim.service}/aws4_request"
    to_sign = "\n".join(
        [ALGORITHM, claim.stamp, scope, hashlib.sha256(canonical.encode("latin-1")).hexdigest()]
    )
    key = f"AWS4{secret}".encode()
    for part in (claim.date, claim.region, claim.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _canonical_value(values: Sequence[str]) -> str:
    return ",".join(" ".join(value.split()) for value in values)


def _canonical_query(query: str) -> str:
    """Names and values encoded afresh and sorted, without the signature itself."""
    pairs = []
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        if name != "X-Amz-Signature":
            pairs.append(
                tuple(quote(unquote_to_bytes(text.replace("+", " ")), safe="-_.~") for text in (name, value))
            )
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
