"""Values for the service model's shapes, made from the shapes themselves: what botocore sends and gets back."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

MOMENT = datetime.datetime(2026, 3, 1, 12, 30, 15, 123000, tzinfo=datetime.UTC)
_PLAIN: dict[str, Callable[[str], Any]] = {
    "string": lambda name: f"{name} <&> é 日本",
    "integer": lambda name: 42,
    "long": lambda name: 1 << 40,
    "float": lambda name: 0.5,
    "double": lambda name: 2.5,
    "boolean": lambda name: True,
    "timestamp": lambda name: MOMENT,
}


def full(shape: Any) -> Any:
    """A value with every member, and two items in every list."""
    if shape.type_name == "structure":
        return {name: full(member) for name, member in shape.members.items()}
    if shape.type_name == "list":
        return [full(shape.member), full(shape.member)]
    return _PLAIN[shape.type_name](shape.name)


# What XML 1.0 can carry; a carriage return comes back as itself only because it is escaped.
_TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿"),
        st.sampled_from("\t\n\r <>&\"'"),
    ),
    max_size=20,
)
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": _TEXT,
    "integer": st.integers(-(1 << 31), (1 << 31) - 1),
    "long": st.integers(-(10**17), 10**17),
    "float": st.integers(-(10**6), 10**6).map(lambda n: n / 2),
    "double": st.integers(-(10**6), 10**6).map(lambda n: n / 2),
    "boolean": st.booleans(),
    "timestamp": st.datetimes(
        datetime.datetime(1990, 1, 1), datetime.datetime(2100, 1, 1), timezones=st.just(datetime.UTC)
    ).map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)),
}


def some(shape: Any) -> st.SearchStrategy[Any]:
    """Values with the required members and any of the others; a structure with no member at all is not sent inside."""
    if shape.type_name == "structure":
        required = {name: _inside(shape.members[name]) for name in shape.required_members}
        optional = {name: _inside(shape.members[name]) for name in shape.members if name not in required}
        return st.fixed_dictionaries(required, optional=optional)
    if shape.type_name == "list":
        return st.lists(_inside(shape.member), max_size=3)
    return _SCALARS[shape.type_name]


def _inside(shape: Any) -> st.SearchStrategy[Any]:
    return some(shape).filter(bool) if shape.type_name == "structure" else some(shape)
