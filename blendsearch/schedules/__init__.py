"""How pruning and retraining take turns, and ways of training that prune for a while."""

from blendsearch.schedules import iterative, one_shot, repr  # noqa: F401  (registration)
from blendsearch.schedules.base import (
    SCHEDULES,
    Job,
    Outcome,
    Schedule,
    Scorer,
    TrainingJob,
    TrainingSchedule,
    register_schedule,
)

__all__ = [
    "SCHEDULES",
    "Job",
    "Outcome",
    "Schedule",
    "Scorer",
    "TrainingJob",
    "TrainingSchedule",
    "register_schedule",
]
