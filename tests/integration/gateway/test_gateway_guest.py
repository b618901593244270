"""An endpoint's guest: a user that it alone knows, beside the users of the data."""

from __future__ import annotations

import pathlib

import pymongo.errors
import pytest

from stilldb.endpoint import GatewayEndpoint, MasterUser, ScramVerifier
from stilldb.util import scram
from support.gateway import PASSWORD, endpoint, gateway

GUEST = MasterUser(
    name="guest",
    version=1,
    verifiers=tuple(ScramVerifier(**verifier) for verifier in scram.verifiers("guest", "let me in")),
)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_a_guest_gets_in_where_nothing_is_written(tmp_path: pathlib.Path, mechanism: str) -> None:
    with gateway(tmp_path, guest=GUEST, writer=False) as running:
        with running.client(username="guest", password="let me in", authMechanism=mechanism) as client:
            assert client.test.things.find_one() is None
            with pytest.raises(pymongo.errors.NotPrimaryError):
                client.test.things.insert_one({"_id": 1})
        with (
            running.client(username="guest", password=PASSWORD) as client,
            pytest.raises(pymongo.errors.OperationFailure, match="Authentication failed"),
        ):
            client.test.things.find_one()


def test_the_users_of_the_data_get_in_too(tmp_path: pathlib.Path) -> None:
    with gateway(tmp_path, guest=GUEST) as running, running.client() as client:
        assert client.test.things.find_one() is None


def test_an_endpoint_with_a_guest_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    for made in (endpoint(tmp_path, guest=GUEST), endpoint(tmp_path)):
        assert GatewayEndpoint.from_json(made.to_json()) == made
