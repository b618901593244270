"""Events: recorded in the transaction of the change they tell of, listed by DescribeEvents, kept for 14 days."""

from __future__ import annotations

import datetime
import itertools
import os
from collections.abc import Collection

from stilldb.control.context import Control
from stilldb.control.ports import Transaction
from stilldb.domain.events import KEPT_FOR
from stilldb.domain.resources import Cluster, Event, Instance, RetainedBackup, Snapshot
from stilldb.domain.volumes import Notice

_EXPIRE_AT_ONCE = 500  # rows of one look
_numbers = itertools.count()

# What a volume tells -> the category its event has.
_CATEGORIES = {"gap": "failure", "backup failed": "failure", "base backup": "backup"}


def record(
    tx: Transaction,
    control: Control,
    about: Cluster | Instance | Snapshot | RetainedBackup,
    category: str,
    message: str,
) -> None:
    """Write an event of a resource, dated now."""
    source_type, kind, identifier = _source(about)
    now = control.now()
    tx.add(
        Event(
            event_id=_key(now, f"{next(_numbers):012x}-{os.urandom(4).hex()}"),
            source_type=source_type,
            source_identifier=identifier,
            source_arn=control.deployment.arn(kind, identifier),
            categories=(category,),
            message=message,
            date=now,
        )
    )


def _source(about: Cluster | Instance | Snapshot | RetainedBackup) -> tuple[str, str, str]:
    """Source type, kind in the ARN, identifier."""
    if isinstance(about, Snapshot):
        return "db-cluster-snapshot", "cluster-snapshot", about.identifier
    if isinstance(about, Instance):
        return "db-instance", "db", about.identifier
    return (
        "db-cluster",
        "cluster",
        about.identifier if isinstance(about, Cluster) else about.cluster_identifier,
    )


def _key(moment: datetime.datetime, rest: str = "") -> str:
    """A key that sorts by time, then by the order in which events were recorded."""
    return f"{int(moment.timestamp() * 1_000_000):020d}-{rest}"


async def describe(
    control: Control,
    first: datetime.datetime,
    last: datetime.datetime,
    *,
    source_type: str | None,
    source_identifier: str | None,
    categories: Collection[str],
    after: str | None,
    limit: int,
) -> list[Event]:
    """Events from ``first`` to ``last``, oldest first, after the key of a page before; one more than ``limit`` at most."""
    equals = {"source_type": source_type, "source_identifier": source_identifier}
    given = {name: value for name, value in equals.items() if value is not None}

    def work(tx: Transaction) -> list[Event]:
        found: list[Event] = []
        key = max(_key(first), after or "")
        while len(found) <= limit:
            rows = tx.find(Event, after=(key,), limit=limit + 1, **given)
            listed = [row for row in rows if row.date <= last]
            found += [row for row in listed if not categories or set(categories) & set(row.categories)]
            if len(listed) <= limit:
                break
            key = rows[-1].event_id
        return found[: limit + 1]

    return await control.store.run(work)


def expire(tx: Transaction, now: datetime.datetime) -> None:
    """Remove events older than 14 days, the oldest first."""
    for row in tx.find(Event, limit=_EXPIRE_AT_ONCE):
        if row.date > now - KEPT_FOR:
            return
        tx.remove(row)


async def note(control: Control, notice: Notice) -> bool:
    """Record what a volume tells as an event of its cluster; False when the cluster is none of this scope."""

    def work(tx: Transaction) -> bool:
        for cluster in tx.find(Cluster, resource_id=notice.volume.resource_id):
            record(tx, control, cluster, _CATEGORIES.get(notice.category, "notification"), notice.message)
            return True
        return False

    return await control.store.run(work)
