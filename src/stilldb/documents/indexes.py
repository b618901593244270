"""Indexes: what createIndexes may ask for, and the keys of a document.

An index is a table ``(key, id)``: ``key`` is the order-preserving encoding of the indexed values, so its B-tree is in BSON
order; a document has as many rows as keys (multikey). A unique index has ``key`` alone as its primary key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from bson import Decimal128, Int64

from stilldb.query import keys
from stilldb.query.errors import MongoError
from stilldb.query.filter import compile_filter
from stilldb.query.numbers import integral
from stilldb.query.values import Document

LONGEST_KEY: Final = 2048  # bytes, DocumentDB's limit
MOST_FIELDS: Final = 32
_LONGEST_TTL: Final = 2**31 - 1
_VERSION: Final = 4  # what listIndexes shows as v
_OPTIONS: Final = frozenset(
    {"key", "name", "unique", "sparse", "expireAfterSeconds", "partialFilterExpression"}
)
_IGNORED: Final = frozenset({"v", "background", "ns"})
_NOT_YET: Final = frozenset(
    {
        "collation",
        "hidden",
        "weights",
        "default_language",
        "textIndexVersion",
        "wildcardProjection",
        "storageEngine",
    }
    | {
        "2dsphereIndexVersion",
        "bits",
        "min",
        "max",
        "bucketSize",
        "vectorOptions",
        "prepareUnique",
        "clustered",
    }
)
REFUSALS: Final = frozenset({"Location17280", "CannotIndexParallelArrays"})  # of a document by an index

ID_INDEX: Final[Document] = {"v": _VERSION, "key": {"_id": 1}, "name": "_id_"}


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """One index besides ``_id``'s. ``multikey``: some document has more than one key."""

    id: int
    spec: Document
    fields: tuple[tuple[str, int], ...]
    multikey: bool
    partial: Callable[[Document], bool] | None

    @classmethod
    def of(cls, number: int, spec: Document, multikey: bool) -> Index:
        """The index that the catalog describes."""
        fields = tuple((path, 1 if direction > 0 else -1) for path, direction in spec["key"].items())
        partial = spec.get("partialFilterExpression")
        return cls(number, spec, fields, multikey, None if partial is None else compile_filter(partial))

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.spec["name"])

    @property
    def table(self) -> str:
        """Its table."""
        return f"stilldb.i{self.id}"

    @property
    def unique(self) -> bool:
        """Whether no two documents may share a key."""
        return bool(self.spec.get("unique"))

    @property
    def complete(self) -> bool:
        """Whether every document has a key in it."""
        return self.partial is None and not self.spec.get("sparse")

    def keys(self, document: Document) -> list[bytes]:
        """The keys of a document; raises MongoError for one that is too long."""
        if self.partial is not None and not self.partial(document):
            return []
        found = keys.index_keys(document, self.fields, bool(self.spec.get("sparse")))
        for key in found:
            if len(key) > LONGEST_KEY:
                raise MongoError(
                    "Location17280",
                    f"Index key of {len(key)} bytes is longer than {LONGEST_KEY} bytes, index: {self.name}",
                )
        return found


def id_key(value: Any) -> bytes:
    """The key of an ``_id``."""
    key = keys.encode(value)
    if len(key) > LONGEST_KEY:
        raise MongoError(
            "Location17280", f"Index key of {len(key)} bytes is longer than {LONGEST_KEY} bytes, index: _id_"
        )
    return key


def default_name(key: Document) -> str:
    """``a_1_b_-1``."""
    return "_".join(f"{path}_{_shown(direction)}" for path, direction in key.items())


def _shown(direction: Any) -> Any:
    whole = integral(direction)
    return direction if whole is None else whole


def normalised(given: Document) -> Document:
    """A specification of createIndexes checked and in the form that the catalog keeps; raises MongoError."""
    for option in given:
        if option in _NOT_YET:
            raise MongoError("CannotCreateIndex", f"Index option not supported: '{option}'")
        if option not in _OPTIONS and option not in _IGNORED:
            raise MongoError(
                "Location197",
                f"The field '{option}' is not valid for an index specification. Specification: {given}",
            )
    key = given.get("key")
    if not isinstance(key, dict):
        raise MongoError("FailedToParse", "The 'key' field is a required property of an index specification")
    _check_key(key)
    name = given.get("name") or default_name(key)
    if not isinstance(name, str) or "\0" in name:
        raise MongoError("CannotCreateIndex", "an index's name must be a string without NUL")
    if name == "*":
        raise MongoError("BadValue", "The index name '*' is not valid.")
    if key == {"_id": 1}:
        return dict(ID_INDEX)
    if name == "_id_":
        raise MongoError("BadValue", "The index name '_id_' is reserved for the _id index")
    return {"v": _VERSION, "key": key, "name": name, **_options(given)}


def _check_key(key: Document) -> None:
    if not 0 < len(key) <= MOST_FIELDS:
        raise MongoError(
            "CannotCreateIndex", f"An index has between 1 and {MOST_FIELDS} keys, not {len(key)}"
        )
    for path, direction in key.items():
        if isinstance(direction, str):
            raise MongoError("CannotCreateIndex", f"Index type not supported: '{direction}'")
        number = isinstance(direction, int | Int64 | float | Decimal128) and not isinstance(direction, bool)
        if not number or float(str(direction)) == 0:
            raise MongoError(
                "CannotCreateIndex", f"Values in the index key pattern must be numbers other than 0: {path}"
            )
        if "$**" in path:
            raise MongoError("CannotCreateIndex", "Index type not supported: wildcard")
        if not path or path.startswith("$") or "" in path.split("."):
            raise MongoError("CannotCreateIndex", f"An index key can't be the path '{path}'")


def _options(given: Document) -> Document:
    options: Document = {}
    for name in ("unique", "sparse"):
        if given.get(name) not in (None, False, 0):
            options[name] = True
    if "expireAfterSeconds" in given:
        options["expireAfterSeconds"] = _seconds(given)
    partial = given.get("partialFilterExpression")
    if partial is not None:
        if not isinstance(partial, dict):
            raise MongoError("TypeMismatch", "partialFilterExpression must be an object")
        if options.get("sparse"):
            raise MongoError("CannotCreateIndex", "cannot mix 'partialFilterExpression' and 'sparse' options")
        compile_filter(partial)
        options["partialFilterExpression"] = partial
    return options


def _seconds(given: Document) -> int:
    seconds = integral(given["expireAfterSeconds"])
    if seconds is None or not 0 <= seconds <= _LONGEST_TTL:
        raise MongoError(
            "CannotCreateIndex", f"expireAfterSeconds must be a whole number from 0 to {_LONGEST_TTL}"
        )
    if len(given["key"]) != 1 or "_id" in given["key"]:
        raise MongoError("CannotCreateIndex", "TTL indexes are single-field indexes, and not on _id")
    return seconds
