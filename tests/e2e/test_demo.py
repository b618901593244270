"""The demo does its job, leaves nothing behind, and would notice a difference."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

DEMO = pathlib.Path(__file__).parents[2] / "demo"


def left_behind() -> set[str]:
    """Directories of demos, and processes that work in them."""
    directories = {str(path) for path in pathlib.Path(tempfile.gettempdir()).glob("stilldb-demo-*")}
    running = set()
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "stilldb-demo-" in command:
            running.add(command)
    return directories | running


@pytest.mark.timeout(300)
def test_the_main_job() -> None:
    before = left_behind()
    done = subprocess.run(
        [sys.executable, DEMO / "main_job.py"], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every document is as it was acknowledged." in done.stdout
    for line in (
        "CreateDBClusterSnapshot, call to available",
        "what the writer felt",
        "size of the restored",
    ):
        assert line in done.stdout
    assert left_behind() <= before


class Found(list[Any]):
    """A cursor over documents."""

    def sort(self, key: str, direction: int = 1) -> Found:  # type: ignore[override]
        return Found(
            sorted((row for row in self if key in row), key=lambda row: row[key], reverse=direction < 0)
        )

    def limit(self, count: int) -> Found:
        return Found(self[:count])


class Collection:
    """As much of a collection as the demo's proof reads."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self._documents = documents

    def find(self, spec: dict[str, Any], projection: object = None) -> Found:
        return Found(self._documents)

    def count_documents(self, spec: dict[str, Any]) -> int:
        return len(self._documents)

    def with_options(self, codec_options: object) -> Collection:
        return Collection([RawBSONDocument(bson.encode(row)) for row in self._documents])


class World(dict[str, Collection]):
    """A database, and a client that has only this one."""

    def __getattr__(self, name: str) -> Any:
        return self if name == "world" else self[name]


def restored(change: dict[str, Any]) -> World:
    """The state after operation 3, with one difference."""
    cities = [{"_id": 7, "name": "a"}, {"_id": 8, "name": "b"}]
    cities[change.get("city", 0)].update({"visited": 2, "visits": 1})
    visits = [{"_id": n, "city": 7, "note": f"visit {n}"} for n in change.get("visits", (1, 3))]
    countries = [{"_id": "XX", "name": change.get("country", "x")}]
    return World(cities=Collection(cities), countries=Collection(countries), visits=Collection(visits))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"country": "y"}, "countries: the documents differ"),
        ({"city": 1}, "cities: the documents differ"),
        ({"visits": (3,)}, "visits: 1 documents restored, 2 expected"),
        ({"visits": (1, 3, 5, 7)}, "stands at operation 7"),
    ],
)
def test_the_proof_notices(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str | None
) -> None:
    monkeypatch.syspath_prepend(str(DEMO))
    import main_job
    from journal import Journal, Model, Operation

    model = Model()
    model.load("cities", [{"_id": 7, "name": "a"}, {"_id": 8, "name": "b"}])
    model.load("countries", [{"_id": "XX", "name": "x"}])
    journal = Journal(World(), model)  # type: ignore[arg-type]
    journal._operations = [Operation(1, 7), Operation(2, 7), Operation(3, 7), Operation(4, 8)]
    client: Any = restored(change)
    if words is None:
        assert main_job.prove(client, model, journal, 2, 4) == 3
        return
    with pytest.raises(main_job.Different, match=words):
        main_job.prove(client, model, journal, 2, 4)
