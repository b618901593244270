"""The documentation names only what is there: links, make targets, files, modules; and its picture of the rooms is the table."""

from __future__ import annotations

import pathlib
import re

import pytest

from architecture.test_imports import ALLOWED

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)
_MAKE = re.compile(r"(?:^|`)make ([a-z]+)\b", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
# A path within the repository or a package, with a folder in it and without a place holder.
_PATH = re.compile(r"(?:src/stilldb|tests|docs|bench|demo)/[\w./-]+|[a-z]+/(?:[\w-]+/)*[\w-]+\.py")


def _anchors(page: pathlib.Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: pathlib.Path) -> None:
    broken = []
    for link in _LINK.findall(page.read_text()):
        if "://" in link:
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        found = target.exists() and (not fragment or fragment in _anchors(target))
        if not found:
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(page: pathlib.Path) -> None:
    named = {code for code in _CODE.findall(page.read_text()) if _PATH.fullmatch(code)}
    places = (ROOT, ROOT / "tests", ROOT / "src" / "stilldb")
    missing = [name for name in sorted(named) if not any((place / name).exists() for place in places)]
    assert not missing


def test_every_make_target_that_is_named_is_there() -> None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text()))
    named = {name for page in PAGES for name in _MAKE.findall(page.read_text())}
    assert {"demo", "test", "serve"} <= named
    assert named <= targets


def test_the_picture_of_the_rooms_is_the_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    (picture,) = re.findall(r"```mermaid\nflowchart TD\n(.*?)```", text, re.DOTALL)
    expected = {f"{room} --> {other}" for room, others in ALLOWED.items() for other in others}
    assert {line.strip() for line in picture.splitlines()} == expected
    described = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert described == set(ALLOWED) | {"bootstrap"}


def test_no_page_is_left_alone() -> None:
    linked = {(page.parent / link).resolve() for page in PAGES for link in _LINK.findall(page.read_text())}
    notes = ROOT / "docs" / "design"
    alone = [page for page in PAGES if page.parent != ROOT and page.resolve() not in linked]
    assert notes.resolve() in linked
    assert not alone
