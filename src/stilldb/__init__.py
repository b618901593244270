"""StillDB: an open, self-hosted Amazon DocumentDB with instant, proven cluster snapshots."""

__version__ = "0.1.0"
