"""``python -m stilldb.gateway --endpoint FILE``: the gateway of one DB instance."""

from __future__ import annotations

import argparse
import logging
import pathlib
import sys

from stilldb.endpoint import GatewayEndpoint
from stilldb.gateway import process
from stilldb.util import log
from stilldb.util.log import event


def main() -> int:
    """Read the endpoint, serve it; 1 when it can't be served."""
    parser = argparse.ArgumentParser(prog="python -m stilldb.gateway", description=main.__doc__)
    parser.add_argument("--endpoint", type=pathlib.Path, required=True, help="JSON file of the endpoint")
    parser.add_argument("--log-level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")
    options = parser.parse_args()
    log.configure(options.log_level)
    try:
        endpoint = GatewayEndpoint.from_json(options.endpoint.read_text())
        process.run(endpoint)
    except (OSError, ValueError, KeyError, TypeError) as error:
        logging.getLogger("stilldb.gateway").critical(
            event("can't serve", endpoint=options.endpoint, reason=f"{type(error).__name__}: {error}"),
            exc_info=None if isinstance(error, OSError) else error,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
