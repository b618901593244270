"""How an operation is declared: the parameters it takes, those it refuses and why, and its function.

A parameter that can't have its effect is refused, never swallowed. What the service model has beyond the declared ones (a
newer botocore) is refused too, so nothing is taken that nobody looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from stilldb.control.context import Control
from stilldb.domain.faults import InvalidParameterCombination

Params = Mapping[str, Any]
Run = Callable[[Control, Params], Awaitable[Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the service model that StillDB has."""

    name: str
    takes: frozenset[str]
    refuses: Mapping[str, str]  # parameter -> the way out, a sentence
    run: Run

    def check(self, params: Params) -> None:
        """Refuse what can't have its effect; a refused flag that is false or a refused list that is empty asks for nothing."""
        for name, value in params.items():
            if name in self.takes or value is False or value == []:
                continue
            hint = self.refuses.get(name, "This release of StillDB does not have it: leave it out.")
            raise InvalidParameterCombination(
                f"The parameter {name} is not available for {self.name}. {hint}"
            )


OPERATIONS: dict[str, Operation] = {}


def operation(name: str, *, takes: str, refuses: Mapping[str, str] | None = None) -> Callable[[Run], Run]:
    """Register the function of an operation; ``takes`` is a blank-separated list of parameters."""

    def register(run: Run) -> Run:
        OPERATIONS[name] = Operation(name, frozenset(takes.split()), refuses or {}, run)
        return run

    return register
