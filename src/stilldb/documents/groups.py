"""``$group`` answered by SQL over the query form, where that is exact; else None, and the engine does it.

Values come back as their forms' text, whose digits tell the BSON type (stilldb.documents.queryform). Doubles are added as the
decimals that they are written as, and the sum is rounded once: its last digit may differ from that of a sum of binary numbers.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import asyncpg

from stilldb.documents.access import Access
from stilldb.documents.queryform import NoForm, decode_number, decode_scalar
from stilldb.query import numbers
from stilldb.query.grouping import Accumulated, GroupPlan
from stilldb.query.pushdown import Path
from stilldb.query.values import Document

MOST_GROUPS: Final = 100_000  # more are left to the engine, which watches its memory
_EXACT: Final = 2**53

# The type of a number by its form: what stilldb.query.numbers calls INT, LONG, DOUBLE and DECIMAL.
_KIND: Final = """
CASE WHEN scale({n}) = 0 THEN CASE WHEN abs({n}) <= 2147483648 THEN 1 ELSE 3 END
     ELSE CASE scale({n}) - min_scale({n}) WHEN 0 THEN 3 WHEN 1 THEN 3 WHEN 2 THEN 2 ELSE 4 END END
"""

# Whether a key is a number that SQL may take for equal to another where BSON does not: a decimal128, or a double so large
# that its form is not its value.
_BLURRED: Final = """
CASE jsonb_typeof({k}) WHEN 'number' THEN CASE scale({k}::numeric) - min_scale({k}::numeric)
    WHEN 2 THEN false WHEN 1 THEN abs({k}::numeric) >= 9007199254740992
    WHEN 0 THEN abs({k}::numeric) >= 9007199254740992 ELSE true END END
"""


def statement(plan: GroupPlan, made: Access) -> str:
    """One row a group: its keys, its size, and for each path what its accumulators need.

    Three levels: values, numbers, types of numbers. OFFSET 0 keeps PostgreSQL from computing an expression once for each
    use of it.
    """
    names = [(f"k{number}", path) for number, path in enumerate(plan.keys)]
    names += [(f"v{number}", path) for number, path in enumerate(plan.paths)]
    values = ", ".join(["c.j", *(f"{_value(path, made)} AS {name}" for name, path in names)])
    inner = f"SELECT {values} FROM {made.source} WHERE {made.where} OFFSET 0"
    hidden = [_hidden(name, path, made) for name, path in names if len(path) > 1]
    blurred = [_BLURRED.format(k=f"k{number}") for number in range(len(plan.keys))]
    odd = " OR ".join(["j IS NULL", *hidden, *blurred])
    keys = [f"{_key(plan, number)} AS g{number}" for number in range(len(plan.keys))]
    paths = range(len(plan.paths))
    middle = ", ".join(
        [
            f"({odd}) AS odd",
            *keys,
            *(f"v{n}, CASE jsonb_typeof(v{n}) WHEN 'number' THEN v{n}::numeric END AS n{n}" for n in paths),
        ]
    )
    kinds = "".join(f", {_KIND.format(n=f'n{n}')} AS t{n}" for n in paths)
    typed = f"SELECT *{kinds} FROM (SELECT {middle} FROM ({inner}) r OFFSET 0) s OFFSET 0"
    columns = [f"g{number}::text AS k{number}" for number in range(len(plan.keys))]
    columns += ["count(*) AS total", "bool_or(odd) AS odd"]
    for number, path in enumerate(plan.paths):
        columns += _columns(number, {field.op for field in plan.fields if field.path == path})
    grouping = f" GROUP BY {', '.join(f'g{number}' for number in range(len(plan.keys)))}" if plan.keys else ""
    return f"SELECT {', '.join(columns)} FROM ({typed}) t{grouping} LIMIT {made.param(MOST_GROUPS + 1)}"


def _columns(number: int, ops: set[str]) -> list[str]:
    n, kind = f"n{number}", f"t{number}"
    columns = [f"count({n}) AS count{number}", f"max({kind}) AS widest{number}"]
    if ops & {"sum", "avg"}:
        columns.append(f"sum({n})::text AS sum{number}")
    if ops & {"min", "max"}:
        columns += [
            f"min({n})::text AS min{number}",
            f"max({n})::text AS max{number}",
            f"min({kind}) AS narrowest{number}",
            f"bool_or({n} IS NULL AND jsonb_typeof(v{number}) <> 'null') AS others{number}",
        ]
    return columns


def _value(path: Path, made: Access) -> str:
    return "c.j" + "".join(f" -> {made.param(part)}::text" for part in path)


def _hidden(name: str, path: Path, made: Access) -> str:
    """Whether an array on the way to the path keeps a value from being seen."""
    parents = [_value(path[:length], made).removeprefix("c.") for length in range(1, len(path))]
    arrays = " OR ".join(f"jsonb_typeof({parent}) = 'array'" for parent in parents)
    return f"({name} IS NULL AND ({arrays}))"


def _key(plan: GroupPlan, number: int) -> str:
    """Alone, a field that is not there and one that is null are the same key; in a document they are not."""
    return f"coalesce(k{number}, 'null'::jsonb)" if plan.names is None else f"k{number}"


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
    made: Document = {"_id": _group_id(plan, row)}
    for field in plan.fields:
        made[field.name] = _result(field, plan, row)
    return made


def _group_id(plan: GroupPlan, row: asyncpg.Record) -> Any:
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
    widest, total = row[f"widest{number}"], row[f"sum{number}"]
    if widest > numbers.DOUBLE:
        raise NoForm("a decimal")
    return float(total) if widest == numbers.DOUBLE else numbers.integer(int(Decimal(total)), widest)


def _average(total: Any, count: int) -> float:
    if not isinstance(total, float) and abs(total) >= _EXACT:
        raise NoForm("a sum that no double holds")
    return float(total / count)


def _extreme(text: str | None, row: asyncpg.Record, number: int) -> Any:
    """The least or greatest value; raises NoForm where there is an order among other types or equals of two types."""
    if row[f"others{number}"] or row[f"narrowest{number}"] != row[f"widest{number}"]:
        raise NoForm("values of several types")
    return None if text is None else decode_number(text)
