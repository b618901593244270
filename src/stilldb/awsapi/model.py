"""The contract: botocore's service model of ``docdb``, loaded once. Everything that parses or serialises walks it."""

from __future__ import annotations

import functools
from typing import Any

import botocore.loaders
import botocore.model

SERVICE = "docdb"


@functools.cache
def service() -> Any:
    """The ServiceModel of the installed botocore."""
    description = botocore.loaders.Loader().load_service_model(SERVICE, "service-2")
    return botocore.model.ServiceModel(description, service_name=SERVICE)


@functools.cache
def operations() -> frozenset[str]:
    """The names of every operation of the model."""
    return frozenset(service().operation_names)


@functools.cache
def operation(name: str) -> Any:
    """The OperationModel with this name, which is one of ``operations()``."""
    return service().operation_model(name)


@functools.cache
def version() -> str:
    """The value of the Version parameter."""
    return str(service().api_version)


@functools.cache
def namespace() -> str:
    """The XML namespace of answers."""
    return str(service().metadata["xmlNamespace"])


@functools.cache
def fault_codes(name: str) -> frozenset[str]:
    """The wire codes of the faults that the model lists for an operation."""
    return frozenset(shape.error_code for shape in operation(name).error_shapes)
