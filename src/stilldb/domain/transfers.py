"""What the control plane and the store say to each other about snapshots that leave and come in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Packed:
    """What an export consists of: the manifest's bytes under its key, and the keys of all other objects."""

    manifest_key: str
    manifest: bytes
    keys: Sequence[str]
    encrypted: bool
