"""Array operators that walk with variables or take named arguments: $map, $filter, $reduce, $zip, $sortArray."""

from __future__ import annotations

import functools
from typing import Any

from stilldb.query import numbers, order
from stilldb.query.errors import MongoError
from stilldb.query.expressions.core import (
    EMPTY,
    Constant,
    Context,
    Evaluator,
    Named,
    Scope,
    compile_in,
    fail,
    operator,
)
from stilldb.query.expressions.logic import check_variable
from stilldb.query.order import bson_type_name
from stilldb.query.values import MISSING

_MAP = Named("$map", {"input": 16880, "in": 16882}, ("as",), not_object=16878, unknown=16879)
_FILTER = Named("$filter", {"input": 28648, "cond": 28650}, ("as", "limit"), not_object=28646, unknown=28647)
_REDUCE = Named(
    "$reduce", {"input": 40077, "initialValue": 40078, "in": 40079}, not_object=40075, unknown=40076
)
_ZIP = Named("$zip", {"inputs": 34465}, ("useLongestLength", "defaults"), not_object=34460, unknown=34464)
_SORT = Named("$sortArray", {"input": 2942502, "sortBy": 2942503}, not_object=2942500, unknown=2942501)


def _array_or_none(value: Any, name: str, code: int) -> list[Any] | None:
    if value is None or value is MISSING:
        return None
    if not isinstance(value, list):
        raise fail(code, f"input to {name} must be an array not {bson_type_name(value)}")
    return value


@operator("$map")
def _map(spec: Any, context: Context) -> Evaluator:
    parts = _MAP.read(spec)
    name = check_variable(parts.get("as", "this"))
    source = compile_in(parts["input"], context)
    body = compile_in(parts["in"], context.having(name))

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        items = _array_or_none(source(document, scope), "$map", 16883)
        if items is None:
            return None
        inner, made = dict(scope), []
        for item in items:
            inner[name] = item
            value = body(document, inner)
            made.append(None if value is MISSING else value)
        return made

    return evaluate


@operator("$filter")
def _filter(spec: Any, context: Context) -> Evaluator:
    parts = _FILTER.read(spec)
    name = check_variable(parts.get("as", "this"))
    source = compile_in(parts["input"], context)
    test = compile_in(parts["cond"], context.having(name))
    bound = compile_in(parts["limit"], context) if "limit" in parts else Constant(None)

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        items = _array_or_none(source(document, scope), "$filter", 28651)
        if items is None:
            return None
        most = _limit(bound(document, scope))
        inner, kept = dict(scope), []
        for item in items:
            inner[name] = item
            if numbers.truthy(test(document, inner)):
                kept.append(item)
                if len(kept) == most:
                    break
        return kept

    return evaluate


def _limit(value: Any) -> int:
    """The bound of ``$filter``; -1 for none."""
    if value is None or value is MISSING:
        return -1
    exact = numbers.integral(value)
    if exact is None or not numbers.INT32_MIN <= exact <= numbers.INT32_MAX:
        raise fail(327391, f"$filter: limit must be represented as a 32-bit integral value: {value}")
    if exact <= 0:
        raise fail(327392, f"$filter: limit must be greater than 0: {value}")
    return exact


@operator("$reduce")
def _reduce(spec: Any, context: Context) -> Evaluator:
    parts = _REDUCE.read(spec)
    source = compile_in(parts["input"], context)
    initial = compile_in(parts["initialValue"], context)
    body = compile_in(parts["in"], context.having("this", "value"))

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        items = source(document, scope)
        if items is None or items is MISSING:
            return None
        if not isinstance(items, list):
            raise fail(40080, f"$reduce requires that 'input' be an array, found: {bson_type_name(items)}")
        inner = dict(scope)
        value = initial(document, scope)
        for item in items:
            inner["this"], inner["value"] = item, value
            value = body(document, inner)
        return value

    return evaluate


@operator("$zip")
def _zip(spec: Any, context: Context) -> Evaluator:
    parts = _ZIP.read(spec)
    longest = parts.get("useLongestLength", False)
    if not isinstance(longest, bool):
        raise fail(34463, f"useLongestLength must be a bool, found {bson_type_name(longest)}")
    if not isinstance(parts["inputs"], list):
        raise fail(34461, f"inputs must be an array of expressions, found {bson_type_name(parts['inputs'])}")
    _check_zip(parts, longest)
    sources = [compile_in(item, context) for item in parts["inputs"]]
    defaults = [compile_in(item, context) for item in parts.get("defaults", [])] or [Constant(None)] * len(
        sources
    )

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        arrays = _zip_inputs([source(document, scope) for source in sources])
        if arrays is None:
            return None
        fill = [default(document, scope) for default in defaults]
        count = (max if longest else min)(len(items) for items in arrays)
        return [
            [items[i] if i < len(items) else fill[j] for j, items in enumerate(arrays)] for i in range(count)
        ]

    return evaluate


def _check_zip(parts: dict[str, Any], longest: bool) -> None:
    if not parts["inputs"]:
        raise fail(34465, "$zip requires at least one input array")
    if "defaults" not in parts:
        return
    if not isinstance(parts["defaults"], list):
        raise fail(
            34462, f"defaults must be an array of expressions, found {bson_type_name(parts['defaults'])}"
        )
    if not longest:
        raise fail(34466, "cannot specify defaults unless useLongestLength is true")
    if len(parts["defaults"]) != len(parts["inputs"]):
        raise fail(34467, "defaults and inputs must have the same length")


def _zip_inputs(values: list[Any]) -> list[list[Any]] | None:
    for value in values:
        if value is None or value is MISSING:
            return None
        if not isinstance(value, list):
            raise fail(34468, f"$zip found a non-array expression in input: {value!r}")
    return values


@operator("$sortArray")
def _sort_array(spec: Any, context: Context) -> Evaluator:
    parts = _SORT.read(spec)
    source = compile_in(parts["input"], context)
    key, reverse = _sort_key(parts["sortBy"])

    def evaluate(document: Any, scope: Scope = EMPTY) -> Any:
        items = source(document, scope)
        if items is None or items is MISSING:
            return None
        if not isinstance(items, list):
            raise fail(
                2942504,
                f"The input argument to $sortArray must be an array, but was of type: {bson_type_name(items)}",
            )
        return sorted(items, key=key, reverse=reverse)

    return evaluate


def _sort_key(spec: Any) -> tuple[Any, bool]:
    """The key function and whether to reverse, for a whole-value direction or a pattern of fields."""
    if isinstance(spec, dict):
        by_fields = order.compile_sort(spec)
        return lambda item: by_fields(item if isinstance(item, dict) else {}), False
    if numbers.integral(spec) not in (1, -1):
        raise MongoError("BadValue", "The $sortArray sortBy must be 1, -1 or an object of fields")
    return functools.cmp_to_key(order.compare), numbers.integral(spec) == -1
