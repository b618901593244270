"""THE names of files and directories below the state directory. Documented in docs/design/state-directory.md.

Format 2. A name is changed only together with FORMAT, and an older format stays readable.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import tempfile

from stilldb.domain.volumes import VolumeError, VolumeKey
from stilldb.util import files

FORMAT = 2
_SOCKET_PATH_LIMIT = 107  # bytes, of sockaddr_un
_SOCKET_NAME = "/.s.PGSQL.5432"


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """The state directory, and the user who owns what PostgreSQL touches."""

    state: pathlib.Path
    owner: tuple[int, int] | None

    def prepare(self) -> None:
        """Make the directories that everything stands in."""
        files.make_directory(self.state, 0o755 if self.owner else 0o700, None)
        for name in ("volumes", "archive", "templates", "scratch", "run", "log"):
            files.make_directory(self.state / name, 0o700, self.owner)
        files.make_directory(self.state / "postgresql", 0o755, None)

    @property
    def templates(self) -> pathlib.Path:
        """Templates of new volumes."""
        return self.state / "templates"

    @property
    def programs(self) -> pathlib.Path:
        """A copy of PostgreSQL, where the server's user can't reach the installed one."""
        return self.state / "postgresql"

    def sockets(self, name: str) -> pathlib.Path:
        """A directory for unix sockets, 0700; below the temporary directory when the path would be too long."""
        short = hashlib.sha256(name.encode()).hexdigest()[:12]
        path = self.state / "run" / short
        if len(os.fsencode(str(path) + _SOCKET_NAME)) > _SOCKET_PATH_LIMIT:
            place = hashlib.sha256(f"{self.state}/{name}".encode()).hexdigest()[:16]
            path = pathlib.Path(tempfile.gettempdir()) / f"stilldb-{place}"
            _refuse_foreign(path, self.owner)
        return files.make_directory(path, 0o700, self.owner)

    def log(self, name: str) -> pathlib.Path:
        """The log file of a server."""
        return self.state / "log" / f"{name}.log"

    def volume(self, key: VolumeKey) -> VolumePaths:
        """The paths of one volume's data."""
        return VolumePaths(self.state / "volumes" / key.resource_id / str(key.incarnation))

    def volumes(self) -> list[VolumeKey]:
        """Every volume of which there is something on this host."""
        folders = (self.state / "volumes").glob("*/*/")
        return [VolumeKey(path.parent.name, int(path.name)) for path in folders if path.name.isdigit()]

    @property
    def archive_root(self) -> pathlib.Path:
        """The root of the local object store; archives of format 1 lie in it as they are."""
        return self.state / "archive"

    @property
    def scratch(self) -> pathlib.Path:
        """Throw-away PostgreSQLs: trial restores, snapshots that are looked into."""
        return self.state / "scratch"

    def archive(self, key: VolumeKey) -> ArchivePaths:
        """The paths of one volume's archive."""
        return ArchivePaths(self.state / "archive" / key.resource_id / str(key.incarnation))

    def make(self, path: pathlib.Path) -> pathlib.Path:
        """A directory of the server's user, with the parents that are missing below the state directory."""
        missing = [path, *path.parents]
        for part in reversed(missing[: missing.index(self.state)]):
            if not part.exists():
                files.make_directory(part, 0o700, self.owner)
        return path


def _refuse_foreign(path: pathlib.Path, owner: tuple[int, int] | None) -> None:
    """Someone else's directory of that name in a shared place could offer a false server."""
    if path.is_symlink() or (path.exists() and path.stat().st_uid != (owner[0] if owner else os.geteuid())):
        raise VolumeError(f"{path} belongs to somebody else; use a state directory with a shorter path")


@dataclasses.dataclass(frozen=True, slots=True)
class VolumePaths:
    """One volume's data on this host."""

    root: pathlib.Path

    @property
    def data(self) -> pathlib.Path:
        """PostgreSQL's data directory."""
        return self.root / "data"

    @property
    def draft(self) -> pathlib.Path:
        """A data directory that is still being made."""
        return self.root / "data.draft"

    @property
    def recovery_wal(self) -> pathlib.Path:
        """The WAL that a restore replays, fetched ahead."""
        return self.root / "recovery-wal"

    @property
    def complete(self) -> pathlib.Path:
        """The file that says the volume was made completely; written last."""
        return self.root / "volume.json"

    @property
    def spool(self) -> pathlib.Path:
        """WAL as it is received: complete segments until the store has them, and the newest ``.partial``."""
        return self.root / "spool"

    @property
    def latest(self) -> pathlib.Path:
        """The last archived moment, and how far back the volume is to be restorable."""
        return self.root / "latest.json"

    @property
    def gap(self) -> pathlib.Path:
        """Since when WAL is missing, for as long as it is."""
        return self.root / "gap.json"

    @property
    def receiver(self) -> pathlib.Path:
        """The identity of the WAL receiver's process."""
        return self.root / "receiver.json"


@dataclasses.dataclass(frozen=True, slots=True)
class ArchivePaths:
    """One volume's archive."""

    root: pathlib.Path

    @property
    def wal(self) -> pathlib.Path:
        """WAL segments, the newest ``.partial``."""
        return self.root / "wal"

    @property
    def bases(self) -> pathlib.Path:
        """Base backups, one directory each."""
        return self.root / "base"

    @property
    def snapshots(self) -> pathlib.Path:
        """Snapshots, one directory each: ``manifest.json``, or ``manifest.draft`` before it is published."""
        return self.root / "snapshots"

    @property
    def gap(self) -> pathlib.Path:
        """While it is there, the WAL has a hole after the newest base backup."""
        return self.root / "gap"

    def base(self, base_id: str) -> BasePaths:
        """The paths of a base backup."""
        return BasePaths(self.bases / base_id)

    def manifest(self, snapshot_id: str) -> pathlib.Path:
        """A published snapshot's manifest."""
        return self.snapshots / snapshot_id / "manifest.json"

    def manifest_draft(self, snapshot_id: str) -> pathlib.Path:
        """The manifest of a snapshot that is not published; it pins as a published one does."""
        return self.snapshots / snapshot_id / "manifest.draft"


@dataclasses.dataclass(frozen=True, slots=True)
class BasePaths:
    """One base backup."""

    root: pathlib.Path

    @property
    def data(self) -> pathlib.Path:
        """The copied data directory, with PostgreSQL's backup_manifest."""
        return self.root / "data"

    @property
    def complete(self) -> pathlib.Path:
        """What the backup holds; written last, so a backup without it does not count."""
        return self.root / "base.json"
