"""DescribeEvents and DescribeEventCategories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stilldb.awsapi import paging
from stilldb.awsapi.operations import filters
from stilldb.awsapi.operations.declared import Params, operation
from stilldb.control import events
from stilldb.control.context import Control
from stilldb.domain.events import CATEGORIES, source_type, span
from stilldb.domain.faults import InvalidParameterCombination
from stilldb.domain.resources import Event

_FILTERS = {"engine": None}


@operation(
    "DescribeEvents",
    takes="SourceIdentifier SourceType StartTime EndTime Duration EventCategories Filters MaxRecords Marker",
)
async def describe_events(control: Control, params: Params) -> Mapping[str, Any]:
    """Events of the last hour, or of the time asked for, oldest first."""
    limit = paging.limit(params)
    name, kind = params.get("SourceIdentifier"), params.get("SourceType")
    if name is not None and kind is None:
        raise InvalidParameterCombination(
            "SourceIdentifier needs SourceType beside it. Give the type of the resource, for example db-cluster."
        )
    first, last = span(control.now(), params.get("StartTime"), params.get("EndTime"), params.get("Duration"))
    excluded = filters.equals(control, params.get("Filters", ()), _FILTERS)
    found = await events.describe(
        control,
        first,
        last,
        source_type=None if kind is None else source_type(kind),
        source_identifier=None if name is None else name.lower(),
        categories=params.get("EventCategories", ()),
        after=paging.after("DescribeEvents", params, None),
        limit=limit,
    )
    listed, marker = paging.cut("DescribeEvents", params, [] if excluded else found, lambda row: row.event_id)
    return {"Events": [_event(row) for row in listed], **marker}


def _event(row: Event) -> dict[str, Any]:
    return {
        "SourceIdentifier": row.source_identifier,
        "SourceType": row.source_type,
        "Message": row.message,
        "EventCategories": list(row.categories),
        "Date": row.date,
        "SourceArn": row.source_arn,
    }


@operation("DescribeEventCategories", takes="SourceType Filters")
async def describe_event_categories(control: Control, params: Params) -> Mapping[str, Any]:
    """The categories of every source type, or of one."""
    excluded = filters.equals(control, params.get("Filters", ()), _FILTERS)
    wanted = params.get("SourceType")
    listed = CATEGORIES if wanted is None else {source_type(wanted): CATEGORIES.get(wanted, ())}
    return {
        "EventCategoriesMapList": [
            {"SourceType": kind, "EventCategories": list(categories)}
            for kind, categories in listed.items()
            if not excluded
        ]
    }
