"""$inc, $mul, $bit. Source: MongoDB manual, the sections of these names.

The result is of the wider type; an int that does not fit becomes a long, a long that does not fit is an error.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from bson import Int64

from stilldb.query import numbers
from stilldb.query.errors import MongoError
from stilldb.query.order import bson_type_name
from stilldb.query.paths import Path
from stilldb.query.update.core import Change, Run, bad_value, computing, operator
from stilldb.query.update.words import document_text, element_text, id_text
from stilldb.query.values import MISSING


def combined(
    left: Any, right: Any, whole: Callable[[Any, Any], Any], exact: Callable[[Decimal, Decimal], Decimal]
) -> Any:
    """``left`` and ``right``, two numbers, by ``whole`` or, for decimals, ``exact``; None if no long holds the result."""
    widest = max(numbers.kind(left), numbers.kind(right))
    if widest == numbers.DECIMAL:
        return numbers.from_decimal(exact(numbers.to_decimal(left), numbers.to_decimal(right)))
    if widest == numbers.DOUBLE:
        return float(whole(float(left), float(right)))
    made = whole(int(left), int(right))
    return numbers.integer(made, widest) if numbers.INT64_MIN <= made <= numbers.INT64_MAX else None


def _arithmetic(
    name: str,
    verb: str,
    whole: Callable[[Any, Any], Any],
    exact: Callable[[Decimal, Decimal], Decimal],
    initial: Callable[[Any], Any],
) -> None:
    @operator(name)
    def parse(path: Path, argument: Any) -> Change:
        if not numbers.kind(argument):
            words = f"Cannot {verb} with non-numeric argument: {element_text('.'.join(path), argument)}"
            raise MongoError("TypeMismatch", words)
        # 2**31 in Python is a long in BSON.
        operand = Int64(argument) if numbers.kind(argument) == numbers.LONG else argument

        def compute(old: Any, path: Path, run: Run) -> Any:
            if old is MISSING:
                return initial(operand)
            if not numbers.kind(old):
                raise _not_numeric(name, old, path, run)
            made = combined(old, operand, whole, exact)
            if made is None:
                words = f"Failed to apply {name} operations to current value ((NumberLong){int(old)}) for document"
                raise bad_value(f"{words} {id_text(run.document)}")
            return made

        return Change(name, path, computing(compute))


def _not_numeric(name: str, old: Any, path: Path, run: Run) -> MongoError:
    words = f"Cannot apply {name} to a value of non-numeric type. {id_text(run.document)} has the field"
    return MongoError("TypeMismatch", f"{words} '{path[-1]}' of non-numeric type {bson_type_name(old)}")


_arithmetic("$inc", "increment", python.add, numbers.CONTEXT.add, lambda operand: operand)
_arithmetic(
    "$mul",
    "multiply",
    python.mul,
    numbers.CONTEXT.multiply,
    lambda operand: combined(operand, 0, python.mul, lambda left, right: Decimal(0)),
)


_BITWISE: Final[dict[str, Callable[[int, int], int]]] = {
    "and": python.and_,
    "or": python.or_,
    "xor": python.xor,
}
_INTEGERS: Final = (numbers.INT, numbers.LONG)


@operator("$bit")
def _bit(path: Path, argument: Any) -> Change:
    steps = _bit_steps(argument)

    def compute(old: Any, path: Path, run: Run) -> Any:
        value, widest = (0, numbers.INT) if old is MISSING else (old, numbers.kind(old))
        if widest not in _INTEGERS:
            words = f"Cannot apply $bit to a value of non-integral type.{id_text(run.document)} has the field"
            raise bad_value(f"{words} {path[-1]} of non-integer type {bson_type_name(old)}")
        for apply, operand in steps:
            value = apply(int(value), int(operand))
            widest = max(widest, numbers.kind(operand))
        return numbers.integer(value, widest)

    return Change("$bit", path, computing(compute))


def _bit_steps(argument: Any) -> list[tuple[Callable[[int, int], int], Any]]:
    if not isinstance(argument, dict):
        raise bad_value(
            f"The $bit modifier is not compatible with a {bson_type_name(argument)}. You must pass in an embedded "
            "document: {$bit: {field: {and/or/xor: #}}"
        )
    if not argument:
        raise bad_value(
            "You must pass in at least one bitwise operation. The format is: {$bit: {field: {and/or/xor: #}}"
        )
    for name, operand in argument.items():
        if name not in _BITWISE:
            words = f"The $bit modifier only supports 'and', 'or', and 'xor', not '{name}' which is an unknown operator"
            raise bad_value(f"{words}: {document_text(argument)}")
        if numbers.kind(operand) not in _INTEGERS:
            raise bad_value(
                "The $bit modifier field must be an Integer(32/64 bit); a "
                f"'{bson_type_name(operand)}' is not supported here: {element_text(name, operand)}"
            )
    return [(_BITWISE[name], operand) for name, operand in argument.items()]
