"""The training loop, evaluation, and what refits a cut network without labels."""

from blendsearch.training.compensation import Compensation
from blendsearch.training.evaluation import Evaluation, evaluate, recalibrate
from blendsearch.training.loop import CheckpointStore, History, train
from blendsearch.training.reconstruction import Reconstruction

__all__ = [
    "CheckpointStore",
    "Compensation",
    "Evaluation",
    "History",
    "Reconstruction",
    "evaluate",
    "recalibrate",
    "train",
]
