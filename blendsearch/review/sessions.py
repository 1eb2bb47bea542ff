"""Opening a review: of a space's network, of the progressive loop, or of what a finished campaign chose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blendsearch.blending import AdaptedBlend, Blend, Scores, adapt_blend
from blendsearch.compute import threads
from blendsearch.config import Space, migrate_space
from blendsearch.criteria import score_applicable
from blendsearch.errors import ConfigError, RunError
from blendsearch.experiment import Experiment, check_before_work
from blendsearch.experiment.description import MODEL, describe_network
from blendsearch.experiment.losses import losses_for
from blendsearch.experiment.members import adapt_members
from blendsearch.experiment.scoring import needed_criteria, pick_scores, score_criteria
from blendsearch.experiment.unpruned import prepare_allocation, read_unpruned, train_unpruned
from blendsearch.progress import Progress, silent
from blendsearch.results.reading import taken_from
from blendsearch.results.run_folder import RunFolder, check_same_job, choose_folder, note_space
from blendsearch.results.trust import check_code, own_networks
from blendsearch.review.aside import Aside
from blendsearch.review.decision import Decision
from blendsearch.review.inspector import Inspector
from blendsearch.review.marks import Marks
from blendsearch.review.progressive import Loop
from blendsearch.review.review import Estimator, Review
from blendsearch.review.sample_images import SampleImages
from blendsearch.schedules.stages import Place
from blendsearch.structure import Plan
from blendsearch.validation.space import checked_from_dict

JOB, LOOP_JOB = "review", "review --progressive"
NAMES = {JOB: "review", LOOP_JOB: "review-progressive"}
"""How the folders of a job are called by default, after the space's name."""
SHARED = ("search", "score", "train")
"""Jobs in whose finished folders a review may stand: all train the space's network and keep it."""
LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True)
class ReviewOptions:
    """What the command line says of a review. layer: the group to begin with. by: path of a blend to rank by too."""

    rater: str = "rater"
    layer: str | None = None
    by: str | None = None
    run_dir: Path | None = None
    resume: bool = False


@contextlib.contextmanager
def open_review(space: Space, options: ReviewOptions, progress: Progress = silent) -> Iterator[Review]:
    """Train and score a space's network, or read both from the run folder, and open it for marks.

    Marks lie in ratings.json of the folder, which other processes cannot work in meanwhile. A blend of another
    network is adapted to this one, as `prune --by` does. A wrong option leaves no folder behind.
    """
    _check_rater(options.rater)
    given, experiment = Blend.load(options.by) if options.by else None, Experiment(space, progress)
    first = _number_of(experiment, options.layer)
    asked = adapt_blend(given, experiment.structure) if given is not None else None
    with _open_folder(experiment, options, JOB) as opened:
        train_unpruned(opened)
        scores, _ = score_criteria(opened)
        adapted = asked if asked is not None else _found_blend(opened)
        yield Review(
            title=space.name,
            data=opened.data_name,
            whole=opened.structure,
            static_inspector=_inspect(opened, scores, adapted.blend if adapted is not None else None),
            marks=Marks(opened.folder, opened.structure, options.rater),
            estimator=Estimator(opened),
            first=first,
            rule=adapted.rule if adapted is not None else "",
        )


@contextlib.contextmanager
def open_loop(space: Space, options: ReviewOptions, progress: Progress = silent) -> Iterator[Review]:
    """Open the progressive loop: marks, pruning and training by turns, from the first layer to the last.

    A stopped one goes on where it was; a new one begins with the marks of the space's ratings, if it has any. Raises
    ConfigError when the space's schedule is not `progressive`, and for options that the loop does not take: it begins
    with the first layer, and shows no blend beside those of the space.
    """
    _check_rater(options.rater)
    _check_loop_options(options)
    if space.schedule.name != "progressive":
        raise ConfigError(f"schedule: '{space.schedule.name}' given; --progressive needs schedule=progressive")
    with _open_folder(Experiment(space, progress), options, LOOP_JOB) as opened:
        if opened.folder.has("summary.json"):
            raise RunError(f"{opened.folder.path}: the loop is finished; its network is network.safetensors there")
        train_unpruned(opened)
        prepare_allocation(opened)
        sample_images, members = _sample_images(opened), adapt_members(opened)

        def inspect(place: Place) -> Inspector:
            return Inspector(
                network=place.network,
                structure=place.structure,
                scores=_score_stage(opened, place, members),
                sample_images=sample_images,
                compute=opened.compute,
            )

        marks = Marks(opened.folder, opened.structure, options.rater, given=opened.ratings)
        aside = Aside()
        loop = Loop(opened, marks, inspect, aside)
        yield Review(
            title=space.name,
            data=opened.data_name,
            whole=opened.structure,
            marks=marks,
            loop=loop,
            aside=aside,
            first=loop.number,
        )


