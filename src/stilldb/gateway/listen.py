"""What needs privileges, done before they are given up: the TLS key and the addresses."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time

from stilldb.endpoint import GatewayEndpoint

_BIND_WITHIN = 5.0  # seconds: the address may belong to a gateway that is just ending
_RETRY = 0.05
_KEEPALIVE_IDLE, _KEEPALIVE_EVERY, _KEEPALIVE_TIMES = 60, 10, 6  # seconds, seconds, count


def tls_context(endpoint: GatewayEndpoint) -> ssl.SSLContext | None:
    """TLS 1.2 and newer with the endpoint's certificate; None when it has none."""
    if endpoint.tls_certificate is None or endpoint.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(endpoint.tls_certificate, endpoint.tls_key)
    return context


def bind(endpoint: GatewayEndpoint) -> list[socket.socket]:
    """A bound socket for each address; raises OSError when one can't be had."""
    deadline = time.monotonic() + _BIND_WITHIN
    return [_bound(address, port, deadline) for address, port in endpoint.listen]


def _bound(address: str, port: int, deadline: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    _keep_alive(made)
    while True:
        try:
            made.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                made.close()
                raise OSError(error.errno, f"{address}:{port}: {os.strerror(error.errno or 0)}") from None
            time.sleep(_RETRY)
        else:
            return made


def _keep_alive(made: socket.socket) -> None:
    """Notice peers that are gone without a word; accepted sockets inherit it (Linux, macOS)."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", _KEEPALIVE_EVERY),
        ("TCP_KEEPCNT", _KEEPALIVE_TIMES),
    ):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def drop_privileges(endpoint: GatewayEndpoint) -> None:
    """Become the endpoint's user for good, if this is root and it names one."""
    if endpoint.run_as is None or os.geteuid() != 0:
        return
    uid, gid = endpoint.run_as
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    os.umask(0o077)
