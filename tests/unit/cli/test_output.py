"""What commands print."""

from __future__ import annotations

import datetime
import json
import pathlib

import pytest
import typer
from pymongo.uri_parser import parse_uri

from stilldb.cli import output
from stilldb.cli.looking import connection_string

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)


def test_names_are_printed_as_they_are_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 90
    output.table(("name", "count#"), [("[red]a[/red]", 5), (long, 12)], empty="none")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["[red]a[/red]", "5"]
    assert lines[2].split() == [long, "12"]
    output.table(("name",), [], empty="none yet")
    assert capsys.readouterr().out == "none yet\n"


def test_json_holds_times(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit({"at": NOW, "n": [1]})
    assert json.loads(capsys.readouterr().out) == {"at": "2026-11-24T12:00:00+00:00", "n": [1]}
    with pytest.raises(TypeError):
        output.emit({"x": object()})


def test_a_failure_is_told_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught:
        output.fail("no such thing", output.NOT_SERVED)
    assert caught.value.exit_code == 3
    assert capsys.readouterr().err == "stilldb: no such thing\n"


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5_300_000_000, "5.3 GB"), (2e18, "2000.0 PB")],
)
def test_sizes(count: float, said: str) -> None:
    assert output.size(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "just now"), (90, "1 min ago"), (7_300, "2 h ago"), (170_000, "47 h ago"), (180_000, "2 days ago")],
)
def test_how_long_ago(seconds: int, said: str) -> None:
    assert output.ago(NOW - datetime.timedelta(seconds=seconds), NOW) == said


def test_a_connection_string_is_what_drivers_read(tmp_path: pathlib.Path) -> None:
    bundle = tmp_path / "a dir" / "ca.pem"
    bundle.parent.mkdir()
    bundle.touch()
    look = {"username": "browse", "password": "a/b@:c%", "address": "127.70.0.1", "port": 27017}
    found = parse_uri(connection_string(look, str(bundle)))
    assert (found["username"], found["password"]) == ("browse", "a/b@:c%")
    assert found["nodelist"] == [("127.70.0.1", 27017)]
    assert found["options"]["tlsCAFile"] == str(bundle)
    assert found["options"]["directConnection"] is True
