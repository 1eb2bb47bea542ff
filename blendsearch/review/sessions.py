"""Opening a review: of a space's network, of the progressive loop, or of what a finished campaign chose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blendsearch.blending import AdaptedBlend, Blend, Scores, adapt_blend
from blendsearch.compute import child_seed
from blendsearch.config import Space
from blendsearch.criteria import applicable, measures_of, names, score_groups
from blendsearch.errors import ConfigError, RunError
from blendsearch.experiment.experiment import (
    Experiment,
    data_name,
    prepare_allocation,
    score_criteria,
    train_unpruned,
)
from blendsearch.progress import Progress, silent
from blendsearch.results.run_folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.review.decision import Choice
from blendsearch.review.inspector import Desk
from blendsearch.review.marks import Book
from blendsearch.review.progressive import Loop
from blendsearch.review.review import Estimator, Review
from blendsearch.review.sample_images import Gallery
from blendsearch.schedules.stages import Place
from blendsearch.statistics import gather
from blendsearch.structure import Plan
from blendsearch.validation.space import checked_from_dict

JOB, LOOP_JOB = "review", "review --progressive"
NAMES = {JOB: "review", LOOP_JOB: "review-progressive"}
"""How the folders of a job are called by default, after the space's name."""
SHARED = ("search", "score", "train")
"""Jobs in whose finished folders a review may stand: all train the space's network and keep it."""
LONGEST_NAME = 60


@dataclass(frozen=True)
class Wishes:
    """What the command line says of a review. layer: the group to begin with. by: path of a blend to rank by too."""

    rater: str = "rater"
    layer: str | None = None
    by: str | None = None
    run_dir: Path | None = None
    resume: bool = False


@contextlib.contextmanager
def opened_review(space: Space, wishes: Wishes, progress: Progress = silent) -> Iterator[Review]:
    """Train and score a space's network, or read both from the run folder, and open it for marks.

    Marks lie in ratings.json of the folder, which other processes cannot work in meanwhile. A blend of another
    network is fitted to this one, as `prune --by` does. A wrong wish leaves no folder behind.
    """
    _check_name(wishes.rater)
    given, experiment = Blend.load(wishes.by) if wishes.by else None, _workbench(space, progress)
    first = _number(experiment, wishes.layer)
    wanted = adapt_blend(given, experiment.structure) if given is not None else None
    with _opened_folder(experiment, wishes, JOB) as folder:
        train_unpruned(experiment, folder)
        scores, _ = score_criteria(experiment, folder)
        fitted = wanted if wanted is not None else _found_blend(experiment, folder)
        blend, rule = (fitted.blend, fitted.rule) if fitted is not None else (None, "")
        book = Book(folder, experiment.structure, wishes.rater)
        desk = Desk(
            experiment.network,
            experiment.structure,
            scores,
            _gallery(experiment),
            experiment.compute,
            blend=blend,
            progress=progress,
        )
        yield Review(
            space.name, data_name(experiment), experiment.structure, desk, book, estimator=Estimator(experiment), first=first,
            rule=rule,
        )  # fmt: skip


@contextlib.contextmanager
def opened_loop(space: Space, wishes: Wishes, progress: Progress = silent) -> Iterator[Review]:
    """Open the progressive loop: marks, pruning and training by turns, from the first layer to the last.

    A stopped one goes on where it was. Raises ConfigError when the space's schedule is not `progressive`, and for
    wishes that the loop cannot grant: it begins with the first layer, and shows no blend.
    """
    _check_name(wishes.rater)
    _check_loop_wishes(wishes)
    if space.schedule.name != "progressive":
        raise ConfigError(f"schedule: '{space.schedule.name}' given; --progressive needs schedule=progressive")
    experiment = _workbench(space, progress)
    with _opened_folder(experiment, wishes, LOOP_JOB) as folder:
        if folder.has("summary.json"):
            raise RunError(f"{folder.path}: the loop is finished; its network is network.safetensors there")
        train_unpruned(experiment, folder)
        prepare_allocation(experiment, folder)
        gallery, book = _gallery(experiment), Book(folder, experiment.structure, wishes.rater)

        def desk_of(place: Place) -> Desk:
            scores = _scores_now(experiment, place)
            return Desk(place.network, place.structure, scores, gallery, experiment.compute)

        loop = Loop(experiment, folder, book, desk_of)
        yield Review(
            space.name, data_name(experiment), experiment.structure, loop.desk, book, loop=loop, first=loop.number
        )  # fmt: skip


