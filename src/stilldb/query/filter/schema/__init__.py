"""$jsonSchema; importing this registers its keywords."""

from __future__ import annotations

from stilldb.query.filter.schema import containers, joined, scalars

__all__ = ["containers", "joined", "scalars"]
