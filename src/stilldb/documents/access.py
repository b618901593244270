"""How a plan becomes SQL over one collection: the WHERE clause, and the index that serves it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final

from bson import DatetimeMS, Int64, ObjectId

from stilldb.documents import jsonpath
from stilldb.documents.catalog import Collection
from stilldb.documents.indexes import ID_INDEX, Index
from stilldb.query import keys
from stilldb.query.errors import MongoError
from stilldb.query.pushdown import ALWAYS, Bound, Plan
from stilldb.query.values import Document

MOST_RANGES: Final = 1000  # of keys that one statement looks up in an index
Hint = str | Document | None

# The least and the greatest value of each class of types that ranges compare within; a string has no greatest.
_CLASSES: Final[dict[type, tuple[Any, Any]]] = {
    **dict.fromkeys((int, Int64, float), (float("-inf"), float("inf"))),
    str: ("", None),
    DatetimeMS: (DatetimeMS(-(2**63)), DatetimeMS(2**63 - 1)),
    ObjectId: (ObjectId(b"\x00" * 12), ObjectId(b"\xff" * 12)),
}
_ABOVE_STRINGS: Final[Document] = {}  # objects come after strings


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Keys from ``low`` to below ``high``; None is no limit."""

    low: bytes
    high: bytes | None


@dataclasses.dataclass(slots=True)
class Access:
    """A WHERE clause over ``c``, its parameters, and what it uses: an index's name, or None for a scan."""

    where: str
    params: list[Any]
    index: str | None
    pushed: str  # the path that the query form is searched by, "" when none

    def param(self, value: Any) -> str:
        """One more parameter's placeholder."""
        self.params.append(value)
        return f"${len(self.params)}"


def after(prefix: bytes) -> bytes | None:
    """The first key after all that begin with ``prefix``."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def access(collection: Collection, plan: Plan, hint: Hint = None) -> Access:
    """The clause for a plan. Everything in it widens or is exact, as the plan says."""
    made = Access("", [], None, "")
    clauses = [_ranges_clause("c.id", _id_ranges(bound), made) for bound in plan.ids]
    chosen = _hinted(collection, hint) if hint is not None else None
    if plan.ids:
        made.index = str(ID_INDEX["name"])
    elif hint is None or chosen is not None:
        candidates = collection.indexes if chosen is None else (chosen,)
        clauses += _index_clause(candidates, plan.bounds, made)
    if plan.condition != ALWAYS:
        made.pushed = jsonpath.render(plan.condition)
        # Without a query form a document is a candidate whatever is asked.
        clauses.append(f"(c.j IS NULL OR c.j @@ {made.param(made.pushed)}::jsonpath)")
    made.where = " AND ".join(clauses) or "true"
    return made


def _hinted(collection: Collection, hint: str | Document) -> Index | None:
    """The index of a hint, None for ``_id``'s and for $natural; raises BadValue when there is none."""
    if hint in ("_id_", {"_id": 1}, {"$natural": 1}):
        return None
    for index in collection.indexes:
        if hint == index.name or (isinstance(hint, dict) and hint == index.spec["key"]):
            return index
    raise MongoError(
        "BadValue", "error processing query: planner returned error: hint provided does not correspond to an existing index"
    )


def _id_ranges(bound: Bound) -> list[Range]:
    if bound.op == "eq":
        return [_equal(keys.encode(value)) for value in bound.values]
    return [_limits(bound)]


def _equal(key: bytes) -> Range:
    return Range(key, after(key))


def _limits(bound: Bound) -> Range:
    """The range of a comparison: within the class of types of its value."""
    (value,) = bound.values
    least, greatest = _CLASSES[type(value)]
    key = keys.encode(value)
    if bound.op == "gt":
        low = after(key) or key
    else:
        low = key if bound.op == "gte" else keys.encode(least)
    if bound.op in ("lt", "lte"):
        return Range(low, key if bound.op == "lt" else after(key))
    return Range(low, keys.encode(_ABOVE_STRINGS) if greatest is None else after(keys.encode(greatest)))


