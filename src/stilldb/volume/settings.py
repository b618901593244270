"""What can be set about volumes."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSettings:
    """When base backups are due, how long a mark may wait, what the spool may take; bytes and seconds."""

    # WAL since the newest base backup's start after which the next is taken; what is written until that one has ended
    # comes on top of it, and together it stays under 512 MiB.
    base_after_bytes: int = 256 << 20
    mark_within: float = 10.0
    heartbeat_every: float = 5.0
    spool_limit_bytes: int | None = None  # None: 10 GB, or a quarter of the free disk where that is less
    free_floor_bytes: int = 512 << 20  # of the state directory's disk
    orphan_grace: float = 3600.0  # age at which another process counts what belongs to nothing

    @classmethod
    def replaying(cls, megabytes: int) -> VolumeSettings:
        """So that no restore replays more WAL: half of it starts a base backup, the rest is for what is written meanwhile."""
        return cls(base_after_bytes=megabytes * (1 << 20) // 2)
