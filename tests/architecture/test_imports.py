"""Who may import whom. An edge that is not listed here fails; the design's picture is docs/architecture.md."""

from __future__ import annotations

import ast
import pathlib

import pytest

SOURCE = pathlib.Path(__file__).parents[2] / "src" / "stilldb"

# Every room may import util; bootstrap may import every room. endpoint is the one object both planes know.
ALLOWED: dict[str, set[str]] = {
    "domain": set(),
    "control": {"domain", "endpoint"},
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


def imported_rooms(source: str, package: tuple[str, ...]) -> set[str]:
    """The rooms of stilldb that ``source``, a module of ``package``, imports by any form of import."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(source)):
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
        relative = path.relative_to(SOURCE)
        room = relative.parts[0].removesuffix(".py")
        if room in {"__init__", "bootstrap"}:
            continue
        assert room in ALLOWED, f"{relative} stands in no listed room"
        seen += 1
        rooms = imported_rooms(path.read_text(), ("stilldb", *relative.parts[:-1]))
        wrong += [f"{relative} imports {name}" for name in sorted(rooms - ALLOWED[room] - {room, "util"})]
    assert seen > 10
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "line",
    [
        "import stilldb.volume.layout",
        "from stilldb import volume",
        "from stilldb.volume import layout",
        "from ..volume import layout",
        "from .. import volume",
        "def f():\n    from stilldb.volume.layout import x",
    ],
)
def test_the_reader_sees_every_form_of_import(line: str) -> None:
    assert imported_rooms(line, ("stilldb", "domain")) == {"volume"}
