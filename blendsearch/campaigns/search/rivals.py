"""Fixed blends that cost no search, or hardly any: what an evolved blend must beat beside the criteria themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from blendsearch.allocation import Allocation
from blendsearch.blending import Blend, Clusters, Scores
from blendsearch.campaigns.search.finals import best_distinct
from blendsearch.campaigns.search.own_shares import describe_own_shares
from blendsearch.evolution.problem import SearchProblem
from blendsearch.experiment.contenders import Contender, enter_criteria, enter_without_shares
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.scoring import cluster_by
from blendsearch.results.reading import taken_from
from blendsearch.results.records.retraining import (
    CRITERION,
    CRITERION_PER_LAYER,
    HESSO,
    MEAN_OF_RANKS,
    OWN_SHARES,
    RIVAL,
)
from blendsearch.results.records.search import RivalRecord, RivalsRecord
from blendsearch.results.words import join_words
from blendsearch.structure import Plan

RECORD = "records/rivals.json"
NETWORK = "network"
NAMES = {"mean_of_ranks": MEAN_OF_RANKS, "hesso": HESSO, "criterion_per_layer": CRITERION_PER_LAYER}
"""Name in space files -> that of the contender."""

HESSO_PARTS = {
    "magnitude": "l2",
    "average magnitude": "l2",
    "cosine similarity": None,
    "first-order Taylor": "taylor",
    "second-order Taylor": "fisher",
}
"""Part of HESSO's default -> the criterion that ranks a layer's filters by the same thing; see `mix_hesso`."""
HESSO_SHARE = 0.2


def list_rivals(
    experiment: Experiment, seen: SearchProblem, judged: SearchProblem, scores: Scores
) -> dict[str, Callable[[], Contender]]:
    """Return what enters each rival, pruned on the terms of the criteria.

    seen: what the search was judged by, and so what a rival may be chosen by. judged: what all contenders are judged
    by. Writes records/rivals.json, from which a stopped run's choice is read.
    """
    record = _complete(experiment, seen, judged, scores)
    with taken_from(experiment.folder / RECORD):
        blends = {name: Blend.from_dict(one.blend) for name, one in record.rivals.items()}
    return {name: partial(enter_without_shares, judged, blend, RIVAL) for name, blend in blends.items()}


def _complete(experiment: Experiment, seen: SearchProblem, judged: SearchProblem, scores: Scores) -> RivalsRecord:
    """Return the record of the rivals that are wanted, after choosing, and writing, those that it does not have yet."""
    folder = experiment.folder
    known = folder.read_record(RECORD, RivalsRecord) if folder.has(RECORD) else RivalsRecord()
    missing = [one for one in _wanted(experiment) if one not in known.rivals and one not in known.left_out]
    if missing or not folder.has(RECORD):
        new = _find(experiment, seen, judged, scores, missing)
        known = RivalsRecord(rivals={**known.rivals, **new.rivals}, left_out={**known.left_out, **new.left_out})
        folder.write_record(RECORD, known, RivalsRecord)
    return _those_wanted(experiment, known)


def _wanted(experiment: Experiment) -> list[str]:
    """Return the rivals of this module that the space wants, as contenders are called."""
    return [NAMES[key] for key in experiment.space.search.rivals_wanted if key in NAMES]


def _those_wanted(experiment: Experiment, record: RivalsRecord) -> RivalsRecord:
    wanted = _wanted(experiment)
    return RivalsRecord(
        rivals={name: record.rivals[name] for name in wanted if name in record.rivals},
        left_out={name: record.left_out[name] for name in wanted if name in record.left_out},
    )


def _find(
    experiment: Experiment, seen: SearchProblem, judged: SearchProblem, scores: Scores, wanted: Sequence[str]
) -> RivalsRecord:
    names = list(scores)
    if len(names) < 2:
        return RivalsRecord(left_out=dict.fromkeys(wanted, "one criterion alone is all that could be mixed"))
    rivals, left_out = {}, {}
    if MEAN_OF_RANKS in wanted:
        rivals[MEAN_OF_RANKS] = RivalRecord(blend=Blend.mean_of_ranks(names).to_dict())
    if HESSO in wanted:
        hesso, note = mix_hesso(names)
        if hesso is None:
            left_out[HESSO] = note
        else:
            rivals[HESSO] = RivalRecord(blend=hesso.to_dict(), note=note or None)
    if CRITERION_PER_LAYER in wanted:
        clusters = cluster_by(experiment, scores, "layer")
        rivals[CRITERION_PER_LAYER] = _choose_by_layer(experiment, seen, judged, clusters)
    return RivalsRecord(rivals=rivals, left_out=left_out)


def mix_hesso(criteria: Sequence[str]) -> tuple[Blend | None, str]:
    """Return HESSO's default blend of five parts at 0.2 each, as far as the criteria have them, and what is missing.

    Magnitude and average magnitude differ by the size of a filter, the same within a layer, so their ranks are both
    those of `l2`. First order is |sum of weight x gradient|, here `taylor`; second order is half its square, here, as
    a mean over samples, `fisher`. The cosine is that between weights and their gradient, which no criterion measures
    (`cosine` compares filters with each other), and so it is left out. None where fewer than two criteria are left.
    Source: Chen et al., HESSO, 2024 (arXiv 2409.09085); microsoft/only_train_once, optimizer/importance_score.
    """
    missing = [part for part, name in HESSO_PARTS.items() if name not in criteria]
    factors: dict[str, float] = {}
    for name in HESSO_PARTS.values():
        if name is not None and name in criteria:
            factors[name] = factors.get(name, 0.0) + HESSO_SHARE
    note = f"without {join_words(missing)}, which no criterion of this campaign measures" if missing else ""
    return (Blend(NETWORK, {NETWORK: factors}), note) if len(factors) > 1 else (None, note)


@dataclass
class LayerPass:
    """A pass over the layers that gives each one criterion, with every blend that it tried and its fitness.

    groups: layer -> its groups. allocation: what shares out the budget meanwhile. evaluations, passes, seconds: of its
    different plans, those among them that the search knows, too: which these are a resumed run cannot tell.
    """

    problem: SearchProblem
    groups: Mapping[str, tuple[str, ...]]
    allocation: Allocation
    tried: list[tuple[Blend, Plan, float]] = field(default_factory=list)
    evaluations: int = 0
    passes: int = 0
    seconds: float = 0.0

    def run(self, start: str, choices: Mapping[str, Sequence[str]]) -> None:
        """Try each layer's choices in forward order; layers passed keep what was best, the others follow `start`."""
        chosen = dict.fromkeys(self.groups, start)
        best = self.judge([chosen])[0]
        for layer, names in choices.items():
            options = [{**chosen, layer: name} for name in names if name != chosen[layer]]
            for option, value in zip(options, self.judge(options), strict=True):
                if value > best:
                    chosen, best = option, value

    def judge(self, options: Sequence[Mapping[str, str]]) -> list[float]:
        """Return the fitness of blends that are given as layer -> criterion."""
        planner = self.problem.planner
        blends = [
            Blend("layer", {layer: {name: 1.0} for layer, name in option.items()}, groups=dict(self.groups))
            for option in options
        ]
        plans = [
            self.allocation.plan(planner.structure, planner.group_scores(blend), planner.budget) for blend in blends
        ]
        found = self.problem.fitness(plans)
        known = {plan.digest for _, plan, _ in self.tried}
        new = {one.plan.digest: one for one in found if one.plan.digest not in known}.values()
        self.evaluations += len(new)
        self.passes += sum(one.passes for one in new)
        self.seconds += sum(one.seconds for one in new)
        values = [one.value for one in found]
        self.tried += zip(blends, plans, values, strict=True)
        return values


