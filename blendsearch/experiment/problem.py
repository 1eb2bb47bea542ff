"""The search problem of an experiment: its scores under its allocation and budget, judged by its proxy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from blendsearch.allocation import Evolved, weights_of
from blendsearch.blending import Blend
from blendsearch.config import NamedSection, SearchConfig
from blendsearch.criteria import Scores
from blendsearch.data.batches import Split
from blendsearch.evolution.fitness import FitnessFunction, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.journal import Journal
from blendsearch.evolution.leaders import Leaders
from blendsearch.evolution.problem import SearchProblem
from blendsearch.evolution.two_parts import TwoParts
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.losses import losses_for
from blendsearch.proxies import PROXIES
from blendsearch.proxies.racing import Racing
from blendsearch.validation.space import make

ELIMINATION = "drop losses alone"
"""The name, among those that a search starts from, of the elimination that no criterion tilts."""


ALIKE = "all clusters alike"
"""The name there of the blend that has each cluster's first criterion, with equal factors."""

JUDGED = "records/judged.jsonl"
"""Each plan's judgement, written as soon as it is there, with whose it is: all search images, or a part of them."""

TILTS = (1.0, 2.0, 4.0, 8.0)
"""What the factors of a blend that counts all alike sum up to beside the drop losses: few settings, and the best of
them are hard to beat."""


def make_problem(
    experiment: Experiment, scores: Scores, blends: Iterable[Blend] = (), leaders: Leaders | None = None
) -> SearchProblem:
    """Return the problem that a search of this experiment solves, or a contender without a search is judged by.

    blends: those that the problem's planner will be asked about, beside the ones that the space's search may find.
    leaders: see `make_fitness`.
    """
    journal = Journal(experiment.folder / JUDGED, "all")
    fitness = make_fitness(experiment, experiment.space.proxy, leaders=leaders, journal=journal)
    planner = make_planner(experiment, scores, blends)
    return SearchProblem(planner, fitness, tuple(experiment.space.search.objectives))


def make_planner(experiment: Experiment, scores: Scores, blends: Iterable[Blend] = ()) -> Planner:
    """Return what turns blends into plans under the experiment's allocation and budget; blends: see `make_problem`."""
    searched = [Blend.elimination()] if experiment.space.blend.set_aware else []
    losses = losses_for(experiment, [*blends, *searched])
    return Planner(experiment.structure, scores, experiment.allocation, experiment.budget, losses)


def make_choice_problems(experiment: Experiment, scores: Scores) -> tuple[SearchProblem, SearchProblem]:
    """Return the problem that the search sees, and the one by which all that it hands over is judged.

    They are the same, except where the space has a choice: then the search sees a part of the search images, and all
    of them judge what comes of it, of chance and of the criteria alike.
    """
    space, leaders = experiment.space, make_leaders(experiment.space.search)
    if experiment.search_parts is None:
        problem = make_problem(experiment, scores, leaders=leaders)
        return problem, problem
    parts = experiment.search_parts
    seen, fresh = (
        make_fitness(experiment, space.proxy, parts[0], leaders, Journal(experiment.folder / JUDGED, "seen")),
        make_fitness(experiment, space.proxy, parts[1], journal=Journal(experiment.folder / JUDGED, "fresh")),
    )
    images = [len(part) for part in parts]
    planner = make_planner(experiment, scores)
    return SearchProblem(planner, seen), SearchProblem(planner, TwoParts(seen, fresh, images[0] / sum(images)))


def make_fitness(
    experiment: Experiment,
    proxy: NamedSection,
    search: Split | None = None,
    leaders: Leaders | None = None,
    journal: Journal | None = None,
) -> FitnessFunction:
    """Return what judges plans by a proxy on the search images, or on a part of them, with the workers of the space.

    leaders: against whom candidates race, if they do. journal: where judgements are written as they come.
    """
    context = experiment.proxy_context
    return FitnessFunction(
        make(PROXIES, proxy),
        replace(
            context,
            search=context.search if search is None else search,
            racing=None if leaders is None else leaders.racing,
        ),
        threads=experiment.space.compute.threads,
        engine=experiment.engine,
        limit_seconds=experiment.space.compute.trial_seconds,
        leaders=leaders,
        journal=journal,
    )


def make_leaders(search: SearchConfig) -> Leaders | None:
    """Return the leaders of a search, none yet; None where candidates do not race.

    So many that those which survive and those which are looked at again after the search are all read in full.
    """
    if search.racing is None:
        return None
    looked_at = [one.candidates for one in (search.finals, search.choice) if one is not None]
    size = max(1, search.elite, search.layer_by_layer or 1, *looked_at)
    return Leaders(size, Racing(search.racing.first, search.racing.error))


def searched_groups(experiment: Experiment) -> list[str]:
    """Return the groups whose shares are genes: all of them where shares evolve, else none."""
    return list(experiment.structure.widths) if isinstance(experiment.allocation, Evolved) else []


def starting_genomes(planner: Planner, genomes: GenomeSpace) -> dict[str, np.ndarray]:
    """Return name -> genome of every criterion; where shares evolve, once for each allocation they start from.

    Where exponents are searched, the elimination by the losses alone starts too, and the blend in which all clusters
    count alike, by itself and, in several strengths, beside the losses.
    """
    blends = {name: Blend.single(name) for name in planner.scores}
    if genomes.set_aware:
        blends |= {ELIMINATION: Blend.elimination(), ALIKE: genomes.alike()}
        blends |= {f"{ALIKE} ({tilt:g}), and drop losses": genomes.alike(tilt) for tilt in TILTS}
    if not isinstance(planner.allocation, Evolved):
        return {name: genomes.encode(blend) for name, blend in blends.items()}
    result = {}
    for start, allocation in planner.allocation.start.items():
        for name, blend in blends.items():
            counts = allocation.allocate(planner.structure, planner.group_scores(blend), planner.budget)
            keep = weights_of(counts, planner.structure.widths)
            result[f"{name} ({start})"] = genomes.encode(replace(blend, keep=keep))
    return result
