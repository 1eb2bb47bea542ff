"""What every job stands on: a space brought to life in its run folder, and the steps that jobs share."""

from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.open_run import check_before_work, open_run

__all__ = ["Experiment", "check_before_work", "open_run"]
