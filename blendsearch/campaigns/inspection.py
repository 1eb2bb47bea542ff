"""A space or a board tried out before any work: all that a campaign would refuse, and about what it will cost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blendsearch.allocation import Limits
from blendsearch.campaigns.foresight.forecast import Forecast, forecast_retrainings, forecast_search
from blendsearch.campaigns.foresight.notes import notes_before_search
from blendsearch.config import Board, DataConfig, Space
from blendsearch.criteria import applicable
from blendsearch.data.class_folders import image_files
from blendsearch.data.decoding import read_head
from blendsearch.errors import BlendsearchError, ConfigError, DataError, WeightsError
from blendsearch.evolution.engines.connecting import describe_place
from blendsearch.experiment import Experiment, check_before_work
from blendsearch.experiment.open_run import notes_on_precision
from blendsearch.experiment.scoring import known_before_training, wanted_criteria
from blendsearch.models.weights import read_state_dict
from blendsearch.progress import Progress, silent
from blendsearch.results.words import about_seconds
from blendsearch.validation.board import read_blends
from blendsearch.validation.space import make_budget

LOOKED_AT = 2000
"""Image files of a tree whose heads are read: their sizes, and whether they are images at all."""


@dataclass(frozen=True)
class Inspection:
    """What a look at a space or a board came to.

    sentence: that all is well, with sizes, time and memory. counted: a line for each kind of work. notes: what speaks
    against it all the same.
    """

    sentence: str
    counted: list[str]
    notes: list[str]


def inspect(settings: Space | Board, progress: Progress = silent) -> Inspection:
    """Look for all that a campaign would refuse before its work, and estimate what it costs; nothing is written.

    Images of class folders are counted, and only some of them decoded. Raises BlendsearchError for what is amiss.
    """
    return _inspect_board(settings, progress) if isinstance(settings, Board) else _inspect_space(settings, progress)


def _inspect_space(space: Space, progress: Progress) -> Inspection:
    if _is_to_be_downloaded(space.data):
        return Inspection(_not_there_yet(space.data), [], [])
    experiment = _checked(space, progress)
    forecast = forecast_search(experiment)
    return Inspection(
        _sentence(experiment, [forecast]),
        [*_place(space), *_lines(forecast)],
        [*notes_on_precision(experiment.compute), *notes_before_search(experiment, forecast.costs)],
    )


def _inspect_board(board: Board, progress: Progress) -> Inspection:
    blends = read_blends(board)
    experiments, forecasts, lines = [], [], []
    for config in board.networks:
        if _is_to_be_downloaded(config.data):
            return Inspection(_not_there_yet(config.data), [], [])
        try:
            experiment = _checked(board.space(config), progress)
            for section in board.budgets:
                if "latency" not in section.all_ratios:
                    Limits.check(make_budget(section), experiment.structure)
            for blend in blends.values():
                blend.check_covers(list(experiment.structure.widths))
        except BlendsearchError as error:
            raise type(error)(f"networks: '{config.name}': {error}") from None
        forecasts.append(forecast_retrainings(experiment, _cells(board, experiment) + len(blends) * _columns(board)))
        experiments.append(experiment)
        lines += [f"{config.name}: {line}" for line in _lines(forecasts[-1])]
    return Inspection(_sentence(experiments[0], forecasts, len(experiments)), [*_place(board), *lines], [])


def _place(settings: Space | Board) -> list[str]:
    """Return a line on where the work is done, unless that is this machine as always."""
    execution = settings.execution
    if execution.engine == "local":
        return []
    if execution.workers is None and execution.address is not None:
        return [f"execution: {describe_place(execution)}, all workers that are there; times are for one"]
    return [f"execution: {describe_place(execution)}"]


def _columns(board: Board) -> int:
    return len(board.allocations) * len(board.budgets) * len(board.schedules) * board.retraining.seeds


def _cells(board: Board, experiment: Experiment) -> int:
    wanted = wanted_criteria(experiment)
    left_out = applicable(wanted, experiment.structure, known_before_training(experiment))
    return (len(wanted) - len(left_out)) * _columns(board)


def _checked(space: Space, progress: Progress) -> Experiment:
    """Return the experiment of a space in which all that can be known before work is right.

    What is wrong with the weights' file is told along with what is wrong with the data.
    """
    mistakes = []
    try:
        if space.model.weights is not None:
            read_state_dict(space.model.weights)
    except WeightsError as error:
        mistakes.append(str(error))
    try:
        data = _counted(space.data)
        experiment = Experiment(space.model_copy(update={"data": data}), progress)
        _ = experiment.splits
    except DataError as error:
        mistakes.append(str(error))
    if mistakes:
        raise ConfigError(*mistakes)
    check_before_work(experiment)
    return experiment


def _counted(data: DataConfig) -> DataConfig:
    """Return the section for images of class folders that are streamed, of which few are then decoded.

    Raises DataError for an image whose head cannot be read, and for images of different sizes without image_size.
    """
    if data.name != "folder" or data.root is None:
        return data
    sizes = _sizes(data)
    size = data.image_size
    if size is None and len(sizes) == 1:
        width, height = next(iter(sizes))
        size = width if width == height else None
    return data.model_copy(update={"image_size": size, "in_memory": size is None})


def _sizes(data: DataConfig) -> dict[tuple[int, int], str]:
    """Return the sizes (width, height) of images, each with a file that has it; of many files of some, evenly."""
    files = image_files(Path(str(data.root)).expanduser(), None if data.on_error == "stop" else [])
    step = max(1, len(files) // LOOKED_AT)
    sizes: dict[tuple[int, int], str] = {}
    for file in files[::step]:
        try:
            head = read_head(file)
            sizes.setdefault((head.width, head.height), file)
        except DataError:
            if data.on_error == "stop":
                raise
    if data.image_size is None and len(sizes) > 1:
        (first, _), (other, file) = list(sizes.items())[:2]
        raise DataError(
            f"data.image_size: not given, but images differ in size: '{file}' is {other[0]}x{other[1]}, the first is "
            f"{first[0]}x{first[1]}"
        )
    return sizes


def _is_to_be_downloaded(data: DataConfig) -> bool:
    """Tell whether the data set is not there and the campaign would fetch it, which a look does not."""
    return data.download and data.name != "folder" and not (data.root and os.path.isdir(Path(data.root).expanduser()))


def _not_there_yet(data: DataConfig) -> str:
    return f"OK as far as can be told: the data set {data.name} is to be downloaded into '{data.root}' first"


def _sentence(experiment: Experiment, forecasts: Sequence[Forecast], networks: int = 1) -> str:
    splits = experiment.splits
    images = sum(len(part) for part in (splits.train, splits.calibration, splits.search, splits.test))
    parameters = sum(parameter.numel() for parameter in experiment.network.parameters())
    found = [f"{len(splits.classes)} classes", f"{images:,} images", _parameters(parameters)]
    if networks > 1:
        found = [f"{networks} networks"]
    seconds = sum(one.seconds for one in forecasts)
    memory = max(one.gigabytes for one in forecasts)
    device = max((one.device_gigabytes or 0.0 for one in forecasts), default=0.0)
    more = [f"{device:.1f} GB on {experiment.compute.device}"] if device else []
    return "OK: " + ", ".join([*found, f"about {about_seconds(seconds)}", f"about {memory:.1f} GB", *more])


def _parameters(count: int) -> str:
    return f"{count / 1e6:.1f} M parameters" if count >= 1e6 else f"{count / 1e3:.0f} k parameters"


def _lines(forecast: Forecast) -> list[str]:
    return [f"{one.name}: {one.counted}, about {about_seconds(one.seconds)}" for one in forecast.work]
