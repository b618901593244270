"""What the commands print: tables and progress for people, JSON for machines, errors with a way out, and exit codes.

Exit codes: 0 done; 1 refused or failed, or what was looked at is not in order; 2 wrong use of the command; 3 nothing serves.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final, NoReturn

import rich.console
import rich.progress
import rich.table
import rich.text
import typer

FAILED: Final = 1
NOT_SERVED: Final = 3

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_HOUR, _DAY = 3600, 86_400


def fail(message: object, code: int = FAILED) -> NoReturn:
    """End the command with an error on standard error."""
    typer.echo(f"stilldb: {message}", err=True)
    raise typer.Exit(code)


def emit(value: Any) -> None:
    """Print a JSON value; times as ISO 8601."""
    typer.echo(json.dumps(value, indent=1, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print rows under headings, or ``empty``. Columns whose heading ends in ``#`` hold numbers."""
    if not rows:
        typer.echo(empty)
        return
    made = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(
            column.removesuffix("#"), justify="right" if column.endswith("#") else "left", overflow="fold"
        )
    for row in rows:
        made.add_row(*(rich.text.Text(str(cell)) for cell in row))  # names are no markup
    console().print(made)


def console() -> rich.console.Console:
    """Standard output; wide enough for whole lines where it is no terminal."""
    terminal = sys.stdout.isatty()
    return rich.console.Console(width=None if terminal else 200, highlight=False, soft_wrap=not terminal)


@contextlib.contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, moved by calls with percentages; nothing where nobody looks."""
    errors = rich.console.Console(stderr=True)
    if quiet or not errors.is_terminal:
        yield lambda percent: None
        return
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeElapsedColumn(),
    )
    with rich.progress.Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(what, total=100)
        yield lambda percent: bar.update(task, completed=percent)


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def ago(moment: datetime.datetime, now: datetime.datetime | None = None) -> str:
    """How long ago a moment was."""
    seconds = ((now or datetime.datetime.now(datetime.UTC)) - moment).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < _HOUR:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR:.0f} h ago"
    return f"{seconds // _DAY:.0f} days ago"


def moment(text: str | datetime.datetime) -> datetime.datetime:
    """A time of an answer."""
    return text if isinstance(text, datetime.datetime) else datetime.datetime.fromisoformat(text)


def stamp(value: str | datetime.datetime) -> str:
    """A time in UTC to the second."""
    return f"{moment(value).astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}"
