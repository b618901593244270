"""The expression compiler: registry of operators, literals, variables; turns a specification into closures.

Owns how an expression is read and how arguments are counted. The operators stand in the themed modules beside it.
An evaluator is called with the document and the scope of user variables and answers a value or MISSING. Evaluators
never change the document, and their results may share parts with it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from bson.datetime_ms import DatetimeMS

from stilldb.query.errors import MongoError
from stilldb.query.expressions.fieldpath import field_getter, path_of_value, split_path
from stilldb.query.values import MISSING

Scope = Mapping[str, Any]
Evaluator = Callable[..., Any]
Parser = Callable[[Any, "Context"], Evaluator]

EMPTY: Final[Scope] = MappingProxyType({})
# Each level costs up to seven interpreter frames while compiling, and the interpreter allows 1,000.
MAX_DEPTH: Final = 100


def now_ms() -> DatetimeMS:
    """This moment as a BSON date."""
    return DatetimeMS(time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class Context:
    """What is known while an expression is compiled: the user variables in scope and the command's one ``$$NOW``."""

    variables: frozenset[str] = frozenset()
    now: DatetimeMS = field(default_factory=now_ms)
    depth: int = 0

    def having(self, *names: str) -> Context:
        """This context with ``names`` defined too."""
        return replace(self, variables=self.variables.union(names))

    def deeper(self) -> Context:
        """One level down; refuses hostile nesting before the interpreter's stack would."""
        if self.depth >= MAX_DEPTH:
            raise MongoError("Overflow", f"Expression nesting exceeds the limit of {MAX_DEPTH} levels")
        return replace(self, depth=self.depth + 1)


class Constant:
    """An evaluator whose value is known when compiling."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, document: Any, scope: Scope = EMPTY) -> Any:
        return self.value


OPERATORS: dict[str, Parser] = {}


def fail(code: int, message: str) -> MongoError:
    """The error with MongoDB's numbered ``code``."""
    return MongoError(f"Location{code}", message)


def operator(*names: str) -> Callable[[Parser], Parser]:
    """Register a parser, which takes the operator's argument and the context, under ``names``."""

    def register(parser: Parser) -> Parser:
        for name in names:
            OPERATORS[name] = parser
        return parser

    return register


def arguments(spec: Any) -> Sequence[Any]:
    """The operand list of ``spec``: an array is the list itself, anything else one operand."""
    return spec if isinstance(spec, list) else (spec,)


def check_count(name: str, operands: Sequence[Any], least: int, most: int) -> None:
    """Refuse a wrong number of operands with MongoDB's words."""
    count = len(operands)
    if least <= count <= most:
        return
    if least == most:
        raise fail(16020, f"Expression {name} takes exactly {least} arguments. {count} were passed in.")
    raise fail(
        28667,
        f"Expression {name} takes at least {least} arguments, and at most {most}, but {count} were passed in.",
    )


def function(name: str, least: int, most: int | None = None, *, null: bool = True) -> Callable[..., Any]:
    """Register a plain function of ``least`` to ``most`` evaluated operands; ``null``: a null operand gives null."""
    highest = least if most is None else most

    def register(compute: Callable[..., Any]) -> Callable[..., Any]:
        def parse(spec: Any, context: Context) -> Evaluator:
            operands = arguments(spec)
            check_count(name, operands, least, highest)
            return folded([compile_in(item, context) for item in operands], apply(compute, null))

        OPERATORS[name] = parse
        return compute

    return register


