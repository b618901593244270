"""Handshake, authentication, compression, TLS, monitoring, replica sets: what happens around the commands."""

from __future__ import annotations

import pathlib
import ssl
import struct
import threading
from typing import Any

import bson
import pymongo
import pytest
from pymongo import errors, monitoring

from stilldb.gateway.context import Limits
from stilldb.node.tls import Authority
from stilldb.wire import messages
from stilldb.wire.compression import COMPRESSORS, decompress
from support.gateway import PASSWORD, USER, RunningGateway, gateway
from support.wire import RawClient, op_msg, op_query

MECHANISMS = ("SCRAM-SHA-1", "SCRAM-SHA-256")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_both_mechanisms(served: RunningGateway, mechanism: str) -> None:
    with served.client(authMechanism=mechanism) as client:
        assert client.test.things.insert_one({"_id": 1}).inserted_id == 1
    with (
        served.client(authMechanism=mechanism, password="wrong") as client,
        pytest.raises(errors.OperationFailure, match="Authentication failed") as caught,
    ):
        client.test.things.find_one()
    assert caught.value.code == 18
    with (
        served.client(authMechanism=mechanism, username="nobody") as client,
        pytest.raises(errors.OperationFailure, match="Authentication failed"),
    ):
        client.test.things.find_one()


def test_other_mechanisms_are_not_there(served: RunningGateway) -> None:
    with RawClient(served.port) as raw:
        reply = raw.command({"saslStart": 1, "mechanism": "PLAIN", "payload": b"x", "$db": "admin"})
        assert (reply["code"], reply["codeName"]) == (334, "MechanismUnavailable")
        reply = raw.command({"saslContinue": 1, "conversationId": 1, "payload": b"x", "$db": "admin"})
        assert reply["code"] == 17


def test_the_empty_exchange_of_older_clients(served: RunningGateway) -> None:
    with RawClient(served.port) as raw:
        assert raw.authenticate(USER, PASSWORD, skip_empty=False)["done"] is False
        assert raw.command({"find": "c", "$db": "test"})["code"] == 13
        last = raw.command({"saslContinue": 1, "conversationId": 1, "payload": b"", "$db": "admin"})
        assert last["done"] is True
        assert raw.command({"find": "c", "$db": "test"})["ok"] == 1
        assert raw.command({"logout": 1, "$db": "admin"})["ok"] == 1
        assert raw.command({"find": "c", "$db": "test"})["code"] == 13


def test_without_a_user_only_the_handshake_is_answered(served: RunningGateway) -> None:
    with served.client(username=None, password=None) as client:
        for name in ("ping", "hello", "isMaster", "buildInfo", "whatsmyuri", "connectionStatus"):
            assert client.admin.command(name)["ok"] == 1
        for command in (
            {"find": "c"},
            {"insert": "c", "documents": [{}]},
            {"dropDatabase": 1},
            {"serverStatus": 1},
        ):
            with pytest.raises(errors.OperationFailure, match="requires authentication") as caught:
                client.test.command(command)
            assert caught.value.code == 13
    assert served.documents.collections == {}


def test_cursors_belong_to_their_user(served: RunningGateway) -> None:
    with served.client() as client, RawClient(served.port) as raw:
        client.test.things.insert_many([{}, {}, {}])
        cursor = client.test.command({"find": "things", "batchSize": 1})["cursor"]
        reply = raw.command({"killCursors": "things", "cursors": [cursor["id"]], "$db": "test"})
        assert reply["code"] == 13
        assert len(served.context.cursors) == 1


def test_hello(served: RunningGateway) -> None:
    with RawClient(served.port) as raw:
        raw.send(op_query("admin.$cmd", {"isMaster": 1, "helloOk": True}, request_id=77))
        _, response_to, opcode, reply = raw.receive()
        assert (response_to, opcode) == (77, 1)
        assert reply["helloOk"] is True
        assert reply["ismaster"] is True
        hello = raw.command({"hello": 1, "saslSupportedMechs": "admin.whoever", "$db": "admin"})
    assert hello["isWritablePrimary"] is True
    assert hello["secondary"] is False
    assert hello["setName"] == "rs0"
    assert hello["hosts"] == [hello["me"]] == [hello["primary"]]
    assert (hello["minWireVersion"], hello["maxWireVersion"]) == (0, 13)
    assert hello["logicalSessionTimeoutMinutes"] == 30
    assert (hello["maxBsonObjectSize"], hello["maxMessageSizeBytes"]) == (16 * 2**20, 48_000_000)
    assert hello["saslSupportedMechs"] == list(MECHANISMS)