def opened_choice(run_dir: Path, progress: Progress = silent) -> Review:
    """Open what a finished search campaign chose; nothing is written."""
    folder = RunFolder(run_dir)
    space = checked_from_dict(folder.read_json("space.json"), resumed=True)
    if folder.job != "search":
        raise RunError(f"{run_dir}: was made by 'blendsearch {folder.job}'; only a search has a choice to explain")
    needed = ("summary.json", "blend.json", "plan.json", "records/baseline.json", "records/scores.json")
    missing = [name for name in needed if not folder.has(name)]
    if missing:
        raise RunError(f"{run_dir}: no {missing[0]}; is the campaign finished?")
    experiment = Experiment(space, progress)
    train_unpruned(experiment, folder)
    scores, _ = score_criteria(experiment, folder)
    choice = Choice(Blend.load(folder / "blend.json"), Plan.from_dict(folder.read_json("plan.json")))
    desk = Desk(
        experiment.network,
        experiment.structure,
        scores,
        _gallery(experiment),
        experiment.compute,
        blend=choice.blend,
        progress=progress,
    )
    return Review(space.name, data_name(experiment), experiment.structure, desk, choice=choice)


@contextlib.contextmanager
def _opened_folder(experiment: Experiment, wishes: Wishes, job: str) -> Iterator[RunFolder]:
    """Open the job's folder, or, for a plain review, that of a job which trained the same network."""
    space = experiment.space
    folder = choose_folder(wishes.run_dir, f"{space.name}-{NAMES[job]}", wishes.resume)
    with folder.locked():
        shared = job == JOB and folder.has("space.json") and folder.job in SHARED
        if not shared:
            check_same_job(folder, job)
        check_same_space(folder, space.to_dict())
        if not shared:
            folder.write_json("job.json", {"job": job, "by": None})
            folder.write_text("space.yaml", space.to_yaml())
            folder.write_json("space.json", space.to_dict())
        yield folder


def _workbench(space: Space, progress: Progress) -> Experiment:
    experiment = Experiment(space, progress)
    _ = experiment.splits, experiment.structure  # missing data or an impossible budget leave no folder behind
    return experiment


def _gallery(experiment: Experiment) -> Gallery:
    return Gallery.of(experiment.splits.search, experiment.splits.classes)


def _number(experiment: Experiment, layer: str | None) -> int:
    groups = [group.name for group in experiment.structure.groups]
    return 0 if layer is None else groups.index(experiment.structure.group(layer).name)


def _found_blend(experiment: Experiment, folder: RunFolder) -> AdaptedBlend | None:
    return adapt_blend(Blend.load(folder / "blend.json"), experiment.structure) if folder.has("blend.json") else None


def _scores_now(experiment: Experiment, place: Place) -> Scores:
    """Score a network on its way through the loop under the space's criteria, as `score_criteria` does."""
    space = experiment.space
    wanted = names() if space.criteria == "all" else list(space.criteria)
    statistics = gather(
        place.network, place.structure, experiment.splits.calibration.batches(128), measures_of(wanted, experiment.ratings),
        compute=experiment.compute, seed=child_seed(space.seed, "statistics"), ratings=experiment.ratings,
        relevance_per_class=space.data.relevance_per_class,
    )  # fmt: skip
    left_out = applicable(wanted, place.structure, statistics)
    used = [name for name in wanted if name not in left_out]
    return score_groups(place.structure, statistics, used, group_rule=space.structure.group_rule)


def _check_name(rater: str) -> None:
    if not rater.isprintable() or not rater.strip() or len(rater) > LONGEST_NAME:
        raise ConfigError(f"--rater: {rater!r} given; a printable name of at most {LONGEST_NAME} characters is allowed")


def _check_loop_wishes(wishes: Wishes) -> None:
    given = [option for option, wish in (("--layer", wishes.layer), ("--blend", wishes.by)) if wish is not None]
    if given:
        raise ConfigError(
            f"{given[0]}: not with --progressive, which goes from the first layer to the last and shows no blend"
        )
