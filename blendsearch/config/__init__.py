"""Space and board files: what a campaign is, read strictly, with every mistake of a file told at once."""

from __future__ import annotations

from blendsearch.config.board import Board, NetworkConfig
from blendsearch.config.models import (
    AugmentationConfig,
    BlendConfig,
    BlendFile,
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
from blendsearch.config.reading import board_from_dict, is_board, load_board, load_space, space_from_dict
from blendsearch.config.yaml_text import KeyPath

__all__ = [
    "AugmentationConfig",
    "BlendConfig",
    "BlendFile",
    "Board",
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
    "NetworkConfig",
    "RetrainingConfig",
    "SearchConfig",
    "Space",
    "StructureConfig",
    "TrainingConfig",
    "board_from_dict",
    "is_board",
    "load_board",
    "load_space",
    "space_from_dict",
]
