"""The user that servers run as. PostgreSQL refuses root, and nothing that faces a network needs it."""

from __future__ import annotations

import os
import pathlib
import pwd
import subprocess

from stilldb.domain.volumes import VolumeError

CANDIDATES = ("stilldb", "nobody")


def unprivileged() -> tuple[int, int] | None:
    """Uid and gid for servers: None when we are not root; as root the user ``stilldb``, or ``nobody``."""
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise VolumeError(
        f"run as root, StillDB needs one of the users {', '.join(CANDIDATES)} for PostgreSQL: add one"
    )


def require_reachable(directory: pathlib.Path, run_as: tuple[int, int] | None) -> None:
    """Refuse a state directory that the servers' user can't enter, by trying it."""
    if run_as is None:
        return
    tried = subprocess.run(
        ["test", "-x", str(directory)],
        check=False,
        user=run_as[0],
        group=run_as[1],
        extra_groups=[],
        cwd="/",
    )
    if tried.returncode != 0:
        raise VolumeError(
            f"the user {pwd.getpwuid(run_as[0]).pw_name}, as whom PostgreSQL runs, can't enter {directory}. Choose a "
            "state directory whose parents everybody may enter (chmod o+x), or don't run StillDB as root."
        )
