"""The ``stilldb`` command against a real service, as its user runs it: with success, with refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from support.service import Service


def run(running: Service, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command on the service's state directory, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "stilldb.cli.main", *arguments, "--state-dir", str(running.state)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def done(running: Service, *arguments: str, **environment: str) -> Any:
    """The JSON of a command that succeeds."""
    ended = run(running, *arguments, "--json", **environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def refused(running: Service, *arguments: str, code: int = 1, **environment: str) -> str:
    """The one line of error of a command that must fail."""
    ended = run(running, *arguments, **environment)
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    assert "Traceback" not in ended.stderr
    return ended.stderr.strip()
