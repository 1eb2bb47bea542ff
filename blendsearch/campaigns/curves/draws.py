"""One draw of a scarce-data run: few images of each class, the scores they give, and the accuracy that these leave."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from blendsearch.allocation import Allocation, Budget
from blendsearch.blending import AdaptedBlend
from blendsearch.campaigns.curves.summary import richest_evidence
from blendsearch.compute import child_seed, generator
from blendsearch.criteria import CRITERIA, Scores, ScoringSetup, score_applicable
from blendsearch.data.batches import Split
from blendsearch.experiment.members import score_members
from blendsearch.results.records.curves import DrawRecord
from blendsearch.structure import Plan, Structure
from blendsearch.training.evaluation import evaluate

JOB = "curves"


@dataclass(frozen=True)
class CurveDraw:
    """Criteria and blends to be scored from one draw of `samples` images per class; 0: they look at no image."""

    samples: int
    draw: int
    names: tuple[str, ...]

    @property
    def record(self) -> str:
        """The file of its record below the run folder."""
        return f"records/cells/samples{self.samples}-draw{self.draw}.json"


@dataclass(frozen=True, kw_only=True)
class CurvesSetup:
    """What all draws share: the trained network, the budgets (one a share removed), and where to look and test.

    members: the found blends that have curves, by name.
    """

    network: nn.Module
    structure: Structure
    allocation: Allocation
    budgets: Sequence[Budget]
    calibration: Split
    test: Split
    scoring: ScoringSetup
    members: Mapping[str, AdaptedBlend]
    seed: int

    def criteria_of(self, name: str) -> list[str]:
        """Return what it takes to score under a name: a criterion itself, or those of a blend."""
        return self.members[name].blend.criteria if name in self.members else [name]

    def evidence_of(self, name: str) -> str:
        """Return the richest that a criterion or blend looks at; drop losses weigh outputs by their gradients."""
        return richest_evidence([*self.criteria_of(name), *(["obs_fisher"] if self._set_aware(name) else [])])

    def looks_at_images(self, name: str) -> bool:
        """Tell whether the scores of a criterion or blend depend on the images it is given."""
        return self._set_aware(name) or any(map(self._looks_at_images, self.criteria_of(name)))

    def _set_aware(self, name: str) -> bool:
        return name in self.members and self.members[name].blend.set_aware

    def _looks_at_images(self, criterion: str) -> bool:
        fallback = self.scoring.ratings.fallback if self.scoring.ratings is not None else None
        if fallback is not None and "ratings" in CRITERIA.get(criterion).needs and looks_at_images(fallback):
            return True
        return looks_at_images(criterion)

    def draws_numbers(self, name: str) -> bool:
        """Tell whether a criterion, or one of a blend, draws numbers, other ones in every draw."""
        return any(CRITERIA.get(criterion).seeded for criterion in self.criteria_of(name))


def looks_at_images(criterion: str) -> bool:
    """Tell whether a criterion's scores depend on the images it is given."""
    return richest_evidence([criterion]) in ("activations", "gradients", "relevance")


def list_draws(
    setup: CurvesSetup, names: Sequence[str], samples_per_class: Sequence[int], count: int
) -> list[CurveDraw]:
    """Return the draws, each criterion and blend in as few as give it a curve; count: how often images are drawn.

    What looks at no image is in one, or in one a draw where it draws numbers; the rest is in one for every draw of
    every number of images.
    """
    looking = tuple(name for name in names if setup.looks_at_images(name))
    chance = tuple(name for name in names if name not in looking and setup.draws_numbers(name))
    fixed = tuple(name for name in names if name not in looking and name not in chance)
    draws = [CurveDraw(0, draw, fixed + chance if draw == 0 else chance) for draw in range(count)]
    draws += [CurveDraw(samples, draw, looking) for samples in samples_per_class for draw in range(count)]
    return [draw for draw in draws if draw.names]


def draw_images(calibration: Split, samples: int, draw: int, seed: int) -> Split:
    """Return `samples` images of each class; those of a smaller number are among them, draw by draw."""
    labels = calibration.labels
    chosen = [
        own[torch.randperm(len(own), generator=generator(seed, JOB, draw, label))[:samples]]
        for label in labels.unique().tolist()
        for own in [(labels == label).nonzero().flatten()]
    ]
    return calibration.subset(torch.cat(chosen).sort().values)


def measure_draw(setup: CurvesSetup, draw: CurveDraw) -> DrawRecord:
    """Score a draw's criteria and blends from its images, and read the accuracy of every distinct plan once."""
    start = time.perf_counter()
    images = draw_images(setup.calibration, draw.samples, draw.draw, setup.seed) if draw.samples else None
    known: dict[str, float] = {}
    accuracy: dict[str, list[float]] = {}
    for name, groups in _score(setup, draw, images).items():
        plans = [setup.allocation.plan(setup.structure, groups, budget) for budget in setup.budgets]
        for plan in plans:
            if plan.digest not in known:
                known[plan.digest] = measure_accuracy(setup, plan)
        accuracy[name] = [known[plan.digest] for plan in plans]
    return DrawRecord(
        samples=draw.samples,
        draw=draw.draw,
        images=0 if images is None else len(images),
        accuracy=accuracy,
        evaluations=len(known),
        seconds=round(time.perf_counter() - start, 3),
    )


def _score(setup: CurvesSetup, draw: CurveDraw, images: Split | None) -> Scores:
    """Return the scores of a draw's criteria and blends, all from the same passes."""
    criteria = list(dict.fromkeys(criterion for name in draw.names for criterion in setup.criteria_of(name)))
    scoring = replace(setup.scoring, seed=child_seed(setup.seed, JOB, "statistics", draw.draw))
    batches = () if images is None else images.batches(128)
    members = {name: adapted for name, adapted in setup.members.items() if name in draw.names}
    set_aware = any(adapted.blend.set_aware for adapted in members.values())
    found = score_applicable(setup.network, setup.structure, batches, criteria, scoring, set_aware=set_aware)
    scores = found.complete()
    own = {name: scores[name] for name in draw.names if name not in members}
    return own | score_members(members, scores, found.losses)


def measure_accuracy(setup: CurvesSetup, plan: Plan) -> float:
    """Return the accuracy of the sliced network, as it is, on the test images of the curves."""
    network = setup.scoring.compute.place(setup.structure.slice(setup.network, plan))
    return evaluate(network, setup.test.batches(250), setup.scoring.compute).accuracy
