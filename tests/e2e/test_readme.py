"""The README's session, run as it is printed there, and what it says it prints."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.service import Service, service

README = pathlib.Path(__file__).parents[2] / "README.md"
AWS = pathlib.Path(sys.prefix) / "bin" / "aws"
_BLOCK = re.compile(r"^<!-- (run: \w+|prints) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "-- end of block --"


def blocks(kind: str) -> list[str]:
    """The fenced blocks that a comment marks as ``kind``."""
    return [text for marked, text in _BLOCK.findall(README.read_text()) if marked == kind]


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service() as it:
        yield it


@pytest.fixture(scope="module")
def checkout(running: Service, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A directory that looks like the reader's, ``.venv`` in it."""
    place = tmp_path_factory.mktemp("checkout")
    (place / ".venv").symlink_to(sys.prefix)
    return place


def shell(running: Service, script: str, checkout: pathlib.Path, given: str = "") -> str:
    """What the script prints, with the running service's state as the default one; fails with its errors."""
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=checkout,
        env={
            "HOME": str(checkout),
            "STILLDB_STATE_DIR": str(running.state),
            "PATH": f"{AWS.parent}:/usr/local/bin:/usr/bin:/bin",
        },
        input=given,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_session_prints_what_it_says(running: Service, checkout: pathlib.Path) -> None:
    session, printed = blocks("run: session"), blocks("prints")
    assert len(session) == len(printed) >= 4
    script = "".join(f"{block}\nprint({_MARK!r})\n" for block in session)
    (environment,) = blocks("run: environment")
    output = shell(running, environment, checkout, script)
    assert output.split(f"{_MARK}\n") == [*printed, ""]


def test_the_same_with_the_aws_cli(running: Service, checkout: pathlib.Path) -> None:
    (environment,) = blocks("run: environment")
    (commands,) = blocks("run: cli")
    eval_line = environment.splitlines()[0]
    output = shell(running, f"{eval_line}\n{commands}", checkout)
    assert '"Status": "available"' in output
    running.cluster("shop-evening", "available")
