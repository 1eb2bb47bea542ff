"""How pruning and retraining take turns."""

from blendsearch.schedules import from_scratch, iterative, one_shot, progressive  # noqa: F401  (registration)
from blendsearch.schedules.base import SCHEDULES, Job, Outcome, Schedule, Scorer, register_schedule
from blendsearch.schedules.refit import Refit

__all__ = ["SCHEDULES", "Job", "Outcome", "Refit", "Schedule", "Scorer", "register_schedule"]