@pytest.mark.parametrize("version", ["3.6.0", "4.0.0", "5.0.0", "8.0.0"])
def test_todays_driver_takes_every_engine_version(tmp_path: pathlib.Path, version: str) -> None:
    with gateway(tmp_path, engine_version=version) as served, served.client() as client:
        assert client.server_info()["version"] == version
        client.test.things.insert_one({"_id": 1})


def test_legacy_messages_are_for_the_handshake_only(served: RunningGateway) -> None:
    with RawClient(served.port) as raw:
        raw.send(op_query("test.$cmd", {"find": "c"}))
        assert raw.receive()[3]["code"] == 352
        raw.send(op_query("test.things", {"isMaster": 1}))
        assert raw.receive()[3]["code"] == 352


def test_discovery_of_the_replica_set(served: RunningGateway) -> None:
    uri = f"mongodb://{USER}:{PASSWORD}@127.0.0.1:{served.port}/?replicaSet=rs0&retryWrites=false"
    with pymongo.MongoClient(uri) as client:
        client.test.things.insert_one({"_id": 1})
        assert client.primary == ("127.0.0.1", served.port)


def test_a_reader_refuses_writes(tmp_path: pathlib.Path) -> None:
    with gateway(tmp_path, writer=False, primary="127.0.0.2:27017") as served:
        served.run(served.documents.put_master_user(USER, 1, [_as_dict(v) for v in _verifiers(served)]))
        with served.client() as client:
            assert client.test.things.find_one() is None
            for command in (
                {"insert": "c", "documents": [{}]},
                {"drop": "c"},
                {"aggregate": "c", "pipeline": [{"$out": "d"}], "cursor": {}},
            ):
                with pytest.raises(errors.NotPrimaryError):
                    client.test.command(command)
            hello = client.admin.command("hello")
            assert (hello["isWritablePrimary"], hello["secondary"]) == (False, True)
            assert hello["primary"] == "127.0.0.2:27017"


def _verifiers(served: RunningGateway) -> Any:
    assert served.endpoint.master_user is not None
    return served.endpoint.master_user.verifiers


def _as_dict(verifier: Any) -> dict[str, Any]:
    return {name: getattr(verifier, name) for name in verifier.__slots__}


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_compression(served: RunningGateway, name: str) -> None:
    with served.client(compressors=name) as client:
        client.test.things.insert_many([{"_id": n, "text": "x" * 1000} for n in range(500)])
        assert len(list(client.test.things.find())) == 500


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_replies_are_compressed_as_their_requests_are(served: RunningGateway, name: str) -> None:
    with RawClient(served.port) as raw:
        assert raw.command({"hello": 1, "compression": [name], "$db": "admin"})["compression"] == [name]
        raw.send(messages.compressed(op_msg({"ping": 1, "$db": "admin"}, request_id=5), name))
        size, _, response_to, opcode = messages.HEADER.unpack(raw._exactly(16))
        assert (response_to, opcode) == (5, messages.OP_COMPRESSED)
        original, length, number = struct.unpack("<iiB", raw._exactly(9))
        assert (original, number) == (messages.OP_MSG, COMPRESSORS[name])
        assert bson.decode(decompress(name, raw._exactly(size - 25), length)[5:]) == {"ok": 1.0}


def test_compression_is_used_only_when_agreed_and_never_for_the_handshake(served: RunningGateway) -> None:
    ping = messages.compressed(op_msg({"ping": 1, "$db": "admin"}), "zlib")
    with RawClient(served.port) as raw:
        raw.send(ping)
        assert raw.closed_by_peer()
    with RawClient(served.port) as raw:
        hello = {"hello": 1, "compression": ["zlib", "nonsense"], "$db": "admin"}
        assert raw.command(hello)["compression"] == ["zlib"]
        raw.send(messages.compressed(op_msg(hello), "zlib"))
        assert raw.receive()[2] == messages.OP_MSG
        raw.send(ping)
        header = messages.HEADER.unpack(raw._exactly(16))
        assert header[3] == messages.OP_COMPRESSED
        raw._exactly(header[0] - 16)


