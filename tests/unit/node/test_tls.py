"""The deployment's certificates: clients that have the bundle accept an instance's, and nobody else does."""

from __future__ import annotations

import datetime
import pathlib
import socket
import ssl
import threading

import pytest

from stilldb.node.tls import Authority

ADDRESSES = ["127.0.0.1", "127.70.0.2"]


def handshake(chain: str, key: str, trusted: pathlib.Path, name: str) -> None:
    """One TLS connection over a socket pair; raises what the client would."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    client = ssl.create_default_context(cafile=str(trusted))
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as connection:
                connection.recv(1)
        except OSError:
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=name) as connection:
            connection.send(b"x")
    finally:
        near.close()
        thread.join()


def test_clients_with_the_bundle_accept_every_address_of_the_instance(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path / "tls")
    chain, key = authority.certificate("db-A", ADDRESSES)
    for name in (*ADDRESSES, "localhost"):
        handshake(chain, key, authority.bundle, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(chain, key, authority.bundle, "127.70.0.3")
    other = Authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(chain, key, other.bundle, "127.0.0.1")


def test_a_certificate_is_kept_until_it_no_longer_fits(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path / "tls")
    assert authority.valid_till("db-A") is None
    chain, _ = authority.certificate("db-A", ADDRESSES)
    first = pathlib.Path(chain).read_bytes()
    again = Authority(tmp_path / "tls")  # the next start reads the same authority
    again.certificate("db-A", ADDRESSES)
    assert pathlib.Path(chain).read_bytes() == first
    again.certificate("db-A", ["127.70.0.9"])
    assert pathlib.Path(chain).read_bytes() != first
    ends = again.valid_till("db-A")
    assert ends is not None
    assert (
        datetime.timedelta(days=364)
        < ends - datetime.datetime.now(datetime.UTC)
        < datetime.timedelta(days=366)
    )


def test_keys_are_for_their_owner_alone(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path / "tls")
    authority.certificate("db-A", ADDRESSES)
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "tls").glob("*.key"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_of_a_forgotten_instance(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path / "tls")
    authority.certificate("db-A", ADDRESSES)
    authority.certificate("db-B", ADDRESSES)
    authority.forget("db-A")
    authority.forget("db-A")
    assert {path.name for path in (tmp_path / "tls").glob("db-*")} == {"db-B.pem", "db-B.key"}
