"""Failpoints: named places between the steps of long operations where tests make things go wrong.

Off in production: nothing happens unless STILLDB_TESTING=1 is set. Then STILLDB_FAILPOINTS holds a comma list of
``name=action`` with the actions ``exit`` (the process dies as by kill -9), ``error`` (raises FailpointError) and
``pause`` (waits until the file STILLDB_FAILPOINT_DIR/<name>.go exists; <name>.reached says that it waits).
"""

from __future__ import annotations

import asyncio
import os
import pathlib


class FailpointError(RuntimeError):
    """The error that the action ``error`` raises."""


def _action(name: str) -> str | None:
    if os.environ.get("STILLDB_TESTING") != "1":
        return None
    for item in os.environ.get("STILLDB_FAILPOINTS", "").split(","):
        point, _, action = item.partition("=")
        if point == name:
            return action
    return None


async def reach(name: str) -> None:
    """Stand at the failpoint ``name``; does nothing unless a test has armed it."""
    action = _action(name)
    if action is None:
        return
    if action == "exit":
        os._exit(137)
    if action == "error":
        raise FailpointError(name)
    if action == "pause":
        folder = pathlib.Path(os.environ["STILLDB_FAILPOINT_DIR"])
        (folder / f"{name}.reached").touch()
        while not (folder / f"{name}.go").exists():
            await asyncio.sleep(0.02)
        return
    raise ValueError(f"unknown failpoint action {action!r} for {name}")
