"""What can be said against a search before it spends its time, each with the remedy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from blendsearch.allocation import Evolved
from blendsearch.campaigns.foresight.forecast import Counts, seconds_of_retraining
from blendsearch.campaigns.foresight.unit_costs import ProxyCost, Stopwatch, UnitCosts
from blendsearch.compute import is_out_of_memory
from blendsearch.criteria import CRITERIA
from blendsearch.data.batches import Split
from blendsearch.errors import first_line
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.members import adapt_members, tell_shares_of_members
from blendsearch.progress import tell
from blendsearch.results.optimism import interval_of_gap
from blendsearch.results.words import about_seconds, percent, plural
from blendsearch.training.evaluation import evaluate

RECORD = "records/notes.json"
TOO_DEAR = 3.0
"""So many times what all retrainings take the search's estimates may take unremarked."""
WORTH_SAYING = 30.0
"""Seconds of a search below which its length is not remarked on."""
BLIND = ("bn_recalibrated", "zero_shot")
"""Proxies that were seen not to order networks of equal widths."""
SAMPLED, SAMPLING = 500, 1.0
"""Images whose accuracy is read, and about how many seconds that may take."""


def notes_before_search(experiment: Experiment, costs: UnitCosts | None = None) -> list[str]:
    """Return a sentence for everything that speaks against a search as it is asked for, with what helps.

    costs: where they have been timed already; else a retraining step and an estimate are timed now.
    """
    notes = [
        *_left_out(experiment),
        *_unread_ratings(experiment),
        *tell_shares_of_members({name: one.blend for name, one in adapt_members(experiment).items()}),
        *_seen_images(experiment),
        *_blind_proxy(experiment),
        *_no_recipe(experiment),
        *_all_warmup(experiment),
    ]
    if experiment.space.retraining.epochs > 0:
        try:
            costs = costs or _time(experiment)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return [
                *notes,
                f"memory ran out as one candidate was timed ({first_line(error)}); smaller batches take less",
            ]
        notes += [*_chance(experiment, costs.proxy), *_dear_proxy(experiment, costs)]
    return notes


def tell_before_search(experiment: Experiment) -> list[str]:
    """Say what `notes_before_search` finds, once in the life of a run folder, and log it; return the sentences."""
    folder = experiment.folder
    if folder.has(RECORD):
        return []
    notes = notes_before_search(experiment)
    folder.write_json(RECORD, notes)
    for note in notes:
        tell(experiment.progress, note)
        folder.event("note", text=note)
    return notes


def _time(experiment: Experiment) -> UnitCosts:
    watch = Stopwatch(experiment)
    return UnitCosts(
        image=watch.image,
        pruned_image=watch.pruned_image,
        training_step=0.0,
        retraining_step=watch.retraining_step(),
        proxy=watch.proxy(),
        refit=watch.refit(),
    )


def _left_out(experiment: Experiment) -> Iterator[str]:
    files = experiment.splits.skipped
    if files:
        yield f"{plural(len(files), 'image')} could not be read and {'is' if len(files) == 1 else 'are'} left out"


def _unread_ratings(experiment: Experiment) -> Iterator[str]:
    """Yield that people's marks have no part in the search, where they are given and no criterion reads them."""
    space = experiment.space
    if space.ratings is None or space.criteria == "all" or space.blends:
        return
    if not any("ratings" in CRITERIA.get(name).needs for name in space.criteria):
        yield "ratings are given, and none of the criteria reads them; add subjective to criteria"


def _seen_images(experiment: Experiment) -> Iterator[str]:
    """Yield whether given weights may have been trained on the search images, as far as that can be known."""
    space, splits = experiment.space, experiment.splits
    if splits.search_from != "train" or space.training.epochs > 0 or not splits.labelled or not _pretrained(space):
        return
    if space.data.labels == "predicted":
        return
    searched, trained = _accuracy(experiment, splits.search), _accuracy(experiment, splits.train)
    if interval_of_gap(*trained, *searched)[0] > 0:
        return  # what they were trained on they know better
    helps = (
        "data.validation=N takes N of the test images for the search, and the test the others"
        if splits.own_test
        else "a validation part (val beside train and test) or images that they have not seen would not"
    )
    yield (
        f"the weights may have been trained on the search images, which come out of the training part: they are right "
        f"on {percent(searched[0], 1)} of these and on {percent(trained[0], 1)} of other training images, and accuracy "
        f"there would flatter every candidate; {helps}"
    )


def _pretrained(space: Any) -> bool:
    """Tell whether a space gives its network weights, by a file or by an argument of torchvision or timm."""
    arguments = space.model.arguments
    return space.model.weights is not None or any(arguments.get(key) for key in ("weights", "pretrained"))


