"""Requests as botocore signs them, seen from the server's side."""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from stilldb.awsapi.sigv4 import HttpRequest

KEY, SECRET, REGION = "AKIAEXAMPLE234567AAA", "secret/with+signs", "us-east-1"
BODY = "Action=DescribeDBClusters&Version=2014-10-31"
URL = "http://127.0.0.1:8010/"


def signed(
    *,
    body: str = BODY,
    url: str = URL,
    method: str = "POST",
    region: str = REGION,
    service: str = "rds",
    secret: str = SECRET,
    key: str = KEY,
    token: str | None = None,
    presigned: int | None = None,
    headers: dict[str, str] | None = None,
) -> HttpRequest:
    """A signed request; ``presigned`` puts the signature into the URL, for so many seconds."""
    credentials = Credentials(key, secret, token)
    request = AWSRequest(method, url, headers=headers or {}, data=body.encode() if body else b"")
    if presigned is None:
        SigV4Auth(credentials, service, region).add_auth(request)
    else:
        SigV4QueryAuth(credentials, service, region, expires=presigned).add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    sent = {name.lower(): [str(value)] for name, value in prepared.headers.items()}
    return HttpRequest(method, parts.path, parts.query, {"host": [parts.netloc], **sent}, body.encode())
