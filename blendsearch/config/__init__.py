"""The space file: what a campaign is, read strictly, with every mistake of a file told at once."""

from __future__ import annotations

from blendsearch.config.models import (
    AugmentationConfig,
    BlendConfig,
    BudgetConfig,
    ClustersConfig,
    ComputeConfig,
    DataConfig,
    DistillationConfig,
    EarlyStopConfig,
    FinalsConfig,
    LimitConfig,
    ModelConfig,
    Named,
    RetrainingConfig,
    SearchConfig,
    Space,
    StructureConfig,
    TrainingConfig,
)
from blendsearch.config.reading import load_space, space_from_dict
from blendsearch.config.yaml_text import KeyPath

__all__ = [
    "AugmentationConfig",
    "BlendConfig",
    "BudgetConfig",
    "ClustersConfig",
    "ComputeConfig",
    "DataConfig",
    "DistillationConfig",
    "EarlyStopConfig",
    "FinalsConfig",
    "KeyPath",
    "LimitConfig",
    "ModelConfig",
    "Named",
    "RetrainingConfig",
    "SearchConfig",
    "Space",
    "StructureConfig",
    "TrainingConfig",
    "load_space",
    "space_from_dict",
]