def _accuracy(experiment: Experiment, split: Split) -> tuple[float, int]:
    """Return the network's accuracy on images of a split, as many as there is time for, and how many these are."""
    compute, start = experiment.compute, time.perf_counter()
    network = compute.place(experiment.network)
    right, count = 0.0, 0
    for batch in islice(split.take(min(SAMPLED, len(split))).batches(50), SAMPLED // 50):
        found = evaluate(network, [batch], compute)
        right, count = right + found.accuracy * found.count, count + found.count
        if time.perf_counter() - start > SAMPLING:
            break
    network.cpu()
    return right / count, count


def _blind_proxy(experiment: Experiment) -> Iterator[str]:
    name = experiment.space.proxy.name
    if name in BLIND and not isinstance(experiment.allocation, Evolved):
        yield (
            f"the proxy {name} orders networks of different widths; allocation {experiment.space.allocation.name} "
            "gives equal ones, among which no agreement with retraining was seen (tau near 0); proxy=compensated or "
            "proxy=agreement agree better, and `blendsearch audit` measures it here"
        )


def _no_recipe(experiment: Experiment) -> Iterator[str]:
    """Yield that there is a recipe for what is asked for, where nobody said how shares and blend are to be found."""
    space = experiment.space
    chosen = {"allocation", "search"} <= space.model_fields_set
    if space.retraining.epochs == 0 and space.recipe is None and not chosen:
        yield (
            "nothing is retrained, and shares and blend are searched by the usual defaults; recipe=post_training has "
            "settings that were found for this, with which shares of the layers evolve beside the blend"
        )


def _all_warmup(experiment: Experiment) -> Iterator[str]:
    """Yield where the learning rate rises until the training ends."""
    for name, section in (("training", experiment.space.training), ("retraining", experiment.space.retraining)):
        if 0 < section.epochs <= section.warmup_epochs:
            yield (
                f"{name}.warmup_epochs, {section.warmup_epochs:g}, takes all of {name}.epochs, {section.epochs:g}: the "
                f"learning rate comes to {name}.lr at the end alone; fewer leave epochs to train at it"
            )


def _chance(experiment: Experiment, cost: ProxyCost) -> Iterator[str]:
    """Yield that a proxy is at chance on a network that is trained; before training everything is."""
    classes = len(experiment.splits.classes)
    trained = experiment.space.training.epochs == 0 and _pretrained(experiment.space)
    if trained and experiment.space.proxy.name == "zero_shot" and cost.value < 1.5 / classes:
        yield (
            f"the proxy zero_shot gives {percent(cost.value, 1)} to the network pruned by l1, with {classes} classes "
            "little more than chance: it will hardly tell candidates apart (tau near 0); proxy=compensated refits them "
            "first, a larger budget leaves more to tell"
        )


def _dear_proxy(experiment: Experiment, costs: UnitCosts) -> Iterator[str]:
    """Yield that estimating costs more than what is estimated."""
    space, counts = experiment.space, Counts(experiment)
    one, estimate = seconds_of_retraining(experiment, costs), costs.proxy.estimate
    networks = counts.contenders * space.retraining.seeds
    searching = (counts.evaluations + counts.other_evaluations) * estimate / experiment.workers
    retraining = networks * one / experiment.workers
    if searching < WORTH_SAYING:
        return
    helps = _cheaper(experiment)
    if estimate > one:
        yield (
            f"an estimate by the proxy {space.proxy.name} takes about {about_seconds(estimate)}, a whole retraining "
            f"{about_seconds(one)}: retraining candidates would cost less and tell more; {helps}, or retraining.epochs "
            f"above {space.retraining.epochs:g}"
        )
    elif searching > TOO_DEAR * retraining:
        yield (
            f"the {counts.evaluations + counts.other_evaluations} estimates by the proxy {space.proxy.name} take about "
            f"{about_seconds(searching)}, all {networks} retrainings {about_seconds(retraining)}; {helps}, fewer "
            "search.generations, or search.random_search=false"
        )


def _cheaper(experiment: Experiment) -> str:
    """Return what makes the estimates of a space cheaper."""
    name, options = experiment.space.proxy.name, experiment.space.proxy.options
    if "steps" in options or name in ("short_finetune", "compensated_finetune"):
        return "cheaper: fewer proxy.steps, or proxy=compensated"
    if isinstance(experiment.allocation, Evolved) and name not in BLIND:
        return "cheaper: proxy=bn_recalibrated, which goes by the layers' widths, or fewer data.search images"
    searched = max(100, len(experiment.splits.search) // 4)
    return (
        f"cheaper: proxy={{name: {name}, search_images: {searched}, positions: 5000}}"
        if name in ("compensated", "agreement")
        else f"cheaper: fewer data.search images, such as {searched}"
    )
