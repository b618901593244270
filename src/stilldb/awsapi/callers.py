"""Who a request comes from: the account of its access key, and the region of its credential scope."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence

from stilldb.awsapi import sigv4
from stilldb.awsapi.context import Caller
from stilldb.awsapi.keys import AccessKey
from stilldb.awsapi.sigv4 import HttpRequest
from stilldb.domain.names import ACCOUNT, DEFAULT_ACCOUNT

Authenticator = Callable[[HttpRequest], Caller]  # or a Fault
KeyLookup = Callable[[str], AccessKey | None]


def signed(regions: Sequence[str], key_of: KeyLookup) -> Authenticator:
    """Every request must be signed with a known key, for a region that is served."""

    def secret_of(access_key_id: str) -> str | None:
        key = key_of(access_key_id)
        return None if key is None else key.secret_access_key

    def authenticate(request: HttpRequest) -> Caller:
        now = datetime.datetime.now(datetime.UTC)
        credential = sigv4.verify(request, regions=regions, now=now, secret_of=secret_of)
        key = key_of(credential.access_key)
        if key is None:  # removed in this very moment
            raise sigv4.unknown_key()
        return Caller(key.access_key_id, key.account, credential.region)

    return authenticate


def anyone(regions: Sequence[str], key_of: KeyLookup = lambda _: None) -> Authenticator:
    """Any signature or none, for use as an emulator on loopback.

    An access key id of 12 digits names the account, as LocalStack has it; a known key has its own; all others are of the
    default account. A region that is not served means the default one, the first.
    """

    def authenticate(request: HttpRequest) -> Caller:
        credential = sigv4.credential(request)
        if credential is None:
            return Caller(None, DEFAULT_ACCOUNT, regions[0])
        region = credential.region if credential.region in regions else regions[0]
        key = key_of(credential.access_key)
        if key is not None:
            return Caller(key.access_key_id, key.account, region)
        account = (
            credential.access_key
            if re.fullmatch(ACCOUNT, credential.access_key, re.ASCII)
            else DEFAULT_ACCOUNT
        )
        return Caller(credential.access_key, account, region)

    return authenticate