def variadic(name: str) -> Callable[..., Any]:
    """Register a function that takes all evaluated operands as one list."""

    def register(compute: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
        def parse(spec: Any, context: Context) -> Evaluator:
            return folded([compile_in(item, context) for item in arguments(spec)], _listed(compute))

        OPERATORS[name] = parse
        return compute

    return register


def _listed(compute: Callable[[list[Any]], Any]) -> Callable[[list[Evaluator]], Evaluator]:
    def build(operands: list[Evaluator]) -> Evaluator:
        def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
            return compute([operand(document, scope) for operand in operands])

        return evaluate

    return build


def apply(compute: Callable[..., Any], null: bool) -> Callable[[list[Evaluator]], Evaluator]:
    """What makes an evaluator of ``compute`` over operands, with null propagation if ``null``."""

    def build(operands: list[Evaluator]) -> Evaluator:
        if len(operands) == 1:
            return _unary(compute, null, operands[0])
        if len(operands) == 2:
            return _binary(compute, null, operands[0], operands[1])
        return _n_ary(compute, null, operands)

    return build


def _unary(compute: Callable[..., Any], null: bool, operand: Evaluator) -> Evaluator:
    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        value = operand(document, scope)
        return None if null and (value is None or value is MISSING) else compute(value)

    return evaluate


def _binary(compute: Callable[..., Any], null: bool, first: Evaluator, second: Evaluator) -> Evaluator:
    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        left, right = first(document, scope), second(document, scope)
        if null and (left is None or right is None or left is MISSING or right is MISSING):
            return None
        return compute(left, right)

    return evaluate


def _n_ary(compute: Callable[..., Any], null: bool, operands: list[Evaluator]) -> Evaluator:
    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        values = [operand(document, scope) for operand in operands]
        if null and any(value is None or value is MISSING for value in values):
            return None
        return compute(*values)

    return evaluate


def folded(operands: list[Evaluator], build: Callable[[list[Evaluator]], Evaluator]) -> Evaluator:
    """The evaluator over ``operands``, computed now if all are constants; an error then waits until evaluation."""
    evaluate = build(operands)
    if not all(isinstance(operand, Constant) for operand in operands):
        return evaluate
    try:
        return Constant(evaluate({}, EMPTY))
    except MongoError:
        return evaluate


@dataclass(frozen=True, slots=True)
class Named:
    """The codes and names for an operator that takes an object of named arguments."""

    name: str
    required: Mapping[str, int]
    optional: tuple[str, ...] = ()
    not_object: int = 9
    unknown: int = 9

    def read(self, spec: Any) -> dict[str, Any]:
        """The arguments in ``spec``; raises the operator's own errors for unknown and missing ones."""
        if not isinstance(spec, dict):
            raise coded(self.not_object, f"{self.name} only supports an object as its argument")
        for key in spec:
            if key not in self.required and key not in self.optional:
                raise coded(self.unknown, f"Unrecognized argument to {self.name}: {key}")
        for key, code in self.required.items():
            if key not in spec:
                raise coded(code, f"Missing '{key}' parameter to {self.name}")
        return spec

    def compile(self, spec: Any, context: Context) -> dict[str, Evaluator]:
        """The arguments in ``spec``, each compiled."""
        return {key: compile_in(value, context) for key, value in self.read(spec).items()}


_PLAIN = {2: "BadValue", 9: "FailedToParse", 14: "TypeMismatch", 241: "ConversionFailure"}


def coded(code: int, message: str) -> MongoError:
    """The error with ``code``, by its own name if it has one."""
    return MongoError(_PLAIN[code], message) if code in _PLAIN else fail(code, message)


def _parameter(key: str) -> str:
    """The Python parameter for an argument's name: ``startDate`` is start_date, ``input`` is input_."""
    snake = re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", key)
    return f"{snake}_" if snake in {"format", "input"} else snake


def named_function(named: Named) -> Callable[..., Any]:
    """Register a function of named evaluated arguments; an absent optional argument is not passed at all."""

    def register(compute: Callable[..., Any]) -> Callable[..., Any]:
        def parse(spec: Any, context: Context) -> Evaluator:
            compiled = named.compile(spec, context)
            keys = list(compiled)
            renamed = [_parameter(key) for key in keys]

            def build(operands: list[Evaluator]) -> Evaluator:
                pairs = list(zip(renamed, operands, strict=True))

                def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
                    return compute(**{key: operand(document, scope) for key, operand in pairs})

                return evaluate

            return folded([compiled[key] for key in keys], build)

        OPERATORS[named.name] = parse
        return compute

    return register


def compile_in(spec: Any, context: Context) -> Evaluator:
    """The evaluator for ``spec`` within ``context``; raises MongoError for what is no expression."""
    if isinstance(spec, str):
        return _compile_string(spec, context)
    if isinstance(spec, dict):
        return _compile_object(spec, context.deeper())
    if isinstance(spec, list):
        return _compile_array(spec, context.deeper())
    return Constant(spec)


def _compile_string(spec: str, context: Context) -> Evaluator:
    if not spec.startswith("$"):
        return Constant(spec)
    if not spec.startswith("$$"):
        return field_getter(split_path(spec[1:]))
    name, _, rest = spec[2:].partition(".")
    path = split_path(rest) if "." in spec else ()
    return _variable(name, path, context)


def _variable(name: str, path: tuple[str, ...], context: Context) -> Evaluator:
    if name in context.variables:
        return _user_variable(name, path)
    reader = _SYSTEM.get(name)
    if reader is None:
        raise fail(17276, f"Use of undefined variable: {name}")
    return reader(path, context)


def _user_variable(name: str, path: tuple[str, ...]) -> Evaluator:
    if not path:
        return lambda document, scope=EMPTY: scope[name]
    return lambda document, scope=EMPTY: path_of_value(scope[name], path)


def _root(path: tuple[str, ...], context: Context) -> Evaluator:
    return lambda document, scope=EMPTY: path_of_value(scope.get("ROOT", document), path)


def _current(path: tuple[str, ...], context: Context) -> Evaluator:
    return lambda document, scope=EMPTY: path_of_value(document, path)


def _now(path: tuple[str, ...], context: Context) -> Evaluator:
    return Constant(path_of_value(context.now, path))


def _remove(path: tuple[str, ...], context: Context) -> Evaluator:
    return Constant(MISSING)


_SYSTEM: dict[str, Callable[[tuple[str, ...], Context], Evaluator]] = {
    "ROOT": _root,
    "CURRENT": _current,
    "NOW": _now,
    "REMOVE": _remove,
}


def _compile_object(spec: dict[str, Any], context: Context) -> Evaluator:
    first = next(iter(spec), "")
    if first.startswith("$"):
        return _compile_operator(first, spec, context)
    for key in spec:
        check_literal_key(key)
    compiled = [(key, compile_in(value, context)) for key, value in spec.items()]

    def build(operands: list[Evaluator]) -> Evaluator:
        pairs = list(zip(spec, operands, strict=True))

        def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
            made = ((key, operand(document, scope)) for key, operand in pairs)
            return {key: value for key, value in made if value is not MISSING}

        return evaluate

    return folded([operand for _, operand in compiled], build)


def check_literal_key(key: str) -> None:
    """Refuse a key that cannot stand in an object literal."""
    if key.startswith("$"):
        raise fail(16410, f"FieldPath field names may not start with '$'. Consider using $literal: {key}")
    if "." in key:
        raise fail(16412, "FieldPath field names may not contain '.'.")


def _compile_operator(name: str, spec: dict[str, Any], context: Context) -> Evaluator:
    if len(spec) != 1:
        raise fail(15983, f"An object representing an expression must have exactly one field: {spec!r}")
    parser = OPERATORS.get(name)
    if parser is None:
        raise MongoError("InvalidPipelineOperator", f"Unrecognized expression '{name}'", code=168)
    return parser(spec[name], context)


def _compile_array(spec: list[Any], context: Context) -> Evaluator:
    def collect(values: list[Any]) -> list[Any]:
        return [None if value is MISSING else value for value in values]

    return folded([compile_in(item, context) for item in spec], _listed(collect))