def _ranges_clause(column: str, ranges: Sequence[Range], made: Access) -> str:
    """Whether the column, a bytea, lies in one of the ranges; ``_id`` equalities become equalities."""
    if all(span.high == after(span.low) for span in ranges):
        if len(ranges) == 1:
            return f"{column} = {made.param(ranges[0].low)}"
        return f"{column} = ANY({made.param([span.low for span in ranges])}::bytea[])"
    return "(" + " OR ".join(_range_clause(column, span, made) for span in ranges) + ")"


def _range_clause(column: str, span: Range, made: Access) -> str:
    low = f"{column} >= {made.param(span.low)}"
    return low if span.high is None else f"{low} AND {column} < {made.param(span.high)}"


# -- secondary indexes


def _index_clause(indexes: Iterable[Index], bounds: Sequence[Bound], made: Access) -> list[str]:
    """A clause by the index that fixes the most fields; none when no index helps."""
    best: tuple[int, Index, list[Range]] | None = None
    for index in indexes:
        if index.partial is not None:
            continue  # whether the filter implies the index's own is not looked into
        fixed, ranges = _key_ranges(index, bounds)
        if fixed and (best is None or fixed > best[0]):
            best = (fixed, index, ranges)
    if best is None:
        return []
    _, index, ranges = best
    made.index = index.name
    if len(ranges) == 1:
        inner = _range_clause("i.key", ranges[0], made)
        return [f"c.id IN (SELECT i.id FROM {index.table} i WHERE {inner})"]
    low = made.param([span.low for span in ranges])
    high = made.param([span.high or b"\xff" for span in ranges])
    return [
        f"c.id IN (SELECT i.id FROM unnest({low}::bytea[], {high}::bytea[]) AS r(low, high) "
        f"JOIN {index.table} i ON i.key >= r.low AND i.key < r.high)"
    ]


def _key_ranges(index: Index, bounds: Sequence[Bound]) -> tuple[int, list[Range]]:
    """How many leading fields the bounds fix (an equality counts two, a range one), and the ranges of keys."""
    prefixes = [b""]
    fixed = 0
    for path, direction in index.fields:
        own = [bound for bound in bounds if bound.path == tuple(path.split("."))]
        equal = next((bound for bound in own if bound.op == "eq"), None)
        if equal is not None and len(prefixes) * len(equal.values) <= MOST_RANGES:
            parts = {_directed(keys.encode(value), direction) for value in equal.values}
            prefixes = [prefix + part for prefix, part in itertools.product(prefixes, sorted(parts))]
            fixed += 2
            continue
        spans = [_limits(bound) for bound in own if bound.op != "eq"]
        if not spans:
            break
        # In a multikey index one value may satisfy one comparison and another value the other.
        span = spans[0] if index.multikey else _intersection(spans)
        return fixed + 1, [_within(prefix, span, direction) for prefix in prefixes]
    return fixed, [_equal(prefix) for prefix in prefixes]


def _intersection(spans: Sequence[Range]) -> Range:
    highs = [span.high for span in spans if span.high is not None]
    return Range(max(span.low for span in spans), min(highs) if highs else None)


def _directed(key: bytes, direction: int) -> bytes:
    return key if direction > 0 else keys.descending(key)


def _within(prefix: bytes, span: Range, direction: int) -> Range:
    """The range of compound keys whose next part lies in ``span``."""
    if direction > 0:
        high = after(prefix) if span.high is None else prefix + span.high
        return Range(prefix + span.low, high)
    # Complemented bytes turn the order: at most the complement of ``low`` (with all that begins so), above that of ``high``.
    low = prefix if span.high is None else prefix + keys.descending(span.high)
    return Range(low, after(prefix + keys.descending(span.low)))


