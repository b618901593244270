"""Loopback addresses for endpoints: each instance has one of its own, so that all can have the same port, as on AWS."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection

from stilldb.domain.volumes import VolumeError

_TRIES = 64
_chance = random.SystemRandom()


def free_loopback_address(port: int, taken: Collection[str]) -> str:
    """A random address of 127.64.0.0 to 127.254.255.255, none of ``taken``, on which the port can be bound now."""
    for _ in range(_TRIES):
        address = f"127.{_chance.randint(64, 254)}.{_chance.randint(0, 255)}.{_chance.randint(1, 254)}"
        if address not in taken and _can_bind(address, port):
            return address
    raise VolumeError(f"no free loopback address for port {port} was found in {_TRIES} tries")


def _can_bind(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise VolumeError(
                    f"{address} can't be used: this system has only 127.0.0.1 on its loopback interface. StillDB needs the "
                    "whole of 127.0.0.0/8, as Linux has it."
                ) from error
            return False
    return True
