"""The configuration of every PostgreSQL that StillDB runs: small, durable, streaming its WAL, no network.

Sources: PostgreSQL 18 documentation (server configuration) and measurements of snapshots and restores; each setting that
is not obvious says what it prevents.
"""

from __future__ import annotations

import pathlib

RECEIVER = "pg_receivewal"  # the application name under which the archive's receiver streams
SLOT = "archive"
USER = "stilldb"
DATABASE = "stilldb"
PORT = 5432  # names the unix socket's file; nothing listens on TCP

SETTINGS: dict[str, str] = {
    "listen_addresses": "''",
    "port": str(PORT),
    "max_connections": "60",
    "superuser_reserved_connections": "5",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "io_method": "sync",
    "jit": "off",
    "max_worker_processes": "4",
    "max_parallel_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
    "autovacuum_max_workers": "2",
    "autovacuum_worker_slots": "4",
    "wal_level": "replica",
    "summarize_wal": "on",  # for incremental base backups
    "archive_mode": "off",  # the archive is streamed
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "min_wal_size": "32MB",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "5min",
    # Commits wait for the local disk; only a snapshot's own transaction waits for the archive.
    "synchronous_standby_names": f"'FIRST 1 ({RECEIVER})'",
    "synchronous_commit": "local",
    # A receiver that is away must not fill the disk; a slot that is lost is an archive gap, which is noticed and mended.
    "max_slot_wal_keep_size": "10GB",
    "wal_sender_timeout": "10s",
    "wal_retrieve_retry_interval": "200ms",
    "recovery_init_sync_method": "syncfs",
    "full_page_writes": "on",
    "wal_compression": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # statements carry users' documents: never into the log
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",  # the details of a refused key are a document's values
    "log_checkpoints": "off",
    "log_line_prefix": "'%m [%p] '",
    "log_timezone": "'UTC'",
    "timezone": "'UTC'",
    "idle_in_transaction_session_timeout": "15min",
}

# Only the server's own user and root reach the socket's directory.
HBA = "local all all trust\nlocal replication all trust\n"


def render(socket_directory: pathlib.Path) -> str:
    """The text of postgresql.conf."""
    quoted = str(socket_directory).replace("'", "''")
    lines = [f"{name} = {value}" for name, value in SETTINGS.items()]
    return "\n".join([*lines, f"unix_socket_directories = '{quoted}'", "unix_socket_permissions = 0700", ""])
