"""One PostgreSQL server and its files: programs, start, stop, configuration, control connection."""