def _choose_by_layer(
    experiment: Experiment, seen: SearchProblem, judged: SearchProblem, clusters: Clusters
) -> RivalRecord:
    """Return the blend of one criterion a layer that a single pass of the proxy over the layers finds.

    It begins with the criterion that the proxy puts first. A layer's choices are one criterion of each of its
    clusters, that with the highest proxy: at most as many evaluations as there are clusters.
    Source: He et al., Learning Filter Pruning Criteria (LFPC), CVPR 2020; here by a proxy, without gradients.
    """
    criteria, _ = enter_criteria(seen, seen.planner.scores, CRITERION)
    first = max(criteria, key=lambda name: criteria[name].proxy)
    proxies = {name: one.proxy for name, one in criteria.items()}
    choices = {
        layer: [max(able, key=proxies.__getitem__) for able in _those_in(proxies, several)]
        for layer, several in clusters.members.items()
    }
    work = LayerPass(seen, clusters.groups, criteria[first].allocation)
    experiment.progress("rivals", 0, 1, "one criterion a layer")
    work.run(first, choices)
    experiment.progress("rivals", 1, 1, f"one criterion a layer, {work.evaluations} evaluations")
    blend = _best_of(work, judged, experiment)
    return RivalRecord(
        blend=blend.to_dict(), evaluations=work.evaluations, passes=work.passes, seconds=round(work.seconds, 3)
    )


def _those_in(known: Mapping[str, float], several: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the known members of each cluster that has any."""
    found = [[name for name in members if name in known] for members in several]
    return [members for members in found if members]


def _best_of(work: LayerPass, judged: SearchProblem, experiment: Experiment) -> Blend:
    """Return the best blend that was tried; where the space has a choice, as for the search: of the best few by it."""
    choice = experiment.space.search.choice
    values = [(plan.digest, value) for _, plan, value in work.tried]
    places = best_distinct(values, 1 if choice is None else choice.candidates)
    whole = judged.values([work.tried[place][1] for place in places]) if len(places) > 1 else [0.0]
    best = max(range(len(places)), key=lambda number: (whole[number], -number))
    return work.tried[places[best]][0]


def describe_rivals(experiment: Experiment) -> RivalsRecord:
    """Return the record of the rivals that the space wants; an empty one where it wants none."""
    folder = experiment.folder
    own = describe_own_shares(experiment) if "own_shares" in experiment.space.search.rivals_wanted else None
    found = folder.read_record(RECORD, RivalsRecord) if folder.has(RECORD) else RivalsRecord()
    wanted = _those_wanted(experiment, found)
    return wanted if own is None else wanted.model_copy(update={"rivals": {**wanted.rivals, OWN_SHARES: own}})
