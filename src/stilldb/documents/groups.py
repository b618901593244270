"""``$group`` answered by SQL over the query form, where that is exact; else None, and the engine does it.

The values come back as their forms' text, whose digits tell the BSON type (stilldb.documents.queryform).
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from stilldb.documents.access import Access
from stilldb.documents.catalog import Collection
from stilldb.documents.queryform import NoForm, decode_number, decode_scalar
from stilldb.query import numbers
from stilldb.query.grouping import Accumulated, GroupPlan
from stilldb.query.pushdown import Path
from stilldb.query.values import Document

MOST_GROUPS: Final = 100_000  # more are left to the engine, which watches its memory
_EXACT: Final = 2**53
_INT32: Final = 2**31


def statement(collection: Collection, plan: GroupPlan, made: Access) -> str:
    """One row a group: its keys, its size, and for each path count, sum, least, greatest and what must be excluded."""
    keys = [f"{_key_value(plan, path, made)} AS k{number}" for number, path in enumerate(plan.keys)]
    values = [f"{_value(path, made)} AS v{number}" for number, path in enumerate(plan.paths)]
    odd = " OR ".join(
        ["c.j IS NULL", *(_array_on_the_way(path, made) for path in (*plan.keys, *plan.paths) if len(path) > 1)]
    )
    inner = f"SELECT {', '.join([*keys, *values, f'({odd}) AS odd'])} FROM {collection.table} c WHERE {made.where}"
    numbered = ", ".join(
        ["*", *(f"CASE jsonb_typeof(v{n}) WHEN 'number' THEN v{n}::numeric END AS n{n}" for n in range(len(plan.paths)))]
    )
    columns = [f"k{number}::text" for number in range(len(plan.keys))]
    columns += ["count(*) AS total", "bool_or(odd) AS odd"]
    for n in range(len(plan.paths)):
        columns += [
            f"count(n{n}) AS count{n}",
            f"sum(n{n}) AS sum{n}",
            f"min(n{n})::text AS min{n}",
            f"max(n{n})::text AS max{n}",
            f"min(scale(n{n})) AS least{n}",
            f"max(scale(n{n})) AS scale{n}",
            f"count(v{n}) FILTER (WHERE jsonb_typeof(v{n}) NOT IN ('number', 'null')) AS others{n}",
            f"count(n{n}) FILTER (WHERE n{n} <> trunc(n{n})) AS broken{n}",
        ]
    grouping = f" GROUP BY {', '.join(f'k{number}' for number in range(len(plan.keys)))}" if plan.keys else ""
    limit = made.param(MOST_GROUPS + 1)
    return f"SELECT {', '.join(columns)} FROM (SELECT {numbered} FROM ({inner}) r) s{grouping} LIMIT {limit}"


def _value(path: Path, made: Access) -> str:
    return f"c.j #> {made.param(list(path))}::text[]"


def _key_value(plan: GroupPlan, path: Path, made: Access) -> str:
    """Alone, a field that is not there and one that is null are the same key; in a document they are not."""
    value = _value(path, made)
    return f"coalesce({value}, 'null'::jsonb)" if plan.names is None else value


def _array_on_the_way(path: Path, made: Access) -> str:
    parents = [list(path[:length]) for length in range(1, len(path))]
    return " OR ".join(f"jsonb_typeof(c.j #> {made.param(parent)}::text[]) = 'array'" for parent in parents)


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
        if row[f"others{number}"]:
            raise NoForm("values that are no numbers have an order too")
        text = row[f"{field.op}{number}"]
        return None if text is None else _unambiguous(text, row, number)
    if not row[f"count{number}"]:
        return 0 if field.op == "sum" else None
    widest = _widest(row, number)
    total = int(row[f"sum{number}"])
    if field.op == "sum":
        return numbers.integer(total, widest)
    if abs(total) >= _EXACT:
        raise NoForm("a sum that no double holds")
    return total / row[f"count{number}"]


def _widest(row: asyncpg.Record, number: int) -> int:
    """INT or LONG; raises NoForm when a double or a decimal is among the values."""
    scale, least = row[f"scale{number}"], row[f"least{number}"]
    if scale == 0:
        if not _small(row, number):
            raise NoForm("a double without a point")
        return numbers.INT
    if scale == 2 and not row[f"broken{number}"] and (least == 2 or (least == 0 and _small(row, number))):
        return numbers.LONG
    raise NoForm("a double or a decimal")


def _small(row: asyncpg.Record, number: int) -> bool:
    """Whether no value among ints and longs can be a double without a point."""
    return all(abs(int(decode_number(row[f"{end}{number}"]))) < _INT32 for end in ("min", "max"))


def _unambiguous(text: str, row: asyncpg.Record, number: int) -> Any:
    """The least or greatest value; raises NoForm when values of several types share the field, for they may be equal."""
    if row[f"scale{number}"] != row[f"least{number}"]:
        value = decode_number(text)
        if not isinstance(value, float) or value.is_integer():
            raise NoForm("numbers of several types")
        return value
    return decode_number(text)
