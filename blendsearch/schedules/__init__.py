"""How pruning and retraining take turns, and ways of training that prune for a while."""

from blendsearch.schedules import from_scratch, iterative, one_shot, progressive, repr  # noqa: F401  (registration)
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
from blendsearch.schedules.refit import Refit

__all__ = [
    "SCHEDULES",
    "Job",
    "Outcome",
    "Refit",
    "Schedule",
    "Scorer",
    "TrainingJob",
    "TrainingSchedule",
    "register_schedule",
]
