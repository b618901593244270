"""What a peer can do wrong on the wire. Each ends that connection, and no other."""

from __future__ import annotations


class ProtocolError(Exception):
    """The bytes are not MongoDB's wire protocol, or break one of its limits."""
