"""BSON order: names of types, comparison, sort keys.

Owns how values compare. Does not own which values a path leads to (stilldb.query.paths, stilldb.query.multikey) nor the
order's byte form (stilldb.query.keys).
"""

from __future__ import annotations

from stilldb.query.order.compare import CLASSES, compare, hash_key, order_key
from stilldb.query.order.sorting import compile_sort, descending_key
from stilldb.query.order.types import ALIASES, NUMBERS, bson_type_name, regex_options, type_number

__all__ = [
    "ALIASES",
    "CLASSES",
    "NUMBERS",
    "bson_type_name",
    "compare",
    "compile_sort",
    "descending_key",
    "hash_key",
    "order_key",
    "regex_options",
    "type_number",
]
