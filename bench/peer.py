"""The peer, SecantusDB's Python server: a separate program in a virtual environment of its own, never imported.

It is made on demand below the cache directory and can be removed at any time. The peer serves with TLS and
authentication, as StillDB's clusters do, on 127.0.0.1.
"""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
import venv
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from bench.measure import wait_until
from bench.service import PASSWORD, USER, Client
from stilldb.node.tls import Authority

RELEASE = "SecantusDB==0.7.0b3"


def installed(cache: pathlib.Path) -> pathlib.Path:
    """The peer's command, installed if need be."""
    cache.mkdir(exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    home = cache / "peer-venv"
    command, marker = home / "bin" / "secantusd-py", home / RELEASE
    if not marker.exists():
        venv.create(home, clear=True, with_pip=True)
        pip: list[str | pathlib.Path] = [home / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", RELEASE], check=True)
        marker.touch()
    return command


class Peer:
    """One running peer on an empty data directory."""

    def __init__(self, command: pathlib.Path, directory: pathlib.Path, *, sync_on_commit: bool) -> None:
        directory.mkdir()
        self._directory = directory
        self._command = command
        self._options = ["--sync-on-commit"] if sync_on_commit else []
        # The same kind of certificate as StillDB's own instances have: the same work for a handshake.
        authority = Authority(directory / "tls")
        self._certificate, self._key = authority.certificate("peer", ["127.0.0.1"])
        self._bundle = authority.bundle
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._make_user()
            self._start("--auth", f"--tls-cert-file={self._certificate}", f"--tls-key-file={self._key}")
            wait_until("the peer's first answer", self._answers, seconds=30, every=0.1)
        except BaseException:
            self.stop()
            raise

    def _make_user(self) -> None:
        """Users are provisioned by a run without authentication."""
        self._start()
        client: Client = MongoClient(
            "127.0.0.1", self._port, directConnection=True, serverSelectionTimeoutMS=30_000
        )
        with client:
            wait_until("the peer's start", self._is_up)
            client.admin.command("createUser", USER, pwd=PASSWORD, roles=["root"])
        self.stop()

    def _start(self, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        settings = self._directory / "empty.toml"  # named, so that no file of the user's is discovered
        settings.touch()
        command: list[str | pathlib.Path] = [
            self._command,
            f"--config={settings}",
            "--host=127.0.0.1",
            f"--port={self._port}",
            f"--storage-path={self._directory / 'data'}",
            "--log-level=WARNING",
            *self._options,
            *options,
        ]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _is_up(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the peer ended:\n{(self._directory / 'log').read_text()[-2000:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def _answers(self) -> bool:
        if not self._is_up():
            return False
        try:
            self.connect().close()
        except PyMongoError as error:
            print(f"the peer: {error}", file=sys.stderr)
            return False
        return True

    def address(self) -> dict[str, Any]:
        """The arguments of a MongoClient, the same ones as for a cluster of ours."""
        return {
            "host": "127.0.0.1",
            "port": self._port,
            "username": USER,
            "password": PASSWORD,
            "tls": True,
            "tlsCAFile": str(self._bundle),
            "directConnection": True,
            "retryWrites": False,
            "serverSelectionTimeoutMS": 10_000,
        }

    def connect(self) -> Client:
        """A client that has had its first answer."""
        client: Client = MongoClient(**self.address())
        try:
            client.admin.command("ping")
        except PyMongoError:
            client.close()
            raise
        return client

    def stop(self) -> None:
        """End the server."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
