"""One volume's archive of format 1 on disk: base backups and WAL segments as they lie there, snapshots written, space freed."""

from __future__ import annotations

import os
import pathlib

from stilldb.domain.volumes import SnapshotIntent, VolumeError
from stilldb.postgres import lsn
from stilldb.util import files
from stilldb.volume import expire
from stilldb.volume.layout import ArchivePaths, Layout
from stilldb.volume.manifest import (
    Base,
    Manifest,
    choose_base,
    dump_manifest,
    load_base,
    load_manifest,
)

_EXPIRED = ".expired"
_DRAFT = ".draft"


class Archive:
    """The archive of one volume. Everything is read from the disk each time: nothing here can be stale."""

    def __init__(self, layout: Layout, paths: ArchivePaths) -> None:
        self._layout = layout
        self.paths = paths

    def prepare(self) -> None:
        """Make its directories."""
        for path in (self.paths.wal, self.paths.bases, self.paths.snapshots):
            self._layout.make(path)

    def exists(self) -> bool:
        """Whether there is an archive."""
        return self.paths.root.exists()

    def bases(self) -> list[Base]:
        """Every complete base backup; a damaged description raises VolumeError."""
        if not self.paths.bases.exists():
            return []
        # Drafts and expired ones hold a description too, but have another name than it says.
        names = [entry.name for entry in os.scandir(self.paths.bases)]
        found = (self.paths.base(name) for name in names if not name.endswith((_EXPIRED, _DRAFT)))
        return [load_base(base.complete.read_bytes()) for base in found if base.complete.exists()]

    def lacks_base(self) -> bool:
        """Whether no base backup could serve the next snapshot."""
        return self.paths.gap.exists() or not self.bases()

    def note_gap(self) -> None:
        """Remember, beyond this process, that WAL was lost: the base backups before it serve no later snapshot."""
        files.write_durably(self.paths.gap, b"")

    def bridge_gap(self) -> None:
        """A new base backup is there."""
        if self.paths.gap.exists():
            self.paths.gap.unlink()
            files.flush_directory(self.paths.root)

    def segments(self) -> dict[str, int]:
        """Name to size in bytes of every WAL segment, the newest ``.partial``."""
        if not self.paths.wal.exists():
            return {}
        return {
            entry.name: entry.stat().st_size
            for entry in os.scandir(self.paths.wal)
            if lsn.parse_segment(entry.name)
        }

    def manifest(self, snapshot_id: str) -> Manifest:
        """A published snapshot's manifest; raises VolumeError when there is none or it is damaged."""
        return self._read(self.paths.manifest(snapshot_id))

    def _read(self, path: pathlib.Path) -> Manifest:
        try:
            return load_manifest(path.read_bytes())
        except FileNotFoundError:
            raise VolumeError(f"there is no {path}") from None

    def manifests(self) -> list[Manifest]:
        """Every snapshot's manifest, published or draft: each pins what it names."""
        if not self.paths.snapshots.exists():
            return []
        names = [entry.name for entry in os.scandir(self.paths.snapshots)]
        paths = [
            path for name in names for path in (self.paths.manifest(name), self.paths.manifest_draft(name))
        ]
        return [self._read(path) for path in paths if path.exists()]

    def draft(self, intent: SnapshotIntent) -> None:
        """Choose the base backup and write the manifest's draft, which pins it."""
        if self.paths.manifest(intent.snapshot_id).exists():
            return
        base = choose_base(self.bases(), intent.point)
        if base is None:
            raise VolumeError(
                f"no base backup of {intent.volume.prefix} ended before {lsn.text(intent.point.lsn)} on timeline "
                f"{intent.point.timeline}"
            )
        path = self.paths.manifest_draft(intent.snapshot_id)
        self._layout.make(path.parent)
        files.write_durably(path, dump_manifest(Manifest.of(intent, [base])))
        files.flush_directory(self.paths.snapshots)

    def verify(self, intent: SnapshotIntent) -> None:
        """Check the manifest and that every object it names is there in full length."""
        published = self.paths.manifest(intent.snapshot_id)
        manifest = self._read(
            published if published.exists() else self.paths.manifest_draft(intent.snapshot_id)
        )
        if manifest.point.lsn != intent.point.lsn and not published.exists():
            raise VolumeError(f"the draft of snapshot {intent.snapshot_id} is of another restore point")
        self.check_objects(manifest)

    def check_objects(self, manifest: Manifest) -> None:
        """The base backup is complete, the WAL from it to the restore point has no hole, its timeline has its history."""
        try:
            base = load_base(self.paths.base(manifest.base.base_id).complete.read_bytes())
        except FileNotFoundError as error:
            raise VolumeError(
                f"the archive {self.paths.root} lacks a base backup: {error.filename}"
            ) from None
        if base != manifest.base:
            raise VolumeError(f"the base backup {base.base_id} is not the one that the manifest names")
        self.segment_files(manifest)
        self.history_file(manifest)

    def _segment_file(self, manifest: Manifest, number: int) -> pathlib.Path:
        """The file of a segment that a manifest needs; only the last may be the one still being received."""
        name = lsn.segment_name(manifest.point.timeline, number)
        # The receiver renames a segment when it is complete: between two looks, so the final name is looked at twice.
        candidates = [name, f"{name}.partial", name] if number == manifest.segments[-1] else [name]
        for path in (self.paths.wal / candidate for candidate in candidates):
            if _size(path) == lsn.SEGMENT_BYTES:
                return path
        raise VolumeError(f"the archive {self.paths.root} lacks WAL segment {name}, or it is short")

    def segment_files(self, manifest: Manifest) -> list[pathlib.Path]:
        """The file of every WAL segment of a manifest, in order; raises VolumeError when one is missing."""
        return [self._segment_file(manifest, number) for number in manifest.segments]

    def history_file(self, manifest: Manifest) -> pathlib.Path | None:
        """The history of the snapshot's timeline, without which it can't be a target; the first timeline has none."""
        if manifest.point.timeline == 1:
            return None
        path = self.paths.wal / lsn.history_name(manifest.point.timeline)
        if not path.exists():
            raise VolumeError(f"the archive {self.paths.root} lacks the timeline history {path.name}")
        return path

    def publish(self, intent: SnapshotIntent) -> None:
        """Give the manifest its name: from here on the snapshot exists."""
        draft, final = self.paths.manifest_draft(intent.snapshot_id), self.paths.manifest(intent.snapshot_id)
        if not final.exists():
            draft.rename(final)
            files.flush_directory(final.parent)

    def forget(self, snapshot_id: str) -> None:
        """Remove a snapshot's manifest, published or draft; what only it needed goes with the next ``expire``."""
        folder = self.paths.manifest(snapshot_id).parent
        if folder.exists():
            # The name first: half a removal must not leave a manifest whose objects are gone.
            self.paths.manifest(snapshot_id).unlink(missing_ok=True)
            files.flush_directory(folder)
            files.remove_tree(folder)
            files.flush_directory(self.paths.snapshots)

    def expire(self, *, live: bool) -> list[pathlib.Path]:
        """Take away the names of what nothing needs, quickly; returns what ``sweep`` is to remove, earlier ones included."""
        verdicts = expire.verdicts(
            bases=self.bases(), segments=self.segments(), manifests=self.manifests(), live=live
        )
        for verdict in verdicts:
            if not verdict.keep:
                path = (
                    self.paths.base(verdict.name).root
                    if verdict.kind == "base"
                    else self.paths.wal / verdict.name
                )
                path.rename(path.with_name(path.name + _EXPIRED))
        return self._named(_EXPIRED)

    def leftovers(self) -> list[pathlib.Path]:
        """What an interrupted base backup or sweep left; asked only while no base backup runs."""
        return self._named(_EXPIRED, _DRAFT)

    def _named(self, *endings: str) -> list[pathlib.Path]:
        folders = [folder for folder in (self.paths.bases, self.paths.wal) if folder.exists()]
        return [
            pathlib.Path(entry.path)
            for folder in folders
            for entry in os.scandir(folder)
            if entry.name.endswith(endings)
        ]

    def remove_if_empty(self) -> None:
        """An archive without snapshots of a volume that is gone has no reason to be."""
        if self.exists() and not os.listdir(self.paths.snapshots):
            files.remove_tree(self.paths.root)
            if not os.listdir(self.paths.root.parent):
                self.paths.root.parent.rmdir()


def _size(path: pathlib.Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def sweep(paths: list[pathlib.Path]) -> int:
    """Remove files and directories, even if another sweep is at it; returns the bytes freed."""
    freed = 0
    for path in paths:
        if path.is_dir():
            freed += files.remove_tree(path)
        else:
            freed += _size(path) or 0
            path.unlink(missing_ok=True)
    return freed
