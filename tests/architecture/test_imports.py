"""Who may import whom. An edge that is not listed here fails; the design's picture is docs/architecture.md."""

from __future__ import annotations

import ast
import pathlib

SOURCE = pathlib.Path(__file__).parents[2] / "src" / "stilldb"

# Every room may import util; bootstrap may import every room. endpoint is the one object both planes know.
ALLOWED: dict[str, set[str]] = {
    "domain": set(),
    "control": {"domain"},
    "metadata": {"domain"},
    "postgres": {"domain"},
    "volume": {"domain", "postgres"},
    "node": {"domain", "postgres", "volume", "endpoint"},
    "awsapi": {"control", "domain"},
    "wire": set(),
    "query": set(),
    "documents": {"query"},
    "gateway": {"documents", "query", "wire", "endpoint"},
    "cli": {"bootstrap"},
    "endpoint": set(),
    "util": set(),
}
ROOMS = set(ALLOWED) | {"bootstrap"}


def imported_rooms(path: pathlib.Path) -> set[str]:
    """The rooms of stilldb that the module at ``path`` imports, by any form of import."""
    rooms: set[str] = set()
    package = ("stilldb", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "stilldb" and len(parts) > 1 and parts[1] in ROOMS:
                rooms.add(parts[1])
    return rooms


def test_every_import_is_an_allowed_edge() -> None:
    seen = 0
    wrong: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room in {"__init__", "bootstrap"}:
            continue
        assert room in ALLOWED, f"{path} stands in no listed room"
        seen += 1
        extra = imported_rooms(path) - ALLOWED[room] - {room, "util"}
        if room == "util":
            extra = imported_rooms(path) - {"util"}
        wrong += [f"{path.relative_to(SOURCE)} imports {name}" for name in sorted(extra)]
    assert seen > 10
    assert not wrong, "\n".join(wrong)


def test_the_reader_sees_every_form_of_import(tmp_path: pathlib.Path) -> None:
    for line in ("import stilldb.volume.layout", "from stilldb import volume", "from stilldb.volume import layout"):
        module = SOURCE / "domain" / "x.py"
        assert "volume" in {
            room
            for room in _rooms_of(line, module)
        }, line


def _rooms_of(source: str, where: pathlib.Path) -> set[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names}