def test_tls(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.certificate("db-A", ["127.0.0.1"])
    with gateway(tmp_path, tls_certificate=certificate, tls_key=key) as served:
        with served.client(tls=True, tlsCAFile=str(authority.bundle)) as client:
            client.test.things.insert_one({"_id": 1, "text": "x" * 3_000_000})
            assert len(client.test.things.find_one()["text"]) == 3_000_000  # type: ignore[index]
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(authority.bundle)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with RawClient(served.port) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
            old.wrap_socket(raw.socket, server_hostname="127.0.0.1")
        with RawClient(served.port) as raw:
            raw.send(op_msg({"ping": 1, "$db": "admin"}))
            assert raw.closed_by_peer()


class Heartbeats(monitoring.ServerHeartbeatListener):
    def __init__(self) -> None:
        self.awaited = threading.Event()

    def started(self, event: monitoring.ServerHeartbeatStartedEvent) -> None:
        pass

    def succeeded(self, event: monitoring.ServerHeartbeatSucceededEvent) -> None:
        if event.awaited:
            self.awaited.set()

    def failed(self, event: monitoring.ServerHeartbeatFailedEvent) -> None:
        pass


def test_drivers_watch_by_streaming(served: RunningGateway) -> None:
    heartbeats = Heartbeats()
    with served.client(heartbeatFrequencyMS=500, event_listeners=[heartbeats]) as client:
        client.admin.command("ping")
        assert heartbeats.awaited.wait(10)


def test_a_streaming_hello(served: RunningGateway) -> None:
    with RawClient(served.port) as raw:
        first = raw.command({"hello": 1, "$db": "admin"})
        asked = {
            "hello": 1,
            "topologyVersion": first["topologyVersion"],
            "maxAwaitTimeMS": 10,
            "$db": "admin",
        }
        raw.send(op_msg(asked, flags=messages.EXHAUST_ALLOWED, request_id=9))
        previous = 9
        for _ in range(3):
            request_id, response_to, _, reply = raw.receive()
            assert raw.flags == messages.MORE_TO_COME
            assert response_to == previous
            assert reply["topologyVersion"] == first["topologyVersion"]
            previous = request_id
    with RawClient(served.port) as raw:
        asked["topologyVersion"] = {"processId": bson.ObjectId(), "counter": bson.Int64(0)}
        asked["maxAwaitTimeMS"] = 60_000
        assert raw.command(asked)["ok"] == 1  # the topology it knows is an old one: no wait
        assert raw.command({"hello": 1, "maxAwaitTimeMS": 5, "$db": "admin"})["code"] == 31368


def test_shutdown_ends_watchers_at_once_and_lets_commands_finish(tmp_path: pathlib.Path) -> None:
    with (
        gateway(tmp_path, Limits(drain=10)) as served,
        served.client(serverMonitoringMode="poll") as client,
        RawClient(served.port) as watcher,
    ):
        client.admin.command("ping")
        first = watcher.command({"hello": 1, "$db": "admin"})
        watcher.send(
            op_msg(
                {
                    "hello": 1,
                    "topologyVersion": first["topologyVersion"],
                    "maxAwaitTimeMS": 60_000,
                    "$db": "admin",
                },
                flags=messages.EXHAUST_ALLOWED,
            )
        )
        let_go = served.gate("insert")
        results: list[Any] = []
        writing = threading.Thread(target=lambda: results.append(client.test.c.insert_one({"_id": 1})))
        writing.start()
        served.until(lambda: served.documents.waiting == ["insert"])
        stopping = threading.Thread(target=served.stop_server)
        stopping.start()
        assert watcher.closed_by_peer()
        let_go()
        writing.join(10)
        stopping.join(10)
        assert results[0].inserted_id == 1
