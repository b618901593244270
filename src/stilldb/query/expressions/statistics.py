"""$sum, $avg, $min, $max, $stdDevPop and $stdDevSamp as expressions: over a list of operands, or over one array."""

from __future__ import annotations

from typing import Any

from stilldb.query.accumulators import ACCUMULATORS
from stilldb.query.expressions.core import EMPTY, OPERATORS, Context, Evaluator, Parser, compile_in, folded

NAMES = ("$sum", "$avg", "$min", "$max", "$stdDevPop", "$stdDevSamp")


def _parser(name: str) -> Parser:
    make = ACCUMULATORS[name]

    def compute(values: list[Any]) -> Any:
        accumulator = make()
        for value in values:
            accumulator.add(value)
        return accumulator.result()

    def parse(spec: Any, context: Context) -> Evaluator:
        if isinstance(spec, list):
            operands = [compile_in(item, context) for item in spec]
            if len(operands) != 1:
                return folded(operands, lambda given: _over_operands(given, compute))
            spec = spec[0]
        operand = compile_in(spec, context)
        return folded([operand], lambda given: _over_array(given[0], compute))

    return parse


def _over_operands(operands: list[Evaluator], compute: Any) -> Evaluator:
    return lambda document, scope=EMPTY: compute([operand(document, scope) for operand in operands])


def _over_array(operand: Evaluator, compute: Any) -> Evaluator:
    def evaluate(document: Any, scope: Any = EMPTY) -> Any:
        value = operand(document, scope)
        return compute(value if isinstance(value, list) else [value])

    return evaluate


for _name in NAMES:
    OPERATORS[_name] = _parser(_name)
