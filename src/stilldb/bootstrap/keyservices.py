"""Which service holds the KMS keys: the local key ring, or AWS KMS."""

from __future__ import annotations

import pathlib
from typing import Protocol

from stilldb.domain.names import Scope
from stilldb.volume.awskms import AwsKms
from stilldb.volume.keyring import Kms, LocalKeyring


class KeyServices(Protocol):
    """The KMS keys of every account and region."""

    def of(self, scope: Scope) -> Kms:
        """The service for an account in a region."""

    def keyring(self, scope: Scope) -> LocalKeyring | None:
        """Its local key ring; None where there is none."""


class LocalKeys:
    """Key rings in one directory for all regions: a copy from another one is opened with that one's key."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def of(self, scope: Scope) -> Kms:
        """The account's key ring in the region."""
        return self.keyring(scope)

    def keyring(self, scope: Scope) -> LocalKeyring:
        """The account's key ring in the region."""
        return LocalKeyring(self._directory, scope.account, scope.region)


class AwsKeys:
    """AWS KMS, with the credentials of this process for all accounts. ``default_key`` is taken where no key is named."""

    def __init__(self, default_key: str | None) -> None:
        self._default_key = default_key
        self._services: dict[str, AwsKms] = {}

    def of(self, scope: Scope) -> Kms:
        """AWS KMS in the region."""
        if scope.region not in self._services:
            self._services[scope.region] = AwsKms(scope.region, default_key=self._default_key)
        return self._services[scope.region]

    def keyring(self, scope: Scope) -> None:
        """There is none: keys are made and closed with AWS's own tools."""
