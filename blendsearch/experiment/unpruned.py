"""The unpruned network: trained, or taken as it is, and its allocation measured; each once, whatever was stopped."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from blendsearch.allocation import Allocation
from blendsearch.data.batches import Relabelled
from blendsearch.errors import WeightsError
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.latency import price_structure
from blendsearch.models.weights import misfits, shapes_of
from blendsearch.results.reading import taken_from
from blendsearch.results.records.common import TrainedRecord
from blendsearch.results.records.retraining import CorrectImages, TestRecord
from blendsearch.results.run_folder import Checkpoint
from blendsearch.schedules import SCHEDULES, TrainingJob, TrainingSchedule
from blendsearch.training.evaluation import predict, score_images
from blendsearch.training.loop import History, train
from blendsearch.validation.space import make

# The files keep the names that earlier versions gave them: their folders go on to be read.
RECORD = "records/baseline.json"
WEIGHTS = "baseline.safetensors"
LABELS = "predicted_labels.safetensors"
RELABELLED = ("calibration", "search", "train")


def train_unpruned(experiment: Experiment) -> TrainedRecord:
    """Train (or adapt) the network in place, or read what a stopped run trained; return its record.

    A training schedule of the space trains it in its way. The test split is not read here, see `read_test_accuracy`.
    With data.labels "predicted" the experiment's other splits have its predictions for labels from then on.
    """
    folder, network = experiment.folder, experiment.network
    checkpoint = folder.checkpoint("baseline")
    if folder.has(RECORD):
        checkpoint.remove()  # left by a run that was killed just then
        return read_unpruned(experiment)
    price_structure(experiment)  # an impossible budget shows before hours of training
    start = time.perf_counter()
    history = _train(experiment, checkpoint)
    use_predicted_labels(experiment)
    network = experiment.compute.place(network)
    accuracy = float(score_images(network, experiment.splits.search, experiment.compute).mean())
    structure = experiment.structure
    record = TrainedRecord(
        seconds=round(time.perf_counter() - start, 3),
        steps=history.steps,
        search_accuracy=accuracy,
        flops=structure.cost.flops(structure.widths),
        params=sum(parameter.numel() for parameter in network.parameters()),
    )
    network.cpu()
    folder.write_tensors(WEIGHTS, network.state_dict())
    folder.write_record(RECORD, record)
    folder.event("baseline", **record.model_dump(exclude_none=True))
    checkpoint.remove()
    return record


def read_unpruned(experiment: Experiment) -> TrainedRecord:
    """Take up the network that lies in the experiment's folder and return its record.

    Raises WeightsError where its weights do not fit.
    """
    price_structure(experiment)
    folder, network = experiment.folder, experiment.network
    record, tensors = folder.read_record(RECORD, TrainedRecord), folder.read_tensors(WEIGHTS)
    faults = misfits(shapes_of(network.state_dict()), shapes_of(tensors))
    if faults:
        raise WeightsError(f"{folder / WEIGHTS}: does not fit the {type(network).__name__}: {faults}")
    network.load_state_dict(tensors)
    use_predicted_labels(experiment)
    return record


def use_predicted_labels(experiment: Experiment) -> None:
    """Where data.labels is "predicted", give all images but the test's the labels that the network predicts.

    They are kept in the folder: a resumed run, on whatever device, goes on with the same ones.
    """
    if experiment.space.data.labels == "given":
        return
    folder, splits = experiment.folder, experiment.splits
    if not folder.has(LABELS):
        network, compute = experiment.compute.place(experiment.network), experiment.compute
        parts = {name: getattr(splits, name) for name in RELABELLED}
        found = {name: predict(network, part.batches(500), compute) for name, part in parts.items() if len(part)}
        folder.write_tensors(LABELS, found)
    labels = folder.read_tensors(LABELS)
    with taken_from(folder / LABELS):
        relabelled: dict[str, Any] = {name: Relabelled(getattr(splits, name), own) for name, own in labels.items()}
        experiment.splits = replace(splits, **relabelled)
    vars(experiment).pop("search_parts", None)  # made of the search images with their labels before


def _train(experiment: Experiment, checkpoint: Checkpoint) -> History:
    space, splits = experiment.space, experiment.splits
    schedule = make(SCHEDULES, space.schedule)
    if isinstance(schedule, TrainingSchedule):
        job = TrainingJob(
            structure=experiment.structure,
            train=splits.train,
            calibration=splits.calibration,
            training=space.training,
            seed=experiment.seed("training"),
            compute=experiment.compute,
            progress=experiment.progress,
            checkpoint=checkpoint,
        )
        return schedule.train(experiment.network, job)
    if space.training.epochs == 0:
        return History()
    return train(
        experiment.network,
        splits.train,
        space.training,
        seed=experiment.seed("training"),
        compute=experiment.compute,
        progress=experiment.progress,
        task="training",
        checkpoint=checkpoint,
        validation=splits.search if space.training.early_stop else None,
    )


def read_test(experiment: Experiment) -> TestRecord:
    """Return what the unpruned network gets right on the test split, which is read for it once."""

    def measure() -> TestRecord:
        network = experiment.compute.place(experiment.network)
        scores = score_images(network, experiment.splits.test, experiment.compute)
        return TestRecord(accuracy=float(scores.mean()), correct=CorrectImages.of(scores.numpy()))

    return experiment.folder.cached("records/test.json", TestRecord, measure)


def read_test_accuracy(experiment: Experiment) -> float:
    """Return the unpruned network's test accuracy in [0, 1], read from the test split once."""
    return read_test(experiment).accuracy


def prepare_allocation(experiment: Experiment) -> Allocation:
    """Let the allocation measure what it needs on the trained network, or read what a stopped run measured."""
    folder, name = experiment.folder, "records/allocation.json"
    if folder.has(name):
        with taken_from(folder / name):
            experiment.allocation.load_state_dict(folder.read_json(name))
        return experiment.allocation
    measure_allocation(experiment, experiment.allocation)
    folder.write_json(name, experiment.allocation.state_dict())
    return experiment.allocation


def measure_allocation(experiment: Experiment, allocation: Allocation) -> None:
    """Let an allocation measure what it needs on the trained network."""
    allocation.prepare(
        experiment.network,
        experiment.structure,
        experiment.splits.search,
        compute=experiment.compute,
        seed=experiment.seed("allocation"),
        progress=experiment.progress,
    )
