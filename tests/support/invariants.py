"""What must be true of a state directory once nothing is under way, whatever happened before."""

from __future__ import annotations

import pathlib
import sqlite3
from typing import Any

from stilldb.volume.manifest import load_manifest
from support.service import Service, wait_until


def settled(service: Service) -> None:
    """No job is left, no status says that something is under way, and nothing lies about that nobody needs."""
    wait_until(lambda: not _rows(service, "SELECT kind, error FROM jobs"), "every job ends")
    for table in ("clusters", "instances", "snapshots"):
        busy = _rows(
            service,
            f"SELECT identifier, status FROM {table} WHERE status IN ('creating', 'copying', 'deleting')",
        )
        assert not busy, busy
    clusters = {row[0] for row in _rows(service, "SELECT resource_id FROM clusters")}
    snapshots = _rows(service, "SELECT snapshot_id, cluster_resource_id, incarnation, status FROM snapshots")
    retained = {row[0] for row in _rows(service, "SELECT resource_id FROM retained_backups")}
    _no_orphans(service, clusters, retained | {resource for _, resource, _, _ in snapshots})
    for snapshot_id, resource, incarnation, status in snapshots:
        path = (
            service.state
            / "archive"
            / resource
            / str(incarnation)
            / "snapshots"
            / snapshot_id
            / "manifest.json"
        )
        if status == "available":
            assert load_manifest(path.read_bytes()).snapshot_id == snapshot_id
    # A snapshot that failed keeps what it had got to until it is deleted.
    wanted = {snapshot_id for snapshot_id, _, _, _ in snapshots}
    assert {path.parent.name for path in (service.state / "archive").glob("*/*/snapshots/*/*")} <= wanted


def _no_orphans(service: Service, clusters: set[str], pinned: set[str]) -> None:
    assert _names(service.state / "volumes") <= clusters
    assert archived(service.state / "archive") <= clusters | pinned
    _every_part_has_its_base(service.state / "archive")
    leftovers = [
        str(path)
        for pattern in ("volumes/*/*/data.draft", "volumes/*/*/recovery-wal", "volumes/*/*/base")
        for path in service.state.glob(pattern)
    ]
    assert not leftovers
    instances = _rows(service, "SELECT resource_id FROM instances WHERE status IN ('available', 'starting')")
    if not instances:
        wait_until(lambda: not service.processes(), f"no process is left: {service.processes()}")


def archived(archive: pathlib.Path) -> set[str]:
    """The first folders of the objects in a local store; folders without any are none of it."""
    paths = (path.relative_to(archive) for path in archive.rglob("*") if path.is_file())
    return {path.parts[0] for path in paths} - {"~incoming"}


def _every_part_has_its_base(archive: pathlib.Path) -> None:
    bases = {path.parent for path in archive.glob("*/*/base/*/*")}
    assert not [str(base) for base in bases if not (base / "base.json").exists()]


def _names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _rows(service: Service, query: str) -> list[Any]:
    with sqlite3.connect(f"file:{service.state}/stilldb.db?mode=ro", uri=True) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found
