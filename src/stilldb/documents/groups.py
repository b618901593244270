"""``$group`` answered by SQL over the query form, where that is exact; else None, and the engine does it.

Values come back as their forms' text, whose digits tell the BSON type (stilldb.documents.queryform). Doubles come back one by
one, to be added as the engine adds them: a sum of decimals would round differently.
"""

from __future__ import annotations

import math
from typing import Any, Final

import asyncpg

from stilldb.documents.access import Access
from stilldb.documents.queryform import NoForm, decode_number, decode_scalar
from stilldb.query import numbers
from stilldb.query.grouping import Accumulated, GroupPlan
from stilldb.query.pushdown import Path
from stilldb.query.values import Document

MOST_GROUPS: Final = 100_000  # more are left to the engine, which watches its memory
MOST_DOUBLES: Final = 1_000_000  # rows of a table whose doubles are fetched
_EXACT: Final = 2**53

# The type of a number by its form: what stilldb.query.numbers calls INT, LONG, DOUBLE and DECIMAL.
_KIND: Final = """
CASE WHEN scale({n}) = 0 THEN CASE WHEN abs({n}) < 2147483648 THEN 1 ELSE 3 END
     ELSE CASE scale({n}) - min_scale({n}) WHEN 0 THEN 3 WHEN 1 THEN 3 WHEN 2 THEN 2 ELSE 4 END END
"""


def statement(plan: GroupPlan, made: Access, *, doubles: bool) -> str:
    """One row a group: its keys, its size, and for each path what its accumulators need.

    OFFSET 0 keeps PostgreSQL from computing an expression once for each use of it. ``doubles``: fetch them, too.
    """
    paths = range(len(plan.paths))
    keys = [f"{_key_value(plan, path, made)} AS k{number}" for number, path in enumerate(plan.keys)]
    values = [f"{_value(path, made)} AS v{number}" for number, path in enumerate(plan.paths)]
    nested = [path for path in (*plan.keys, *plan.paths) if len(path) > 1]
    odd = " OR ".join(["c.j IS NULL", *(_array_on_the_way(path, made) for path in nested)])
    inner = f"SELECT {', '.join([*keys, *values, f'({odd}) AS odd'])} FROM {made.source} WHERE {made.where} OFFSET 0"
    numbered = "".join(
        f", CASE jsonb_typeof(v{n}) WHEN 'number' THEN v{n}::numeric END AS n{n}" for n in paths
    )
    middle = f"SELECT *{numbered} FROM ({inner}) r OFFSET 0"
    kinds = "".join(f", {_KIND.format(n=f'n{n}')} AS t{n}" for n in paths)
    columns = [f"k{number}::text" for number in range(len(plan.keys))]
    columns += ["count(*) AS total", "bool_or(odd) AS odd"]
    for number in paths:
        columns += _columns(number, doubles)
    grouping = f" GROUP BY {', '.join(f'k{number}' for number in range(len(plan.keys)))}" if plan.keys else ""
    return (
        f"SELECT {', '.join(columns)} FROM (SELECT *{kinds} FROM ({middle}) s OFFSET 0) t{grouping} "
        f"LIMIT {made.param(MOST_GROUPS + 1)}"
    )


def _columns(number: int, doubles: bool) -> list[str]:
    n, kind = f"n{number}", f"t{number}"
    fetched = f"array_agg({n}::float8) FILTER (WHERE {kind} = 3)" if doubles else "NULL::float8[]"
    return [
        f"count({n}) AS count{number}",
        f"sum({n}) FILTER (WHERE {kind} < 3) AS sum{number}",
        f"{fetched} AS doubles{number}",
        f"min({n})::text AS min{number}",
        f"max({n})::text AS max{number}",
        f"min({kind}) AS narrowest{number}",
        f"max({kind}) AS widest{number}",
        f"bool_or({n} IS NULL AND jsonb_typeof(v{number}) <> 'null') AS others{number}",
    ]


def _value(path: Path, made: Access) -> str:
    return "c.j" + "".join(f" -> {made.param(part)}::text" for part in path)


def _key_value(plan: GroupPlan, path: Path, made: Access) -> str:
    """Alone, a field that is not there and one that is null are the same key; in a document they are not."""
    value = _value(path, made)
    return f"coalesce({value}, 'null'::jsonb)" if plan.names is None else value


def _array_on_the_way(path: Path, made: Access) -> str:
    parents = [path[:length] for length in range(1, len(path))]
    return " OR ".join(f"jsonb_typeof({_value(parent, made)}) = 'array'" for parent in parents)


def documents(plan: GroupPlan, rows: list[asyncpg.Record]) -> list[Document] | None:
    """The groups' documents; None when a row shows that SQL can't tell them exactly."""
    if len(rows) > MOST_GROUPS or any(row["odd"] for row in rows):
        return None
    if not plan.keys:
        rows = [row for row in rows if row["total"]]  # no documents, no group
    try:
        return [_document(plan, row) for row in rows]
    except NoForm:
        return None


def _document(plan: GroupPlan, row: asyncpg.Record) -> Document:
    made: Document = {"_id": _key(plan, row)}
    for field in plan.fields:
        made[field.name] = _result(field, plan, row)
    return made


def _key(plan: GroupPlan, row: asyncpg.Record) -> Any:
    if not plan.keys:
        return plan.constant
    texts = [row[f"k{number}"] for number in range(len(plan.keys))]
    if plan.names is None:
        return decode_scalar(texts[0])
    pairs = zip(plan.names, texts, strict=True)
    return {name: decode_scalar(text) for name, text in pairs if text is not None}


def _result(field: Accumulated, plan: GroupPlan, row: asyncpg.Record) -> Any:
    if field.op == "count":
        return numbers.integer(row["total"] * field.factor, numbers.INT)
    number = plan.paths.index(field.path)
    if field.op in ("min", "max"):
        return _extreme(row[f"{field.op}{number}"], row, number)
    if not row[f"count{number}"]:
        return 0 if field.op == "sum" else None
    total = _sum(row, number)
    return total if field.op == "sum" else _average(total, row[f"count{number}"])


def _sum(row: asyncpg.Record, number: int) -> Any:
    widest = row[f"widest{number}"]
    integers = int(row[f"sum{number}"] or 0)
    if widest < numbers.DOUBLE:
        return numbers.integer(integers, widest)
    doubles = row[f"doubles{number}"]
    if widest > numbers.DOUBLE or doubles is None or abs(integers) >= _EXACT:
        raise NoForm("a decimal, or more doubles than are fetched")
    try:
        return math.fsum([*doubles, integers])
    except OverflowError:
        raise NoForm("a sum that no double holds") from None


def _average(total: Any, count: int) -> float:
    if abs(total) >= _EXACT:
        raise NoForm("a sum that no double holds")
    return float(total / count)


def _extreme(text: str | None, row: asyncpg.Record, number: int) -> Any:
    """The least or greatest value; raises NoForm where there is an order among other types or equals of two types."""
    if row[f"others{number}"] or row[f"narrowest{number}"] != row[f"widest{number}"]:
        raise NoForm("values of several types")
    return None if text is None else decode_number(text)
