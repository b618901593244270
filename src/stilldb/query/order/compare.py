"""How any two BSON values compare, and keys that Python itself can sort and hash.

Source: MongoDB manual, "Comparison/Sort Order".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from stilldb.query.order.types import regex_options
from stilldb.query.values import Missing, Undefined

OrderKey = tuple[int, Any]

# Which values compare with each other: values of different classes never are equal. The gaps are MongoDB's own.
CLASSES: Final[dict[str, int]] = {
    "minKey": -1,
    "undefined": 0,
    "null": 5,
    "number": 10,
    "string": 15,
    "object": 20,
    "array": 25,
    "binData": 30,
    "objectId": 35,
    "bool": 40,
    "date": 45,
    "timestamp": 47,
    "regex": 50,
    "javascript": 60,
    "javascriptWithScope": 65,
    "maxKey": 127,
}


class _NotANumber:
    """NaN as the smallest number: below every number, equal to itself."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return other is not self

    def __gt__(self, other: object) -> bool:
        return False

    def __le__(self, other: object) -> bool:
        return True

    def __ge__(self, other: object) -> bool:
        return other is self

    def __repr__(self) -> str:
        return "NaN"


NAN: Final = _NotANumber()
_NUMBER: Final = CLASSES["number"]
_STRING: Final = CLASSES["string"]


def _float_key(value: float) -> OrderKey:
    return (_NUMBER, value if value == value else NAN)


def _decimal_key(value: Decimal128) -> OrderKey:
    exact = value.to_decimal()
    return (_NUMBER, NAN if exact.is_nan() else exact)


def _object_key(value: dict[str, Any]) -> OrderKey:
    # An object's fields compare by type first, then by name, then by value.
    made = []
    for name, item in value.items():
        kind, key = _MAKERS[type(item)](item)
        made.append((kind, name, key))
    return (CLASSES["object"], tuple(made))


def _array_key(value: list[Any]) -> OrderKey:
    return (CLASSES["array"], tuple([_MAKERS[type(item)](item) for item in value]))


def _binary_key(value: bytes) -> OrderKey:
    subtype = value.subtype if isinstance(value, Binary) else 0
    return (CLASSES["binData"], (len(value), subtype, bytes(value)))


def _code_key(value: Code) -> OrderKey:
    if value.scope is None:
        return (CLASSES["javascript"], str(value))
    return (CLASSES["javascriptWithScope"], (str(value), _object_key(dict(value.scope))))


class _Makers(dict[type, Callable[[Any], OrderKey]]):
    """The key function of each type; a subclass is found once and then remembered."""

    def __missing__(self, kind: type) -> Callable[[Any], OrderKey]:
        for base in kind.__mro__:
            if base in self:
                made = self[base]
                self[kind] = made
                return made
        raise TypeError(f"{kind.__name__} is no BSON type")


_MAKERS: Final = _Makers(
    {
        type(None): lambda value: (5, None),
        Missing: lambda value: (0, 0),
        Undefined: lambda value: (0, 0),
        bool: lambda value: (40, value),
        int: lambda value: (_NUMBER, value),
        Int64: lambda value: (_NUMBER, int(value)),
        float: _float_key,
        Decimal128: _decimal_key,
        str: lambda value: (_STRING, value),
        dict: _object_key,
        list: _array_key,
        bytes: _binary_key,
        Binary: _binary_key,
        ObjectId: lambda value: (35, value.binary),
        DatetimeMS: lambda value: (45, int(value)),
        Timestamp: lambda value: (47, (value.time, value.inc)),
        Regex: lambda value: (50, (_text(value.pattern), regex_options(value))),
        DBRef: lambda value: _object_key(value.as_doc()),
        Code: _code_key,
        MinKey: lambda value: (-1, 0),
        MaxKey: lambda value: (127, 0),
    }
)


def _text(pattern: str | bytes) -> str:
    return pattern.decode("utf-8", "replace") if isinstance(pattern, bytes) else pattern


def order_key(value: Any) -> OrderKey:
    """``(class, key)``: Python's order and equality of these tuples are BSON's; they can be hashed too."""
    return _MAKERS[type(value)](value)


_DIRECT: Final = frozenset({str, int, Int64, bool})


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1 by BSON order. MISSING is below null; NaN is the smallest number."""
    kind = type(left)
    if kind is type(right) and kind in _DIRECT:
        return int(left > right) - int(left < right)
    first, second = _MAKERS[kind](left), _MAKERS[type(right)](right)
    if first == second:
        return 0
    return -1 if first < second else 1


def hash_key(value: Any) -> Any:
    """A key for dicts and sets: two keys are equal exactly where ``compare`` says 0."""
    kind = type(value)
    return value if kind is str or kind is ObjectId else _MAKERS[kind](value)
