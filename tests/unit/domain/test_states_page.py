"""The page of statuses is the transition table, drawn."""

from __future__ import annotations

import pathlib

from stilldb.domain import transitions

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "design" / "states.md"


def test_the_page_equals_the_table() -> None:
    assert PAGE.read_text() == transitions.diagram(), (
        "python -m stilldb.domain.transitions > docs/design/states.md"
    )
