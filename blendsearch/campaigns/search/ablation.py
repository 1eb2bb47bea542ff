"""What a blend with evolved shares owes to each of its two parts: each is retrained beside it without the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blendsearch.blending import Blend
from blendsearch.evolution.problem import SearchProblem
from blendsearch.experiment.contenders import Contender, Contenders, enter_without_shares, make_contender
from blendsearch.results.paired import Judge, average
from blendsearch.results.records.retraining import ABLATION
from blendsearch.results.records.search import Part


def enter_parts(problem: SearchProblem, blend: Blend) -> Contenders:
    """Return the blend's shares under a single criterion, and the blend under given shares.

    The criterion is the one that the proxy puts first under those shares, the allocation that of the evolved one's
    starts which the proxy prefers for the blend: the strongest baselines that cost no search.
    """
    planner = problem.planner
    singles = {name: replace(Blend.single(name), keep=blend.keep) for name in planner.scores}
    plans = [planner.plan(single) for single in singles.values()]
    place, proxy = problem.first_of(plans, "the blend's shares under each criterion")
    first = list(singles)[place]
    plain = enter_without_shares(problem, replace(blend, keep={}), ABLATION)
    return {
        f"{first} with blend shares": make_contender(planner, singles[first], proxy=proxy, kind=ABLATION),
        f"blend with {plain.allocation.name} shares": plain,
    }


def summarise_parts(contenders: Mapping[str, Contender], judge: Judge) -> dict[str, Part]:
    """Return what each part came to, and the blend minus it."""
    return {name: _summarise(name, one, judge) for name, one in contenders.items() if one.kind == ABLATION}


def _summarise(name: str, part: Contender, judge: Judge) -> Part:
    baseline = f"the {name}" if name.startswith("blend ") else name
    return Part(
        proxy=part.proxy,
        allocation=part.allocation.name,
        **average(judge.outcomes, name, ABLATION).model_dump(),
        **judge.against(name, ABLATION, baseline).model_dump(),
    )
