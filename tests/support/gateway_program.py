"""``python gateway_program.py ENDPOINT_FILE``: the real gateway process, on documents in memory."""

from __future__ import annotations

import pathlib
import sys

from stilldb.endpoint import GatewayEndpoint
from stilldb.gateway import process
from stilldb.gateway.ports import DocumentStore
from stilldb.util import log
from support.documents_twin import MemoryDocuments


async def opener() -> DocumentStore:
    return MemoryDocuments()


if __name__ == "__main__":
    log.configure()
    process.run(GatewayEndpoint.from_json(pathlib.Path(sys.argv[1]).read_text()), opener)