def open_decision(run_dir: Path, progress: Progress = silent, *, trust_code: bool = False) -> Review:
    """Open what a finished search campaign chose; nothing is written.

    trust_code: whether to run own code that the folder names, where it was not made here by this user.
    """
    folder = RunFolder(run_dir)
    if folder.job != "search":
        raise RunError(f"{run_dir}: was made by 'blendsearch {folder.job}'; only a search has a choice to explain")
    data = folder.read_json("space.json")
    with taken_from(folder / "space.json"):
        space = checked_from_dict(migrate_space(data), resumed=True)
    plan = "blend-plan.json" if folder.has("blend-plan.json") else "plan.json"  # that of earlier versions
    needed = ("summary.json", "blend.json", plan, "records/baseline.json", "records/scores.json")
    missing = [name for name in needed if not folder.has(name)]
    if missing:
        raise RunError(f"{run_dir}: no {missing[0]}; is the campaign finished?")
    check_code(folder.path, own_networks(space), trust_code)
    experiment = Experiment(space, progress, folder)
    read_unpruned(experiment)
    scores, _ = score_criteria(experiment)
    with taken_from(folder / plan):
        kept = Plan.from_dict(folder.read_json(plan))
    decision = Decision(Blend.load(folder / "blend.json"), kept)
    return Review(
        title=space.name,
        data=experiment.data_name,
        whole=experiment.structure,
        static_inspector=_inspect(experiment, scores, decision.blend),
        decision=decision,
    )


@contextlib.contextmanager
def _open_folder(experiment: Experiment, options: ReviewOptions, job: str) -> Iterator[Experiment]:
    """Open the job's folder, or, for a plain review, that of a job which trained the same network.

    All work of the block, in threads that it begins too, has the space's number of threads, as in `open_run`.
    """
    check_before_work(experiment)  # missing data or an impossible budget leave no folder behind
    folder = choose_folder(options.run_dir, f"{experiment.space.name}-{NAMES[job]}", options.resume)
    with folder.locked(), threads(experiment.space.compute.threads):
        shared = job == JOB and folder.has("space.json") and folder.job in SHARED
        if not shared:
            check_same_job(folder, job)
        space = experiment.check_same(folder).space
        if not shared:
            note_space(folder, job, space)
            folder.write_record(MODEL, describe_network(experiment))
        yield experiment.at(folder)


def _inspect(experiment: Experiment, scores: Scores, blend: Blend | None) -> Inspector:
    return Inspector(
        network=experiment.network,
        structure=experiment.structure,
        scores=scores,
        sample_images=_sample_images(experiment),
        compute=experiment.compute,
        blend=blend,
        losses=losses_for(experiment, [blend] if blend is not None else []),
        progress=experiment.progress,
    )


def _sample_images(experiment: Experiment) -> SampleImages:
    return SampleImages.of(experiment.splits.search, experiment.splits.classes)


def _number_of(experiment: Experiment, layer: str | None) -> int:
    groups = [group.name for group in experiment.structure.groups]
    return 0 if layer is None else groups.index(experiment.structure.group(layer).name)


def _found_blend(experiment: Experiment) -> AdaptedBlend | None:
    folder = experiment.folder
    return adapt_blend(Blend.load(folder / "blend.json"), experiment.structure) if folder.has("blend.json") else None


def _score_stage(experiment: Experiment, place: Place, members: Mapping[str, AdaptedBlend]) -> Scores:
    """Score a network on its way through the loop under the space's criteria and blends, as `score_criteria` does."""
    batches, needed = experiment.splits.calibration.batches(128), needed_criteria(experiment, members)
    set_aware = any(adapted.blend.set_aware for adapted in members.values())
    found = score_applicable(place.network, place.structure, batches, needed, experiment.scoring, set_aware=set_aware)
    return pick_scores(experiment, members, found)


def _check_rater(rater: str) -> None:
    if not rater.isprintable() or not rater.strip() or len(rater) > LONGEST_NAME:
        raise ConfigError(f"--rater: {rater!r} given; a printable name of at most {LONGEST_NAME} characters is allowed")


def _check_loop_options(options: ReviewOptions) -> None:
    given = [option for option, value in (("--layer", options.layer), ("--blend", options.by)) if value is not None]
    if given:
        raise ConfigError(
            f"{given[0]}: not with --progressive, which goes from the first layer to the last and shows no blend"
        )
