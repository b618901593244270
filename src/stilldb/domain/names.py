"""Identifiers, ARNs and generated ids of the management plane: their rules and AWS's messages. Pure.

Source: the API reference's constraints and recorded answers of the shared RDS control plane.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import re

from stilldb.domain.faults import InvalidParameterValue

ACCOUNT = r"\d{12}"  # the form of an account's number
REGION = r"[a-z0-9-]{1,64}"  # the form of a region's name, as credential scopes have it
DEFAULT_ACCOUNT = "123456789012"
MAX_IDENTIFIER = 63
_IDENTIFIER = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9])*", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Scope:
    """An account and a region: what every resource belongs to, and sees."""

    account: str
    region: str


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """What this StillDB is to one account in one region."""

    account: str
    region: str

    @property
    def scope(self) -> Scope:
        """The account and region alone."""
        return Scope(self.account, self.region)

    @property
    def availability_zones(self) -> tuple[str, ...]:
        """The zones of the region, as labels: one host stands behind all of them."""
        return tuple(f"{self.region}{letter}" for letter in "abc")

    @property
    def vpc_id(self) -> str:
        """The one network of the deployment, a label."""
        return f"vpc-{self._hex('vpc')}"

    @property
    def security_group(self) -> str:
        """The default security group of that network, a label."""
        return f"sg-{self._hex('sg')}"

    def subnet(self, zone: str) -> str:
        """The subnet of a zone, a label."""
        return f"subnet-{self._hex(zone)}"

    @property
    def hosted_zone(self) -> str:
        """HostedZoneId, constant for a region."""
        return "Z" + self._hex("zone").upper()[:13]

    def _hex(self, what: str) -> str:
        return hashlib.sha256(f"{self.account}/{self.region}/{what}".encode()).hexdigest()[:17]

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a resource; ``kind`` is cluster, db, cluster-snapshot, cluster-pg, subgrp, ..."""
        return f"arn:aws:rds:{self.region}:{self.account}:{kind}:{name}"


def new_resource_id(prefix: str) -> str:
    """A DbClusterResourceId or DbiResourceId: prefix, hyphen, 26 base32 characters of 16 random bytes."""
    return f"{prefix}-{base64.b32encode(os.urandom(16)).decode().rstrip('=')}"


def _not_blank(value: str, parameter: str) -> None:
    if not value.strip():
        raise InvalidParameterValue(f"The parameter {parameter} must be provided and must not be blank.")


def _well_formed(value: str, parameter: str) -> str:
    if len(value) > MAX_IDENTIFIER:
        raise InvalidParameterValue(
            f"The parameter {parameter} is not a valid identifier because it is longer than {MAX_IDENTIFIER} characters."
        )
    if not _IDENTIFIER.fullmatch(value):
        raise InvalidParameterValue(
            f"The parameter {parameter} is not a valid identifier. Identifiers must begin with a letter; must contain "
            "only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens."
        )
    return value.lower()


def identifier(value: str, parameter: str) -> str:
    """A new resource's identifier in lower case: 1 to 63 letters, digits, hyphens, first a letter; else a fault."""
    _not_blank(value, parameter)
    return _well_formed(value, parameter)


def snapshot_identifier(value: str, parameter: str) -> str:
    """A new snapshot's identifier in lower case; a first character that is no letter has a message of its own."""
    _not_blank(value, parameter)
    if not (value[0].isascii() and value[0].isalpha()):
        raise InvalidParameterValue(f"Invalid snapshot identifier:  {value}")
    return _well_formed(value, parameter)


def reference(value: str, parameter: str, kind: str, deployment: Deployment) -> str:
    """The identifier, in lower case, that names an existing resource, given as a name or as an ARN of this region.

    An ARN of another account comes back as it is, and names nothing here.
    """
    _not_blank(value, parameter)
    if not value.startswith("arn:"):
        return value.lower()
    parts = value.split(":", 6)
    if len(parts) < 7 or parts[1:3] != ["aws", "rds"] or parts[5] != kind:
        raise InvalidParameterValue(f"Invalid resource name:  {value}")
    if parts[3] != deployment.region:
        if kind == "cluster":
            raise InvalidParameterValue(f"Invalid database cluster identifier:  {value}")
        raise InvalidParameterValue(
            f"The provided ARN ({value}) is invalid for this parameter ({parameter}). "
            f"Expected region = {deployment.region}, actual region = {parts[3]}"
        )
    # Another account's resource is none of ours, whatever its name: no identifier holds a colon, so none is found.
    return parts[6].lower() if parts[4] == deployment.account else value


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a resource is that may belong to another account or region."""

    account: str
    region: str
    name: str

    def is_of(self, deployment: Deployment) -> bool:
        """Whether it is in this very account and region."""
        return (self.account, self.region) == (deployment.account, deployment.region)


def place(value: str, parameter: str, kind: str, deployment: Deployment) -> Place:
    """Where an existing resource is, given as a name of this account and region or as an ARN of any."""
    _not_blank(value, parameter)
    if not value.startswith("arn:"):
        return Place(deployment.account, deployment.region, value.lower())
    parts = value.split(":", 6)
    if len(parts) < 7 or parts[1:3] != ["aws", "rds"] or parts[5] != kind or not all(parts[3:]):
        raise InvalidParameterValue(f"Invalid resource name:  {value}")
    return Place(parts[4], parts[3], parts[6].lower())


def reference_place(value: str, parameter: str, kind: str, deployment: Deployment) -> Place:
    """As ``place``, for a parameter that takes resources of other accounts, but of this region only."""
    found = place(value, parameter, kind, deployment)
    if found.region != deployment.region:
        raise InvalidParameterValue(
            f"The provided ARN ({value}) is invalid for this parameter ({parameter}). "
            f"Expected region = {deployment.region}, actual region = {found.region}"
        )
    return found


def resource_arn(value: str, deployment: Deployment) -> tuple[str, str]:
    """Split the ARN of a taggable resource into kind and name; faults for another region, account or service."""
    parts = value.split(":", 6)
    if len(parts) < 7 or parts[0] != "arn" or not parts[6]:
        raise InvalidParameterValue(f"Invalid resource name:  {value}")
    if parts[1:5] != ["aws", "rds", deployment.region, deployment.account]:
        raise InvalidParameterValue(
            "The specified resource name does not match an RDS resource in this region."
        )
    return parts[5], parts[6].lower()
