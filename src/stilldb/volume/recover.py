"""Recovery of a snapshot or a moment into a new data directory: fetch the base backups, replay to the target, promote.

Failpoints: restore.copied (the data of the base backups is there), restore.placed (as the data directory).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import pathlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from stilldb.domain.volumes import RestorePoint, TimeTarget, VolumeError
from stilldb.postgres import UNREACHABLE, Server, lsn
from stilldb.util import failpoints, files
from stilldb.volume import backup, fetch, snapshots
from stilldb.volume.archive import Archive
from stilldb.volume.layout import Layout, VolumePaths
from stilldb.volume.manifest import Base, Manifest
from stilldb.volume.prefetch import Fetch, Prefetch

_COPIED: Final = 80  # percent of the progress that the copy stands for; replay is the rest
_LOOK_EVERY: Final = 0.02  # seconds between looks at the replayed LSN
_RECOVERY: Final = "SELECT pg_is_in_recovery() AS recovering, pg_last_wal_replay_lsn() AS replayed"
# What PostgreSQL's log says when it met no commit after the moment, and when the base backup ended after it.
_NOTHING_LATER: Final = "recovery ended before configured recovery target was reached"
_TOO_EARLY: Final = "before consistent recovery point"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One way to recover: from a chain of base backups, by these settings, with the WAL that ``wal`` brings."""

    chain: Sequence[Base]  # empty where the data is there already
    start: int  # LSN that replay starts from
    target: Mapping[str, str]  # PostgreSQL's settings
    timeline: int
    wal: Fetch
    last: int | None  # number of the last segment; None: as far as there are any
    known: int  # number of the last segment that the archive had
    until: int  # LSN that is to be reached; of a moment, a guess

    @property
    def base(self) -> Base:
        return self.chain[-1]


async def recover(
    layout: Layout,
    source: Archive,
    manifest: Manifest,
    target: VolumePaths,
    server: Server,
    progress: Callable[[int], None],
    *,
    keep: bool = True,
) -> None:
    """Make ``target`` from ``source``'s snapshot: promoted, its server stopped cleanly, and flushed if it is to ``keep``.

    A target that an earlier attempt left is thrown away first. The source is only read.
    """
    source = source.under(manifest.keys) if manifest.keys else source
    await snapshots.check_objects(source, manifest)
    last = manifest.segments[-1]
    timeline = manifest.point.timeline

    async def wal(number: int) -> bytes | None:
        return await (source.last_segment(manifest) if number == last else source.segment(timeline, number))

    plan = _Plan(
        chain=manifest.chain,
        start=manifest.base.start_lsn,
        # By name: recovery to the LSN of the very last record fails.
        target={"recovery_target_name": manifest.point.name},
        timeline=timeline,
        wal=wal,
        last=last,
        known=last,
        until=manifest.point.lsn,
    )
    await _carry_out(layout, source, plan, target, server, progress)
    if keep:
        await _flush(target)


async def recover_to(
    layout: Layout,
    source: Archive,
    moment: TimeTarget,
    target: VolumePaths,
    server: Server,
    progress: Callable[[int], None],
) -> None:
    """The same to a moment: what was committed at it or before is there, and nothing later.

    The caller knows that the moment lies in the archive's window. Raises VolumeError where the WAL up to it has a hole.
    """
    bases = await source.bases()
    following: Base | None = None
    for base in reversed(bases):
        if _finished(base) <= moment.time:
            with contextlib.suppress(_BaseTooLate):
                plan = await _to_moment(source, base, following, moment)
                await _carry_out(layout, source, plan, target, server, progress)
                await _flush(target)
                return
        following = base
    raise VolumeError(f"no base backup of {source.keys.volume.prefix} ended before {moment.time.isoformat()}")


def _finished(base: Base) -> datetime.datetime:
    return datetime.datetime.fromisoformat(base.finished_at)


class _BaseTooLate(VolumeError):
    """By the database's clock the base backup ended after the moment: an earlier one must serve."""


