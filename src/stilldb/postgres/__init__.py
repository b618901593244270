"""One PostgreSQL server and its files: programs, templates, configuration, control file, start and stop."""

from stilldb.postgres.programs import Programs
from stilldb.postgres.server import UNREACHABLE, Server

__all__ = ["UNREACHABLE", "Programs", "Server"]
