"""How the network of a run is built and what it takes, so that it can be built again without the data."""

from __future__ import annotations

from blendsearch.experiment.experiment import Experiment
from blendsearch.results.records.shipping import NetworkRecord

MODEL = "model.json"
"""The record's file in a run folder; folders of earlier versions have none."""


def describe_network(experiment: Experiment) -> NetworkRecord:
    """Return how the network of an experiment is built, and what images it takes."""
    splits, section = experiment.splits, experiment.space.model
    return NetworkRecord(
        name="" if experiment.given else section.name,
        arguments=section.arguments,
        classes=splits.classes,
        shape=splits.shape,
        mean=splits.mean,
        std=splits.std,
    )
