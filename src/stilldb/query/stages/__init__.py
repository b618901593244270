"""The stages of aggregation pipelines; importing this registers them all."""

from __future__ import annotations

from stilldb.query.stages import ends, group, lookup, select, shape
from stilldb.query.stages.assemble import compile_stages, run_stages
from stilldb.query.stages.core import STAGES, Environment, NoCollections, Stage, StageContext
from stilldb.query.stages.ends import Target, target_of

__all__ = [
    "STAGES",
    "Environment",
    "NoCollections",
    "Stage",
    "StageContext",
    "Target",
    "compile_stages",
    "run_stages",
    "target_of",
]

# Imported for the stages they register.
_THEMES = (ends, group, lookup, select, shape)
