"""Every command declares its parameters, and what is not declared is refused."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from bson import Int64

from stilldb.gateway import registry
from stilldb.gateway.commands import COMMANDS
from stilldb.gateway.registry import REQUIRED, STATUSES, Command, Param
from stilldb.gateway.request import Request, Session
from stilldb.query.errors import MongoError

ALL = sorted({of.name: of for of in COMMANDS.values()}.values(), key=lambda of: of.name)


@pytest.mark.parametrize("of", ALL, ids=lambda of: of.name)
def test_every_command_declares_its_parameters(of: Command) -> None:
    assert of.handler.__doc__, "a command says what it does"
    assert inspect.iscoroutinefunction(of.handler)
    for name, param in of.params.items():
        assert isinstance(param, Param)
        assert name == param.name
        assert param.status in STATUSES
        assert not name.startswith("$")
        assert param.status == "supported" or param.kinds is object, "what has no effect has no type"
        assert (param.default is REQUIRED) == (name in of.required)
    assert set(of.defaults) | set(of.required) == set(of.params)
    assert of.bulk <= set(of.params)
    assert not of.raw or of.raw.decode() in of.bulk


def test_what_needs_no_user_is_the_handshake_and_a_few_questions() -> None:
    assert {of.name for of in ALL if not of.auth} == {
        "buildInfo",
        "connectionStatus",
        "endSessions",
        "hello",
        "isMaster",
        "listCommands",
        "logout",
        "ping",
        "saslContinue",
        "saslStart",
        "whatsmyuri",
    }


def test_what_changes_data_is_for_writers() -> None:
    assert {of.name for of in ALL if of.writes} == {
        "create",
        "createIndexes",
        "delete",
        "drop",
        "dropDatabase",
        "dropIndexes",
        "findAndModify",
        "insert",
        "update",
    }


async def _nothing(request: Request, values: dict[str, Any]) -> dict[str, Any]:
    """Nothing."""
    return {}


def made(*params: Param) -> Command:
    return Command(
        name="test",
        params={param.name: param for param in params},
        required=tuple(param.name for param in params if param.default is REQUIRED),
        defaults={param.name: param.default for param in params if param.default is not REQUIRED},
        bulk=frozenset(param.name for param in params if param.bulk),
        raw=b"",
        auth=False,
        admin=False,
        writes=False,
        handler=_nothing,
    )


def validated(
    of: Command, body: dict[str, Any], sequences: dict[str, list[bytes]] | None = None
) -> dict[str, Any]:
    session = Session(1, "", None)  # type: ignore[arg-type]
    return registry.validated(of, Request(session, "test", "db", {"test": 1, **body}, sequences or {}))


def refused(
    of: Command, body: dict[str, Any], sequences: dict[str, list[bytes]] | None = None
) -> tuple[int, str]:
    with pytest.raises(MongoError) as caught:
        validated(of, body, sequences)
    return caught.value.code, caught.value.message


def test_defaults_and_whole_numbers() -> None:
    of = made(Param("a", int), Param("b", bool, True), Param("c", dict))
    assert validated(of, {}) == {"a": None, "b": True, "c": None}
    assert validated(of, {"a": 5.0, "b": 0, "c": {}}) == {"a": 5, "b": False, "c": {}}
    assert validated(of, {"a": Int64(5), "b": 1.0, "c": None}) == {"a": 5, "b": True, "c": None}


@pytest.mark.parametrize(
    ("value", "given"),
    [("1", "string"), (1.5, "double"), (True, "bool"), ([], "array"), ({}, "object"), (b"", "binData")],
)
def test_wrong_types_are_named(value: Any, given: str) -> None:
    code, message = refused(made(Param("a", int)), {"a": value})
    assert code == 14
    assert message == f"BSON field 'test.a' is the wrong type '{given}', expected type 'int'"


def test_required_unknown_and_duplicate_fields() -> None:
    of = made(Param("a", int, REQUIRED), Param("docs", list, bulk=True))
    assert refused(of, {})[0] == 40414
    assert refused(of, {"a": None})[0] in (14, 40414)
    assert refused(of, {"a": 1, "b": 1}) == (40415, "BSON field 'test.b' is an unknown field.")
    assert refused(of, {"a": 1}, {"b": []})[0] == 40415
    assert refused(of, {"a": 1, "docs": []}, {"docs": []})[0] == 40413
    assert validated(of, {"a": 1}, {"docs": [b""]})["docs"] == [b""]


@pytest.mark.parametrize("value", [1, True, {"a": 1}, [1], "x", 0.5])
def test_unimplemented_parameters_are_refused_when_they_ask_for_something(value: Any) -> None:
    of = made(*registry.unimplemented("a"))
    assert refused(of, {"a": value}) == (303, "Feature not supported: 'test.a'")
    for nothing in (None, False, {}, [], 0):
        validated(of, {"a": nothing})


def test_what_every_command_takes() -> None:
    body = {
        "$db": "d",
        "lsid": {},
        "$clusterTime": {},
        "$readPreference": {},
        "writeConcern": {"w": 1},
        "comment": 1,
    }
    assert (
        validated(made(), {**body, "maxTimeMS": 1, "apiVersion": "1", "readConcern": {"level": "local"}})
        == {}
    )


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"txnNumber": 1}, 9, "Unrecognized field: 'txnNumber'"),
        ({"stmtId": 1}, 9, "Unrecognized field: 'stmtId'"),
        ({"txnNumber": 1, "startTransaction": True, "autocommit": False}, 303, "transactions"),
        ({"autocommit": False}, 303, "transactions"),
        ({"readConcern": {"afterClusterTime": 1}}, 303, "Feature not supported: 'causal consistency'"),
        ({"readConcern": {"level": "linearizable"}}, 303, "linearizable"),
        ({"readConcern": {"level": "snapshot"}}, 303, "snapshot"),
        ({"readConcern": 1}, 14, "readConcern"),
    ],
)
def test_what_documentdb_does_not_have(body: dict[str, Any], code: int, words: str) -> None:
    found, message = refused(made(), body)
    assert found == code
    assert words in message


def test_unknown_commands() -> None:
    with pytest.raises(MongoError) as caught:
        registry.find("getLastError")
    assert (caught.value.code, caught.value.message) == (59, "no such command: 'getLastError'")
