"""What this machine gives an instance: ``control.ports.Host``."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence

from stilldb.node.addresses import free_loopback_address
from stilldb.node.tls import Authority
from stilldb.util import files
from stilldb.volume.layout import Layout


class LocalHost:
    """Addresses, certificates and paths below one state directory."""

    def __init__(self, layout: Layout, authority: Authority) -> None:
        self._layout = layout
        self._authority = authority
        self.run_as = layout.owner

    def free_address(self, port: int, taken: Collection[str]) -> str:
        """A loopback address on which ``port`` is free."""
        return free_loopback_address(port, taken)

    def certificate(self, instance_id: str, addresses: Sequence[str]) -> tuple[str, str]:
        """Paths of the certificate chain and the key of an instance."""
        return self._authority.certificate(instance_id, addresses)

    def certificate_valid_till(self, instance_id: str) -> datetime.datetime | None:
        """When the instance's certificate ends; None while it has none."""
        return self._authority.valid_till(instance_id)

    def health_socket(self, instance_id: str) -> str:
        """Path of the unix socket on which the instance's gateway tells how it is."""
        return str(self._layout.sockets(instance_id) / "health.sock")

    def forget(self, instance_id: str) -> None:
        """Remove the certificate, the key and the socket's directory of an instance."""
        self._authority.forget(instance_id)
        files.remove_tree(self._layout.sockets(instance_id))
