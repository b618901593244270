"""When a base backup is due, and of which kind: a pure decision that says why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from stilldb.volume.manifest import Base

LONGEST_CHAIN = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Due:
    """A base backup to take: incremental on ``parent``, full without."""

    parent: Base | None
    reason: str


def due(
    bases: Sequence[Base], *, position: int, after_bytes: int, gap: bool = False, full: bool = False
) -> Due | None:
    """What is due with the WAL at LSN ``position``; None while a restore would replay ``after_bytes`` or less.

    ``gap``: WAL is missing since the newest one. ``full``: no incremental one can be taken, one just failed.
    """
    newest = max(bases, key=lambda base: base.start_lsn, default=None)
    if newest is None:
        return Due(None, "there is none")
    if gap:
        return Due(None, "WAL is missing since the last one")
    behind = position - newest.start_lsn
    if behind <= after_bytes:
        return None
    why = f"{behind} bytes of WAL since the last one"
    if full:
        return Due(None, f"{why}, and an incremental one failed")
    if newest.form != "tar":
        return Due(None, f"{why}, which is of format 1")
    chain = _chain(newest, bases)
    if chain[0].parent is not None:
        return Due(None, f"{why}, whose chain is broken")
    if len(chain) >= LONGEST_CHAIN:
        return Due(None, f"{why}, whose chain has {len(chain)} links")
    if sum(base.stored for base in chain[1:]) > chain[0].stored:
        return Due(None, f"{why}, and the incremental ones are larger than the full one")
    return Due(newest, why)


def _chain(base: Base, bases: Sequence[Base]) -> list[Base]:
    known = {other.base_id: other for other in bases}
    chain = [base]
    while chain[0].parent in known and len(chain) <= len(bases):
        chain.insert(0, known[chain[0].parent])
    return chain
