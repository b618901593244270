"""The configuration of every PostgreSQL, and finding its programs."""

from __future__ import annotations

import pathlib

import pytest

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import config, programs


def test_no_network_durable_and_only_a_snapshot_waits_for_the_archive() -> None:
    text = config.render(pathlib.Path("/run/it's here"))
    lines = dict(line.split(" = ", 1) for line in text.splitlines())
    assert lines["listen_addresses"] == "''"
    assert lines["unix_socket_directories"] == "'/run/it''s here'"
    assert lines["unix_socket_permissions"] == "0700"
    assert lines["synchronous_standby_names"] == "'FIRST 1 (pg_receivewal)'"
    assert lines["synchronous_commit"] == "local"
    assert lines["full_page_writes"] == "on"
    assert "fsync" not in lines, "PostgreSQL's own default, on, is never touched"
    assert lines["log_min_error_statement"] == "panic", "statements carry users' documents"


def fake(directory: pathlib.Path, answer: str) -> pathlib.Path:
    directory.mkdir()
    program = directory / "postgres"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return directory


def test_programs_that_are_given(tmp_path: pathlib.Path) -> None:
    good = fake(tmp_path / "good", "postgres (PostgreSQL) 18.6")
    found = programs.locate(good, tmp_path / "cache", None)
    assert (found.version, found["initdb"]) == ("18.6", str(good / "initdb"))
    with pytest.raises(VolumeError, match="needs 17 or newer"):
        programs.locate(fake(tmp_path / "old", "postgres (PostgreSQL) 16.4"), tmp_path / "cache", None)
    with pytest.raises(VolumeError, match="--version answered"):
        programs.locate(fake(tmp_path / "other", "hello"), tmp_path / "cache", None)
    with pytest.raises(VolumeError, match="there is no postgres program in"):
        programs.locate(tmp_path / "none", tmp_path / "cache", None)
