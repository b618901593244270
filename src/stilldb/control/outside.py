"""What a request asks of volumes and keys while its caller waits: a trouble there is a fault that says so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from stilldb.domain.faults import ServiceUnavailable
from stilldb.domain.volumes import VolumeError


@contextlib.contextmanager
def asked(what: str) -> Iterator[None]:
    """Tell a VolumeError as the fault ServiceUnavailable; ``what`` is asked, in the words of the message."""
    try:
        yield
    except VolumeError as error:
        raise ServiceUnavailable(f"{what} can't be asked now: {error}. Try again later.") from error
