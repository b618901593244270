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
from stilldb.query.numbers import to_float
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
    """How documents are reached: FROM, WHERE and ORDER BY of a statement whose documents are ``c``, and its parameters.

    ``index`` is the name of the index that serves it, None for a scan; ``pushed`` the path that the query form is searched
    by, "" when none; ``order`` the columns that number the rows, all descending or none.
    """

    source: str
    where: str = "true"
    params: list[Any] = dataclasses.field(default_factory=list)
    index: str | None = None
    pushed: str = ""
    order: tuple[str, ...] = ("c.id",)
    descending: bool = False

    def param(self, value: Any) -> str:
        """One more parameter's placeholder."""
        self.params.append(value)
        return f"${len(self.params)}"

    @property
    def sorts(self) -> bool:
        """Whether the rows come in an index's order."""
        return self.order != ("c.id",)


def after(prefix: bytes) -> bytes | None:
    """The first key after all that begin with ``prefix``."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def access(collection: Collection, plan: Plan, hint: Hint = None, sort: Document | None = None) -> Access:
    """The access for a plan; everything in it widens or is exact, as the plan says.

    It comes in the order of ``sort`` if an index has it and no other index serves the filter better: see ``Access.sorts``.
    """
    made = Access(f"{collection.table} c")
    clauses = [_ranges_clause("c.id", _id_ranges(bound), made) for bound in plan.ids]
    chosen = _hinted(collection, hint) if hint is not None else None
    candidates = collection.indexes if hint is None else () if chosen is None else (chosen,)
    best = None if plan.ids else _best(candidates, plan.bounds)
    ordered = _ordered(candidates, plan.bounds, sort) if sort and not plan.ids else None
    if plan.ids:
        made.index = str(ID_INDEX["name"])
    if ordered is not None and (best is None or best.fixed <= ordered.fixed):
        clauses += _in_order(collection, ordered, made)
    elif best is not None:
        clauses.append(_index_clause(best, made))
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
        "BadValue",
        "error processing query: planner returned error: hint provided does not correspond to an existing index",
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


@dataclasses.dataclass(frozen=True, slots=True)
class _Choice:
    """An index, the ranges of its keys that are looked at, and how many leading fields those fix."""

    index: Index
    fixed: int
    ranges: list[Range]
    descending: bool = False


def _best(indexes: Iterable[Index], bounds: Sequence[Bound]) -> _Choice | None:
    """The index that fixes the most fields; None when none helps."""
    best: _Choice | None = None
    for index in indexes:
        if index.partial is not None:
            continue  # whether the filter implies the index's own is not looked into
        fixed, ranges = _key_ranges(index, bounds)
        if fixed and (best is None or fixed > best.fixed):
            best = _Choice(index, fixed, ranges)
    return best


def _index_clause(choice: _Choice, made: Access) -> str:
    index, ranges = choice.index, choice.ranges
    made.index = index.name
    if len(ranges) == 1:
        inner = _range_clause("i.key", ranges[0], made)
        return f"c.id IN (SELECT i.id FROM {index.table} i WHERE {inner})"
    low = made.param([span.low for span in ranges])
    high = made.param([span.high or b"\xff" for span in ranges])
    return (
        f"c.id IN (SELECT i.id FROM unnest({low}::bytea[], {high}::bytea[]) AS r(low, high) "
        f"JOIN {index.table} i ON i.key >= r.low AND i.key < r.high)"
    )


def _ordered(indexes: Iterable[Index], bounds: Sequence[Bound], sort: Document) -> _Choice | None:
    """The index that fixes most, whose keys, one for each document, are in the order of ``sort`` within one range."""
    wanted = [(path, 1 if to_float(direction) > 0 else -1) for path, direction in sort.items()]
    equal = {".".join(bound.path) for bound in bounds if bound.op == "eq" and len(bound.values) == 1}
    found: _Choice | None = None
    for index in indexes:
        if index.multikey or not index.complete:
            continue
        skipped = 0
        while (
            skipped < len(index.fields)
            and index.fields[skipped][0] in equal
            and index.fields[skipped][0] not in sort
        ):
            skipped += 1
        own = index.fields[skipped : skipped + len(wanted)]
        reversed_ = [(path, -direction) for path, direction in own]
        if wanted in (list(own), reversed_):
            fixed, ranges = _key_ranges(index, bounds)
            if len(ranges) == 1 and (found is None or fixed > found.fixed):
                found = _Choice(index, fixed, ranges, wanted == reversed_)
    return found


def _in_order(collection: Collection, choice: _Choice, made: Access) -> list[str]:
    made.index = choice.index.name
    # The collection first: whoever drops it locks its tables in that order.
    made.source = f"{collection.table} c JOIN {choice.index.table} i ON i.id = c.id"
    made.order = ("i.key", "i.id")
    made.descending = choice.descending
    return [_range_clause("i.key", choice.ranges[0], made)]


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
