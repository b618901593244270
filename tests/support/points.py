"""Failpoints whose tests do not run on the whole service (faults)."""

from __future__ import annotations

# On a file system of their own: integration/volume/test_clone.py.
ON_VOLUMES = ("clone.linked", "clone.placed")

# On a chain of base backups: integration/volume/test_restore_faults.py.
ON_CHAINS = ("restore.combined",)

# On twins: unit/control/test_backup_steps.py.
ON_TWINS = (
    "stop-cluster.servers",
    "purge-retained.forget",
    "purge-retained.purge",
)
