"""``python -m bench [names...]``: run benchmarks, print target, figure and verdict of each."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator

from bench import processes, report
from bench.against_peer import peer
from bench.backups import (
    against_dumps,
    backup_machinery,
    base_backups_under_writes,
    clone_on_xfs,
    restore_with_wal,
    snapshots_at_any_size,
    space_of_daily_snapshots,
    writers_at_ten_snapshots_a_second,
)
from bench.clusters import create_to_ping, idle_memory, restore_vs_copy
from bench.context import Bench, Settings
from bench.engine import engine
from bench.snapshots import snapshot_latency, writers_during_snapshots

# In this order: what wants an otherwise empty service comes first.
BENCHMARKS: dict[str, Callable[[Bench], None]] = {
    function.__name__: function
    for function in (
        engine,
        idle_memory,
        create_to_ping,
        peer,
        writers_during_snapshots,
        snapshot_latency,
        restore_vs_copy,
        writers_at_ten_snapshots_a_second,
        backup_machinery,
        base_backups_under_writes,
        restore_with_wal,
        against_dumps,
        snapshots_at_any_size,
        space_of_daily_snapshots,
        clone_on_xfs,
    )
}


def _arguments() -> argparse.Namespace:
    listed = "\n".join(
        f"  {name:<26}{(function.__doc__ or '').splitlines()[0]}" for name, function in BENCHMARKS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"Measure StillDB. The benchmarks:\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="which to run; all without any")
    parser.add_argument(
        "--quick", action="store_true", help="small and short: does it work, not how fast is it"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--directory",
        type=pathlib.Path,
        default=pathlib.Path("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()),
        help="where the temporary state directory is made (default %(default)s): the disk that is measured",
    )
    for field in dataclasses.fields(Settings):
        if field.name != "cache":
            kind = float if isinstance(field.default, float) or field.name == "window_seconds" else int
            parser.add_argument(
                f"--{field.name.replace('_', '-')}", type=kind, help=f"default {field.default}", metavar="N"
            )
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    return given


def _settings(given: argparse.Namespace) -> Settings:
    base = Settings.quick() if given.quick else Settings()
    names = [field.name for field in dataclasses.fields(Settings) if field.name != "cache"]
    return dataclasses.replace(
        base, **{name: getattr(given, name) for name in names if getattr(given, name) is not None}
    )


@contextlib.contextmanager
def _temporary(parent: pathlib.Path) -> Iterator[pathlib.Path]:
    directory = pathlib.Path(tempfile.mkdtemp(prefix="stilldb-bench-", dir=parent))
    directory.chmod(0o755)  # as root, PostgreSQL runs as another user and must be able to enter
    try:
        yield directory
    finally:
        processes.end_all(str(directory))  # none is left, unless a signal came at a bad moment
        shutil.rmtree(directory)


def _interrupt(number: int, _: object) -> None:
    """The first signal ends the run; further ones must not stop the cleaning up."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    print("\nstopping and cleaning up …", file=sys.stderr, flush=True)
    raise KeyboardInterrupt(number)


def _run(bench: Bench, names: list[str]) -> list[str]:
    """Run the benchmarks; the names of those that failed."""
    failed = []
    for name in names:
        try:
            with bench.benchmark(name):
                BENCHMARKS[name](bench)
        except Exception:  # noqa: BLE001  # shown, and the others still run
            traceback.print_exc()
            print(bench.logs(), file=sys.stderr)
            failed.append(name)
    return failed


def main() -> int:
    """Exit code 0 when every benchmark ran, whether or not its targets were met; 1 when one failed to run."""
    given = _arguments()
    os.umask(0o022)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    names = [name for name in BENCHMARKS if name in given.names or not given.names]
    try:
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(_temporary(given.directory))
            about = report.machine(directory)
            bench = Bench(_settings(given), directory, stack)
            failed = _run(bench, names)
    except KeyboardInterrupt:
        return 130
    print(", ".join(f"{name} {value}" for name, value in about.items()), end="\n\n")
    if given.quick:
        print("A quick run: it tells that everything works, not how fast it is.\n")
    print(report.table(bench.figures))
    for name in failed:
        print(f"{name}: FAILED to run, see above")
    if given.json is not None:
        given.json.write_text(report.to_json(bench.figures, about))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
