"""Comparison, boolean and conditional operators. Rules: MongoDB manual, the sections of these names."""

from __future__ import annotations

from typing import Any

from stilldb.query import order
from stilldb.query.errors import MongoError
from stilldb.query.expressions.core import (
    EMPTY,
    Constant,
    Context,
    Evaluator,
    Scope,
    arguments,
    check_count,
    compile_in,
    fail,
    function,
    operator,
)
from stilldb.query.numbers import truthy
from stilldb.query.values import MISSING


@function("$cmp", 2, null=False)
def cmp(left: Any, right: Any) -> int:
    """-1, 0 or 1 by BSON order; a missing field is below null."""
    found = order.compare(left, right)
    return (found > 0) - (found < 0)


@function("$eq", 2, null=False)
def eq(left: Any, right: Any) -> bool:
    """Whether both are equal in BSON order."""
    return order.compare(left, right) == 0


@function("$ne", 2, null=False)
def ne(left: Any, right: Any) -> bool:
    """Whether both differ in BSON order."""
    return order.compare(left, right) != 0


@function("$gt", 2, null=False)
def gt(left: Any, right: Any) -> bool:
    """Whether the first is above the second."""
    return order.compare(left, right) > 0


@function("$gte", 2, null=False)
def gte(left: Any, right: Any) -> bool:
    """Whether the first is not below the second."""
    return order.compare(left, right) >= 0


@function("$lt", 2, null=False)
def lt(left: Any, right: Any) -> bool:
    """Whether the first is below the second."""
    return order.compare(left, right) < 0


@function("$lte", 2, null=False)
def lte(left: Any, right: Any) -> bool:
    """Whether the first is not above the second."""
    return order.compare(left, right) <= 0


@operator("$and")
def _and(spec: Any, context: Context) -> Evaluator:
    operands = [compile_in(item, context) for item in arguments(spec)]
    return lambda document, scope=EMPTY: all(truthy(operand(document, scope)) for operand in operands)


@operator("$or")
def _or(spec: Any, context: Context) -> Evaluator:
    operands = [compile_in(item, context) for item in arguments(spec)]
    return lambda document, scope=EMPTY: any(truthy(operand(document, scope)) for operand in operands)


@function("$not", 1, null=False)
def negate(value: Any) -> bool:
    """The opposite of the argument's truth."""
    return not truthy(value)


@operator("$cond")
def _cond(spec: Any, context: Context) -> Evaluator:
    test, then, otherwise = (compile_in(item, context) for item in _cond_parts(spec))

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        return then(document, scope) if truthy(test(document, scope)) else otherwise(document, scope)

    return evaluate


def _cond_parts(spec: Any) -> list[Any]:
    if not isinstance(spec, dict):
        check_count("$cond", arguments(spec), 3, 3)
        return list(spec)
    codes = {"if": 17080, "then": 17081, "else": 17082}
    for key in spec:
        if key not in codes:
            raise fail(17083, f"Unrecognized parameter to $cond: {key}")
    for key, code in codes.items():
        if key not in spec:
            raise fail(code, f"Missing '{key}' parameter to $cond")
    return [spec[key] for key in codes]


@operator("$ifNull")
def _if_null(spec: Any, context: Context) -> Evaluator:
    operands = [compile_in(item, context) for item in arguments(spec)]
    if len(operands) < 2:
        raise fail(1257300, f"$ifNull needs at least two arguments, had: {len(operands)}")
    *tried, last = operands

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        for operand in tried:
            value = operand(document, scope)
            if value is not None and value is not MISSING:
                return value
        return last(document, scope)

    return evaluate


@operator("$switch")
def _switch(spec: Any, context: Context) -> Evaluator:
    if not isinstance(spec, dict):
        raise fail(40060, f"$switch requires an object as an argument, found: {order.bson_type_name(spec)}")
    for key in spec:
        if key not in {"branches", "default"}:
            raise fail(40067, f"$switch found an unknown argument: {key}")
    branches = _branches(spec.get("branches", []), context)
    default = compile_in(spec["default"], context) if "default" in spec else _no_default

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        for case, then in branches:
            if truthy(case(document, scope)):
                return then(document, scope)
        return default(document, scope)

    return evaluate


def _no_default(document: Any, scope: Scope = EMPTY) -> Any:
    raise fail(40066, "$switch could not find a matching branch for an input, and no default was specified.")


def _branches(spec: Any, context: Context) -> list[tuple[Evaluator, Evaluator]]:
    if not isinstance(spec, list):
        raise fail(40061, f"$switch expected an array for 'branches', found: {order.bson_type_name(spec)}")
    if not spec:
        raise fail(40068, "$switch requires at least one branch.")
    return [_branch(item, context) for item in spec]


def _branch(item: Any, context: Context) -> tuple[Evaluator, Evaluator]:
    if not isinstance(item, dict):
        raise fail(
            40062, f"$switch expected each branch to be an object, found: {order.bson_type_name(item)}"
        )
    for key in item:
        if key not in {"case", "then"}:
            raise fail(40063, f"$switch found an unknown argument to a branch: {key}")
    if "case" not in item:
        raise fail(40064, "$switch requires each branch have a 'case' expression")
    if "then" not in item:
        raise fail(40065, "$switch requires each branch have a 'then' expression.")
    return compile_in(item["case"], context), compile_in(item["then"], context)


@operator("$literal", "$const")
def _literal(spec: Any, context: Context) -> Evaluator:
    return Constant(spec)


@operator("$let")
def _let(spec: Any, context: Context) -> Evaluator:
    variables, body = _let_parts(spec)
    compiled = [(check_variable(name), compile_in(value, context)) for name, value in variables.items()]
    inner = compile_in(body, context.having(*variables))

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        return inner(document, {**scope, **{name: value(document, scope) for name, value in compiled}})

    return evaluate


def _let_parts(spec: Any) -> tuple[dict[str, Any], Any]:
    if not isinstance(spec, dict):
        raise fail(16874, "$let only supports an object as its argument")
    for key in spec:
        if key not in {"vars", "in"}:
            raise fail(16875, f"Unrecognized parameter to $let: {key}")
    if "vars" not in spec:
        raise fail(16876, "Missing 'vars' parameter to $let")
    if "in" not in spec:
        raise fail(16877, "Missing 'in' parameter to $let")
    if not isinstance(spec["vars"], dict):
        raise MongoError("TypeMismatch", "invalid parameter: expected an object (vars)", code=10065)
    return spec["vars"], spec["in"]


def check_variable(name: Any) -> str:
    """``name`` if a user variable may have it; raises MongoError as MongoDB does."""
    if not isinstance(name, str) or not name:
        raise fail(16866, "empty variable names are not allowed")
    if not (name[0].islower() or ord(name[0]) > 127):
        raise fail(16867, f"'{name}' starts with an invalid character for a user variable name")
    for char in name:
        if not (char.isalnum() or char == "_" or ord(char) > 127):
            raise fail(16868, f"'{name}' contains an invalid character for a variable name: '{char}'")
    return name
