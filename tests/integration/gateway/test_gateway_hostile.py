"""Peers that do what no driver does: none of them may hurt another connection or hold what it may not."""

from __future__ import annotations

import pathlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import bson
import pymongo
import pytest
from pymongo import errors

from stilldb.gateway.context import Limits
from stilldb.query.errors import MongoError
from stilldb.wire import messages
from support.gateway import PASSWORD, USER, RunningGateway, gateway
from support.wire import RawClient, frame, op_msg

Client = pymongo.MongoClient[dict[str, Any]]
PING = {"ping": 1, "$db": "admin"}
IMPATIENT = Limits(first_message=0.4, unauthenticated_idle=0.4, sweep=0.01, drain=1)


@pytest.fixture
def impatient(tmp_path: pathlib.Path) -> Iterator[RunningGateway]:
    with gateway(tmp_path, IMPATIENT) as running:
        yield running


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40,
        b"\xff" * 64,
        b"\0" * 64,
        struct.pack("<iiii", 48_000_001, 1, 0, 2013),
        frame(b"\0\0\0\0", 2013),
        frame(b"junk junk junk", 2013),
        frame(b"junk junk junk", 2004),
        frame(b"junk junk junk", 2012),
        frame(b"junk junk junk", 2010),
        frame(b"junk junk junk", 1),
        op_msg(PING, flags=1 << 3),
        op_msg(PING, flags=messages.CHECKSUM_PRESENT),
        messages.compressed(op_msg(PING), "zlib"),
        op_msg({"insert": "c", "x": "x" * 70_000, "$db": "test"}),
    ],
)
def test_malformed_bytes_close_their_own_connection_only(
    served: RunningGateway, client: Client, data: bytes
) -> None:
    client.test.things.insert_one({"_id": 1})
    with RawClient(served.port) as hostile:
        hostile.send(data)
        assert hostile.closed_by_peer()
    assert client.test.things.find_one() == {"_id": 1}
    served.until(lambda: served.context.connections <= 3)


def test_a_body_that_is_no_bson_is_an_error_and_no_more(served: RunningGateway) -> None:
    with RawClient(served.port) as raw:
        body = bytearray(bson.encode(PING))
        body[4] = 0x77
        raw.send(frame(struct.pack("<I", 0) + b"\0" + bytes(body), 2013))
        assert raw.receive()[3]["code"] == 22
        assert raw.command({"$db": "admin"})["code"] == 59
        assert raw.command({"ping": 1})["code"] == 40571
        assert raw.command({"ping": 1, "$db": 5})["code"] == 40571
        assert raw.command({})["code"] == 59
        assert raw.command(PING)["ok"] == 1


def test_sequences_that_a_command_does_not_have(served: RunningGateway) -> None:
    with RawClient(served.port) as raw:
        raw.authenticate(USER, PASSWORD)
        raw.send(op_msg({"find": "c", "$db": "test"}, {"documents": [{}]}))
        assert raw.receive()[3]["code"] == 40415
        raw.send(op_msg({"update": "c", "updates": [], "$db": "test"}, {"updates": [{"q": {}, "u": {}}]}))
        assert raw.receive()[3]["code"] == 40413


def test_commands_sent_in_one_go_are_answered_in_order(served: RunningGateway) -> None:
    with RawClient(served.port) as raw:
        raw.send(b"".join(op_msg({**PING, "comment": n}, request_id=n) for n in range(2000)))
        assert [raw.receive()[1] for _ in range(2000)] == list(range(2000))


def test_a_peer_that_does_not_read_is_not_answered_for_ever(served: RunningGateway, client: Client) -> None:
    client.test.things.insert_many([{"text": "x" * 1_000_000} for _ in range(10)])
    with RawClient(served.port) as raw:
        raw.authenticate(USER, PASSWORD)
        before = served.context.commands
        find = op_msg({"find": "things", "$db": "test"})
        raw.send(find * 50)
        served.until(lambda: served.context.commands > before)
        assert client.test.things.find_one() is not None
        assert served.context.commands < before + 40  # the replies make 500 MB: most wait until some are read
        for _ in range(50):
            assert raw.receive()[3]["ok"] == 1


