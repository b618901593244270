"""The server's side of SCRAM against a client written apart from it, and against clients that cheat."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.util.scram import verifier
from stilldb.wire import scram
from support.scram import client_final

MECHANISMS = ("SCRAM-SHA-1", "SCRAM-SHA-256")
USER, PASSWORD = "app,user=1", "secret password"


BARE = "n=app=2Cuser=3D1,r=clientnonce0123456789"


def begun(mechanism: str, *, known: bool = True) -> tuple[scram.Conversation, bytes]:
    kept = verifier(mechanism, USER, PASSWORD) if known else None
    conversation = scram.Conversation(mechanism, f"n,,{BARE}".encode(), kept)
    return conversation, conversation.first()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_right_password_is_taken_and_the_server_proves_itself(mechanism: str) -> None:
    conversation, first = begun(mechanism)
    assert conversation.user == USER
    assert conversation.final(client_final(mechanism, USER, first, BARE, PASSWORD)).startswith(b"v=")


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize(
    "cheat",
    [
        {"password": "another"},
        {"nonce": "clientnonce0123456789" + "A" * 32},
    ],
)
def test_cheats_fail(mechanism: str, cheat: dict[str, Any]) -> None:
    conversation, first = begun(mechanism)
    with pytest.raises(scram.AuthenticationError):
        conversation.final(client_final(mechanism, USER, first, BARE, **{"password": PASSWORD, **cheat}))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_unknown_user_looks_like_a_known_one_until_the_end(mechanism: str) -> None:
    salts = set()
    for _ in range(2):
        conversation, first = begun(mechanism, known=False)
        salts.add(first.split(b",")[1])
        with pytest.raises(scram.AuthenticationError):
            conversation.final(client_final(mechanism, USER, first, BARE, PASSWORD))
    known = begun(mechanism)[1].split(b",")
    assert len(salts) == 1
    assert len(salts.pop()) == len(known[1])
    assert first.split(b",")[2] == known[2]


@given(st.binary(max_size=80))
def test_random_payloads_raise_nothing_but_an_authentication_error(payload: bytes) -> None:
    for mechanism in MECHANISMS:
        try:
            scram.Conversation(mechanism, payload, None)
        except scram.AuthenticationError:
            pass
        with pytest.raises(scram.AuthenticationError):
            begun("SCRAM-SHA-256", known=False)[0].final(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"p=tls-unique,,n=u,r=abcdefgh",
        b"n,,n=u",
        b"n,,r=abcdefgh,n=u",
        b"n,,n=u=41,r=abcdefgh",
        b"n,,n=u,r=short",
        b"",
    ],
)
def test_first_messages_that_are_none(payload: bytes) -> None:
    with pytest.raises(scram.AuthenticationError):
        scram.user_of(payload)
