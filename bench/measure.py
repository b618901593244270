"""Medians, percentiles and interleaved rounds. Pure but for the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Result = TypeVar("Result")
median = statistics.median


def percentile(values: Sequence[float], share: float) -> float:
    """The value at or below which ``share`` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(len(ordered) * share + 0.5) - 1))]


def interleaved(rounds: int, subjects: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Call the subjects in turn, A B A B …, so that what disturbs the machine meets all of them alike.

    Every second round goes backwards: none of them always follows the same one.
    """
    values: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds):
        names = list(subjects)
        for name in names if number % 2 == 0 else reversed(names):
            values[name].append(subjects[name]())
    return values


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the rounds' own ratios."""
    return median(a / b for a, b in zip(above, below, strict=True))


def timed(action: Callable[[], object]) -> float:
    """Seconds that ``action`` takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def wait_until(
    what: str, look: Callable[[], Result | None], *, seconds: float = 120, every: float = 0.01
) -> Result:
    """Look ``every`` so many seconds until there is something; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(every)
