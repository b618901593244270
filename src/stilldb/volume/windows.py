"""The moments that a volume can be restored to: a pure function over its base backups, its last heartbeat and its gaps."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from stilldb.domain.volumes import RestorableWindow
from stilldb.volume.manifest import Base, Gap


def window(
    bases: Sequence[Base],
    gaps: Sequence[Gap],
    *,
    latest: datetime.datetime | None,
    now: datetime.datetime,
    retention: datetime.timedelta | None,
) -> RestorableWindow | None:
    """From the end of the oldest base backup, but not older than ``retention``, to ``latest``, the last archived moment.

    None while there is nothing to restore to. A gap that still lasts ends the window.
    """
    finished = [datetime.datetime.fromisoformat(base.finished_at) for base in bases]
    if not finished or latest is None:
        return None
    open_since = min((gap.since for gap in gaps if gap.until is None), default=latest)
    latest = min(latest, open_since)
    earliest = min(finished) if retention is None else max(min(finished), now - retention)
    holes = [(gap.since, gap.until) for gap in gaps if gap.until is not None and gap.until > earliest]
    for since, until in sorted(holes):
        if since < earliest:
            earliest = until
    inside = tuple(sorted((since, until) for since, until in holes if earliest <= since and until <= latest))
    return RestorableWindow(earliest, latest, inside) if earliest <= latest else None
