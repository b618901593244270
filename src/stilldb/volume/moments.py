"""What a volume remembers beside its data: its last archived moment, its retention, and a gap that still lasts."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json

from stilldb.util import files
from stilldb.volume.layout import VolumePaths
from stilldb.volume.manifest import Gap


@dataclasses.dataclass(frozen=True, slots=True)
class OpenGap:
    """WAL is missing since a moment (UTC)."""

    since: datetime.datetime
    reason: str


class Moments:
    """Read when it is made; a damaged file counts as absent, since everything in it comes again."""

    def __init__(self, paths: VolumePaths) -> None:
        self._paths = paths
        self.latest: datetime.datetime | None = None
        self.retention: datetime.timedelta | None = None
        self.gap: OpenGap | None = None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(paths.latest.read_bytes())
            if kept["retention"] is not None:
                self.retention = datetime.timedelta(seconds=kept["retention"])
            if kept["latest"] is not None:
                self.latest = datetime.datetime.fromisoformat(kept["latest"])
        if paths.gap.exists():
            self.gap = OpenGap(datetime.datetime.now(datetime.UTC), "WAL was lost")
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                kept = json.loads(paths.gap.read_bytes())
                self.gap = OpenGap(datetime.datetime.fromisoformat(kept["since"]), kept["reason"])

    def archived(self, moment: datetime.datetime) -> None:
        """Everything committed until this moment (UTC) is archived. Clocks may be set back: never earlier than before."""
        if self.latest is None or moment > self.latest:
            self.latest = moment
            self._save()

    def retain(self, retention: datetime.timedelta) -> None:
        """How far back the volume is to be restorable."""
        if retention != self.retention:
            self.retention = retention
            self._save()

    def _save(self) -> None:
        """Not flushed: what a crash takes comes again in seconds."""
        content = {
            "latest": None if self.latest is None else self.latest.isoformat(),
            "retention": None if self.retention is None else self.retention.total_seconds(),
        }
        if self._paths.root.exists():
            temporary = self._paths.latest.with_suffix(".tmp")
            temporary.write_text(json.dumps(content))
            temporary.replace(self._paths.latest)

    def open_gap(self, reason: str) -> OpenGap:
        """Remember, beyond this process, that WAL is missing from the last archived moment on."""
        if self.gap is None:
            self.gap = OpenGap(self.latest or datetime.datetime.now(datetime.UTC), reason)
            content = {"since": self.gap.since.isoformat(), "reason": reason}
            files.write_durably(self._paths.gap, json.dumps(content).encode())
        return self.gap

    def close_gap(self) -> None:
        """A new base backup is there, and the record knows of the gap."""
        self.gap = None
        self._paths.gap.unlink(missing_ok=True)
        files.flush_directory(self._paths.root)

    def gaps(self, recorded: tuple[Gap, ...]) -> tuple[Gap, ...]:
        """The record's gaps, and the one that lasts."""
        return recorded if self.gap is None else (*recorded, Gap(self.gap.since, None))
