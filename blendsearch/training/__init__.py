"""The training loop, evaluation, and closed-form compensation."""

from blendsearch.training.compensation import Compensation
from blendsearch.training.evaluation import Evaluation, evaluate, recalibrate
from blendsearch.training.loop import CheckpointStore, History, train

__all__ = ["CheckpointStore", "Compensation", "Evaluation", "History", "evaluate", "recalibrate", "train"]
