"""Space and board files: what a campaign is, read strictly, with every mistake of a file told at once."""

from __future__ import annotations

from blendsearch.config.board import Board, NetworkConfig
from blendsearch.config.migration import migrate_space, space_of_run
from blendsearch.config.reading import board_from_dict, is_board, load_board, load_space, space_from_dict
from blendsearch.config.schema import json_schema
from blendsearch.config.sections.budget import BOUND_FORMS, BUDGET_KINDS, BudgetConfig, read_bound
from blendsearch.config.sections.compute import ComputeConfig
from blendsearch.config.sections.criteria import BLEND_UNITS, BlendConfig, BlendFile, ClustersConfig, RatingsConfig
from blendsearch.config.sections.data import AugmentationConfig, DataConfig
from blendsearch.config.sections.execution import ExecutionConfig
from blendsearch.config.sections.jobs import AuditConfig, CurvesConfig
from blendsearch.config.sections.network import ModelConfig, StructureConfig
from blendsearch.config.sections.search import ChoiceConfig, FinalsConfig, LimitConfig, RacingConfig, SearchConfig
from blendsearch.config.sections.training import (
    CompensationConfig,
    DistillationConfig,
    EarlyStopConfig,
    ReconstructionConfig,
    RetrainingConfig,
    TrainingConfig,
)
from blendsearch.config.sections.types import Named, NamedSection
from blendsearch.config.space import Space
from blendsearch.config.yaml_text import KeyPath

__all__ = [
    "AuditConfig",
    "AugmentationConfig",
    "BLEND_UNITS",
    "BOUND_FORMS",
    "BUDGET_KINDS",
    "BlendConfig",
    "BlendFile",
    "Board",
    "BudgetConfig",
    "ClustersConfig",
    "CompensationConfig",
    "ComputeConfig",
    "CurvesConfig",
    "DataConfig",
    "DistillationConfig",
    "EarlyStopConfig",
    "ExecutionConfig",
    "ChoiceConfig",
    "FinalsConfig",
    "KeyPath",
    "LimitConfig",
    "ModelConfig",
    "Named",
    "NamedSection",
    "NetworkConfig",
    "RacingConfig",
    "RatingsConfig",
    "ReconstructionConfig",
    "RetrainingConfig",
    "SearchConfig",
    "Space",
    "StructureConfig",
    "TrainingConfig",
    "board_from_dict",
    "is_board",
    "json_schema",
    "load_board",
    "load_space",
    "migrate_space",
    "read_bound",
    "space_from_dict",
    "space_of_run",
]
