"""The Filters parameter of Describe operations. Source: the RDS model and recorded behaviour of the shared endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stilldb.control.context import Control
from stilldb.domain import engine, names
from stilldb.domain.faults import InvalidParameterCombination, InvalidParameterValue

# Filter name -> what its values are called in AWS's message for an empty list, and the kind in their ARNs.
_KNOWN = {
    "db-cluster-id": ("DB Cluster Identifiers", "cluster"),
    "db-instance-id": ("DB Instance Identifiers", "db"),
    "db-cluster-snapshot-id": ("DB Cluster Snapshot Identifiers", "cluster-snapshot"),
    "snapshot-type": ("Snapshot Types", None),
    "engine": ("Engine Names", None),
    "db-cluster-resource-id": ("DB Cluster Resource Ids", None),
    "dbi-resource-id": ("DB Instance Resource Ids", None),
}


def equals(
    control: Control, filters: Sequence[Mapping[str, Any]], fields: Mapping[str, str | None]
) -> dict[str, Any]:
    """Row fields to wanted values. ``fields`` names the field of each filter that the operation has.

    Id filters take names and ARNs and ignore case; several filters narrow each other.
    """
    wanted: dict[str, Any] = {}
    for given in filters:
        name, values = given.get("Name", ""), list(given.get("Values", ()))
        if name not in fields:
            raise InvalidParameterValue(f"Unrecognized filter name: {name}")
        description, kind = _KNOWN[name]
        if not values:
            raise InvalidParameterCombination(f"The list of {description} must not be empty.")
        if kind is not None:
            values = [_identifier(control, value, kind) for value in values]
        field = fields[name]
        if field is None:  # every row is docdb's: the filter excludes all or none
            if engine.ENGINE in values:
                continue
            field, values = "identifier", []
        wanted[field] = [value for value in values if value in wanted.get(field, values)]
    return wanted


def _identifier(control: Control, value: str, kind: str) -> str:
    try:
        return names.reference(value, "Filters", kind, control.deployment)
    except InvalidParameterValue:
        return value.lower()  # an ARN of another region or account matches nothing here