def test_connections_are_limited(tmp_path: pathlib.Path) -> None:
    with gateway(tmp_path, max_connections=3) as served:
        raws = [RawClient(served.port) for _ in range(3)]
        for raw in raws:
            assert raw.command(PING)["ok"] == 1
        with RawClient(served.port) as refused:
            assert refused.closed_by_peer()
        raws[0].socket.close()
        served.until(lambda: served.context.connections == 2)
        with RawClient(served.port) as taken:
            assert taken.command(PING)["ok"] == 1
        for raw in raws[1:]:
            raw.socket.close()


def test_a_connection_that_says_nothing_is_closed(impatient: RunningGateway) -> None:
    with RawClient(impatient.port) as silent:
        assert silent.closed_by_peer()


def test_one_without_a_user_may_not_be_idle_for_ever(impatient: RunningGateway) -> None:
    with RawClient(impatient.port) as idle:
        assert idle.command(PING)["ok"] == 1
        assert idle.closed_by_peer()


def test_a_message_in_drops_is_not_waited_for(impatient: RunningGateway) -> None:
    with RawClient(impatient.port) as slow:
        assert slow.command(PING)["ok"] == 1
        stop = threading.Event()

        def drip() -> None:
            try:
                for byte in op_msg({**PING, "comment": "x" * 1000}):
                    slow.send(bytes([byte]))
                    if stop.wait(0.01):
                        return
            except OSError:
                pass  # closed, as it should be

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert slow.closed_by_peer()
        stop.set()
        dripping.join()


def test_an_authenticated_peer_may_be_idle_but_not_stop_within_a_message(tmp_path: pathlib.Path) -> None:
    with (
        gateway(tmp_path, Limits(stalled=0.05, sweep=0.01, drain=1)) as served,
        RawClient(served.port) as idle,
        RawClient(served.port) as stalled,
    ):
        idle.authenticate(USER, PASSWORD)
        stalled.authenticate(USER, PASSWORD)
        stalled.send(op_msg(PING)[:-1])
        assert stalled.closed_by_peer()
        assert idle.command(PING)["ok"] == 1


def test_what_a_lost_client_asked_is_not_read_on(served: RunningGateway) -> None:
    served.gate("find")
    with RawClient(served.port) as raw:
        raw.authenticate(USER, PASSWORD)
        raw.send(op_msg({"find": "c", "$db": "test"}))
        served.until(lambda: served.documents.waiting == ["find"])
    served.until(lambda: served.documents.cancelled == ["find"])
    served.until(lambda: served.context.connections == 0)


def test_a_half_open_client_is_done_with(served: RunningGateway) -> None:
    with RawClient(served.port) as raw:
        raw.command(PING)
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.closed_by_peer()
    served.until(lambda: served.context.connections == 0)


def test_writes_of_a_lost_client_that_were_sent_without_waiting_are_done(served: RunningGateway) -> None:
    let_go = served.gate("insert")
    with RawClient(served.port) as raw:
        raw.authenticate(USER, PASSWORD)
        for number in range(3):
            body = {"insert": "c", "documents": [{"_id": number}], "$db": "test", "writeConcern": {"w": 0}}
            raw.send(op_msg(body, flags=messages.MORE_TO_COME))
        served.until(lambda: served.documents.waiting == ["insert"])
    let_go()
    served.until(lambda: served.context.connections == 0)
    ((_, documents),) = served.documents.collections.items()
    assert [bson.decode(raw)["_id"] for raw in documents.values()] == [0, 1, 2]


def test_a_storage_that_does_not_answer_is_told(served: RunningGateway, client: Client) -> None:
    served.documents.failing["find"] = ConnectionResetError("gone")
    served.documents.failing["insert"] = MongoError("HostUnreachable", "gone")
    with pytest.raises(errors.OperationFailure) as caught:
        client.test.things.find_one()
    assert caught.value.code == 6
    with pytest.raises(errors.OperationFailure) as caught:
        client.test.things.insert_one({})
    assert caught.value.code == 6
    served.documents.failing.clear()
    client.test.things.insert_one({})


def test_an_unexpected_error_tells_the_client_an_id_only(
    served: RunningGateway, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    served.documents.failing["find"] = KeyError("a secret of the inside")
    with pytest.raises(errors.OperationFailure) as caught:
        client.test.things.find_one()
    assert caught.value.code == 1
    assert "secret" not in str(caught.value)
    request_id = str(caught.value.details["errmsg"]).rpartition(" ")[2].rstrip(".")  # type: ignore[index]
    assert any(request_id in record.getMessage() for record in caplog.records)