class _NothingLater(VolumeError):
    """No commit after the moment is in the archive: all there is belongs to the moment."""


async def _to_moment(source: Archive, base: Base, following: Base | None, moment: TimeTarget) -> _Plan:
    """From a base backup to a moment, which comes before ``following`` ended, if that is one."""
    known = max((await source.segments()).get(base.timeline, {-1}))
    return _Plan(
        chain=await source.chain_of(base),
        start=base.start_lsn,
        target={"recovery_target_time": moment.time.isoformat(), "recovery_target_inclusive": "on"},
        timeline=base.timeline,
        wal=lambda number: source.segment(base.timeline, number),
        last=None,
        known=known,
        until=(known + 1) * lsn.SEGMENT_BYTES if following is None else following.end_lsn,
    )


async def _carry_out(
    layout: Layout,
    source: Archive,
    plan: _Plan,
    target: VolumePaths,
    server: Server,
    progress: Callable[[int], None],
) -> None:
    await fetch.clear(target.draft)
    await asyncio.to_thread(files.remove_tree, target.data)
    layout.make(target.root)
    async with _wal_of(layout, source, plan, target) as prefetch:
        if plan.base.form == "directory":
            await _copy_plain(layout, source.directory(plan.base), target, server, plan.base.size, progress)
        else:
            await fetch.fetch(
                source,
                plan.chain,
                target.draft,
                server.programs,
                lambda done, total: progress(_COPIED * done // total),
                nice=server.nice,
            )
        await failpoints.reach("restore.copied")
        async with prefetch.running():
            target.draft.rename(target.data)
            await failpoints.reach("restore.placed")
            await _replay(plan, target, server, prefetch, progress)


async def replay(
    layout: Layout,
    source: Archive,
    start: int,
    point: RestorePoint,
    target: VolumePaths,
    server: Server,
    progress: Callable[[int], None],
) -> None:
    """Replay ``source``'s WAL over a copy of the volume that ``target`` has as its data; then it is promoted, stopped, flushed.

    ``start``: the LSN where the copy began; its backup_label is in the data. Replay goes to the restore point.
    """
    last = lsn.segment_number(max(point.lsn - 1, 0))
    plan = _Plan(
        chain=(),
        start=start,
        target={"recovery_target_name": point.name},
        timeline=point.timeline,
        wal=lambda number: source.segment(point.timeline, number),
        last=last,
        known=last,
        until=point.lsn,
    )
    async with _wal_of(layout, source, plan, target) as prefetch, prefetch.running():
        await _replay(plan, target, server, prefetch, progress)
    await _flush(target)


@contextlib.asynccontextmanager
async def _wal_of(
    layout: Layout, source: Archive, plan: _Plan, target: VolumePaths
) -> AsyncIterator[Prefetch]:
    """The place that the plan's WAL comes to, with room on the disk for everything; removed at the end."""
    first = lsn.segment_number(plan.start)
    wal = max(plan.until - plan.start, 0) + lsn.SEGMENT_BYTES
    fetch.require_space(target.root, fetch.space_of(plan.chain, wal))
    prefetch = Prefetch(
        target.recovery_wal,
        layout.owner,
        timeline=plan.timeline,
        first=first,
        last=plan.last,
        fetch=plan.wal,
    )
    try:
        if plan.timeline != 1:
            history = await source.history(plan.timeline)
            if history is None:
                raise VolumeError(
                    f"the archive {source.keys.volume.prefix} lacks {lsn.history_name(plan.timeline)}"
                )
            prefetch.add(lsn.history_name(plan.timeline), history)
        yield prefetch
    except OSError as error:  # such as a disk that is full after all
        raise VolumeError(f"{target.root} could not be restored: {error}") from error
    finally:
        await asyncio.to_thread(files.remove_tree, target.recovery_wal)


async def _copy_plain(
    layout: Layout,
    base: pathlib.Path,
    target: VolumePaths,
    server: Server,
    size: int,
    progress: Callable[[int], None],
) -> None:
    """Copy a base backup of format 1, whose bytes are checked meanwhile."""
    checking = asyncio.create_task(backup.verify(server.programs, base))
    try:
        await asyncio.to_thread(
            files.copy_tree,
            base,
            target.draft,
            owner=layout.owner,
            without=(pathlib.Path("backup_manifest"),),
            progress=lambda done: progress(min(_COPIED, done * _COPIED // max(size, 1))),
        )
        await checking
    finally:
        checking.cancel()
        with contextlib.suppress(asyncio.CancelledError, VolumeError):
            await checking


async def _replay(
    plan: _Plan, target: VolumePaths, server: Server, prefetch: Prefetch, progress: Callable[[int], None]
) -> None:
    server.configure()
    signal_file = target.data / "recovery.signal"
    signal_file.touch(mode=0o600)
    if server.programs.run_as is not None:
        os.chown(signal_file, *server.programs.run_as)
    try:
        await _run(plan, plan.target, server, prefetch, progress)
    except _NothingLater as error:
        assert prefetch.ended_at is not None
        if prefetch.ended_at <= plan.known:
            name = lsn.segment_name(plan.timeline, prefetch.ended_at)
            raise VolumeError(
                f"the archive lacks WAL segment {name}, which comes before {_told(plan)}"
            ) from error
        # On with the same WAL, to its end: a commit that arrived since belongs to another moment.
        await _run(plan, {}, server, prefetch, progress)
    await server.stop()


async def _run(
    plan: _Plan,
    target: Mapping[str, str],
    server: Server,
    prefetch: Prefetch,
    progress: Callable[[int], None],
) -> None:
    """Let PostgreSQL replay to a target and promote itself."""
    logged = _size(server.log)
    try:
        await server.start(
            {
                "restore_command": prefetch.command,
                # Never "latest": the timeline is the one of the base backup and of the target.
                "recovery_target_timeline": str(plan.timeline),
                "recovery_target_action": "promote",
                "shared_buffers": _buffers(),
                # Nothing counts before the end, and then all of it is flushed at once.
                "fsync": "off",
                **target,
            }
        )
        await _until_promoted(plan, server, progress)
    except VolumeError as error:
        if prefetch.failure is not None:
            raise prefetch.failure from error
        told = _log_since(server.log, logged)
        await server.stop()  # it is on its way
        if _TOO_EARLY in told:
            raise _BaseTooLate(f"{plan.base.base_id} ended after the moment") from error
        if _NOTHING_LATER in told and plan.last is None and target:
            raise _NothingLater("no commit after the moment is archived") from error
        raise


async def _flush(target: VolumePaths) -> None:
    """What was copied, written and renamed with fsync off outlives a crash of the machine from here on."""
    await asyncio.to_thread(files.flush_filesystem, target.root)


def _told(plan: _Plan) -> str:
    return next(iter(plan.target.values()), "its end")


def _buffers() -> str:
    """An eighth of the memory, 1 GB at the most: replay of much WAL is faster the fewer pages it writes twice."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{min(1 << 30, memory // 8) >> 20}MB"


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _log_since(path: pathlib.Path, start: int) -> str:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as log:
        log.seek(start)
        return log.read().decode(errors="replace")
    return ""


async def _until_promoted(plan: _Plan, server: Server, progress: Callable[[int], None]) -> None:
    """Wait for the end of recovery, telling how far replay is by the LSN replayed against the target's."""
    begin = plan.start
    connection = await server.connect()  # read-only as soon as the data is consistent
    try:
        while True:
            row = await connection.fetchrow(_RECOVERY)
            if not row["recovering"]:
                return
            if row["replayed"] is not None:
                done = int(row["replayed"]) - begin
                total = max(plan.until - begin, 1)
                progress(min(99, _COPIED + done * (99 - _COPIED) // total))
            await asyncio.sleep(_LOOK_EVERY)
    except UNREACHABLE as error:
        raise VolumeError(f"recovery to {_told(plan)} broke off: {server.log_tail()}") from error
    finally:
        connection.terminate()
