"""Failpoints whose tests run on twins (unit/control/test_backup_steps.py), not on the whole service (faults)."""

from __future__ import annotations

ON_TWINS = (
    "stop-cluster.servers",
    "purge-retained.forget",
    "purge-retained.purge",
)
