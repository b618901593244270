"""AddTagsToResource, ListTagsForResource, RemoveTagsFromResource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi.operations import filters, shapes
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.control import tags
from stilldb.control.context import Control
from stilldb.domain.tags import validated


@operation("AddTagsToResource", takes="ResourceName Tags")
async def add_tags_to_resource(control: Control, params: Params) -> Mapping[str, Any]:
    """Set tags; a key that is there gets the new value."""
    await tags.add(control, params["ResourceName"], validated(params["Tags"]))
    return {}


@operation("ListTagsForResource", takes="ResourceName Filters")
async def list_tags_for_resource(control: Control, params: Params) -> Mapping[str, Any]:
    """Every tag of a resource; filters are not supported by the model, so each is unrecognised."""
    filters.equals(control, params.get("Filters", ()), {})
    return {"TagList": shapes.tag_list(await tags.listed(control, params["ResourceName"]))}


@operation("RemoveTagsFromResource", takes="ResourceName TagKeys")
async def remove_tags_from_resource(control: Control, params: Params) -> Mapping[str, Any]:
    """Remove tags by key; an absent key is no error."""
    await tags.remove(control, params["ResourceName"], params["TagKeys"])
    return {}
