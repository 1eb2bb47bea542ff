"""How pruning and retraining take turns."""

from blendsearch.schedules import iterative, one_shot  # noqa: F401  (registration)
from blendsearch.schedules.base import SCHEDULES, Job, Outcome, Schedule, Scorer, register_schedule

__all__ = ["SCHEDULES", "Job", "Outcome", "Schedule", "Scorer", "register_schedule"]
