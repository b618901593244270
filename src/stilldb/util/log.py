"""One line an event on standard error: time, level, logger, message, then key=value pairs.

Standard logging, so that uvicorn, asyncpg and our own code share one stream and the gateway stays small.
Secrets are never passed to a logger.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = f"{stamp}.{int(record.msecs):03d}Z {record.levelname:<7} {record.name}: {record.getMessage()}"
        line = line.replace("\n", "\\n").replace("\r", "\\r")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(level: str = "INFO") -> None:
    """Send every logger of this process to standard error in the project's format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("asyncio", "alembic", "uvicorn.error"):
        logging.getLogger(chatty).setLevel("WARNING")


def event(message: str, **fields: Any) -> str:
    """Format ``message`` with ``fields`` as key=value, for a log line: ``log.info(event("started", pid=1))``."""
    return " ".join([message, *(f"{key}={value}" for key, value in fields.items())])
