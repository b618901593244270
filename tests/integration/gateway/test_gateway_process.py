"""The process: it starts fast, tells whether it is ready, gives up its privileges, and ends when it is asked to."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymongo
import pytest

from stilldb.endpoint import GatewayEndpoint
from support.gateway import PASSWORD, USER, endpoint
from support.wire import RawClient

TESTS = pathlib.Path(__file__).parents[2]
PATIENCE = 20.0
PING = {"ping": 1, "$db": "admin"}


@contextlib.contextmanager
def process(
    served: GatewayEndpoint, directory: pathlib.Path, *program: str
) -> Iterator[subprocess.Popen[bytes]]:
    file = directory / "endpoint.json"
    file.write_text(served.to_json())
    command = program or (str(TESTS / "support" / "gateway_program.py"),)
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    running = subprocess.Popen([sys.executable, *command, str(file)], env=environment, stderr=subprocess.PIPE)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it took too long")


def health(served: GatewayEndpoint) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(PATIENCE)
        asked.connect(served.health_socket)
        return dict(json.loads(asked.makefile().readline()))


def ready(served: GatewayEndpoint) -> bool:
    return bool(health(served)["ready"])


def test_it_serves_until_it_is_told_to_stop(tmp_path: pathlib.Path) -> None:
    served = endpoint(tmp_path)
    ((host, port),) = served.listen
    with process(served, tmp_path) as running:
        wait_for(lambda: ready(served))
        with pymongo.MongoClient(host, port, username=USER, password=PASSWORD, retryWrites=False) as client:
            client.test.things.insert_one({"_id": 1})
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
    assert not pathlib.Path(served.health_socket).exists()


def test_an_idle_client_does_not_delay_the_end(tmp_path: pathlib.Path) -> None:
    served = endpoint(tmp_path)
    with process(served, tmp_path) as running:
        wait_for(lambda: ready(served))
        with RawClient(served.listen[0][1]) as raw:
            assert raw.command(PING)["ok"] == 1
            running.send_signal(signal.SIGINT)
            assert raw.closed_by_peer()
        assert running.wait(PATIENCE) == 0


def test_several_addresses(tmp_path: pathlib.Path) -> None:
    served = endpoint(tmp_path)
    port = served.listen[0][1]
    served = dataclasses.replace(
        served, listen=(("127.0.0.1", port), ("127.0.0.7", port), ("127.1.2.3", port))
    )
    with process(served, tmp_path):
        wait_for(lambda: ready(served))
        for address, _ in served.listen:
            with socket.create_connection((address, port), timeout=PATIENCE):
                pass


def test_without_postgresql_it_stays_up_and_says_that_it_is_not_ready(tmp_path: pathlib.Path) -> None:
    served = endpoint(tmp_path)
    with process(served, tmp_path, "-m", "stilldb.gateway", "--endpoint") as running:
        answer = wait_for(lambda: health(served))
        assert answer["ready"] is False
        assert "does not answer" in answer["reason"] or "not reached yet" in answer["reason"]
        with RawClient(served.listen[0][1]) as raw:
            assert raw.command(PING)["ok"] == 1
            reply = raw.command(
                {
                    "saslStart": 1,
                    "mechanism": "SCRAM-SHA-256",
                    "payload": b"n,,n=u,r=abcdefgh",
                    "$db": "admin",
                }
            )
            assert (reply["code"], reply["codeName"]) == (6, "HostUnreachable")
        assert running.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
def test_as_root_it_becomes_the_user_of_the_endpoint() -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        directory.chmod(0o700)
        os.chown(directory, nobody, nobody)
        served = endpoint(directory, run_as=(nobody, nobody))
        with process(served, directory) as running:
            wait_for(lambda: ready(served))
            status = pathlib.Path(f"/proc/{running.pid}/status").read_text().splitlines()
            fields = dict(line.split(":", 1) for line in status)
            assert fields["Uid"].split() == ["65534"] * 4
            assert fields["Gid"].split() == ["65534"] * 4
            assert fields["Groups"].split() == []
            assert fields["CapEff"].strip() == "0" * 16
            assert pathlib.Path(served.health_socket).stat().st_uid == nobody


def test_an_endpoint_that_can_not_be_served_is_told(tmp_path: pathlib.Path) -> None:
    served = dataclasses.replace(endpoint(tmp_path), listen=(("203.0.113.1", 27017),))
    with process(served, tmp_path, "-m", "stilldb.gateway", "--endpoint") as running:
        _, log = running.communicate(timeout=PATIENCE)
        assert running.returncode == 1
    assert b"203.0.113.1:27017" in log
    assert b"Traceback" not in log


def test_it_takes_the_place_of_a_socket_that_a_dead_gateway_left(tmp_path: pathlib.Path) -> None:
    served = endpoint(tmp_path)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(served.health_socket)
    with process(served, tmp_path):
        wait_for(lambda: ready(served))
