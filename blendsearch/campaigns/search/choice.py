"""The choice of a search: the plans that its proxy puts first, judged again on search images that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from blendsearch.campaigns.search.finals import Candidate, hold_finals, one_each
from blendsearch.campaigns.search.trials import open_ledger
from blendsearch.evolution.failure import value_words
from blendsearch.evolution.problem import SearchProblem
from blendsearch.evolution.two_parts import TwoParts
from blendsearch.experiment.contenders import enter_criteria
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.records.retraining import CRITERION
from blendsearch.results.records.search import ChoiceCandidate, ChoiceRecord, ChoiceSummary
from blendsearch.results.words import plain_points
from blendsearch.structure import Plan

CHOICE = "choice"
FINALS = "finals"


def wanted_candidates(experiment: Experiment) -> int:
    """Return how many plans a search hands over to what decides among them: one where the proxy decides."""
    decisive = experiment.space.search.finals or experiment.space.search.choice
    return 1 if decisive is None else decisive.candidates


def decide(
    experiment: Experiment, judged: SearchProblem, candidates: Sequence[Candidate], whose: str = ""
) -> Candidate:
    """Return who wins of a search's best plans: on fresh images, in finals, or by the proxy, as the space says.

    candidates: best first; of one plan the first stands, and of all so many as the space wants. whose: what the names
    of the records end with, for the search of a rival.
    """
    settings, different = experiment.space.search, one_each(candidates)[: wanted_candidates(experiment)]
    if settings.choice is not None:
        return choose_on_fresh(experiment, f"{CHOICE}{whose}", judged, different)
    if settings.finals is not None:
        return hold_finals(experiment, f"{FINALS}{whose}", different)
    return different[0]


def choose_on_fresh(
    experiment: Experiment, name: str, judged: SearchProblem, candidates: Sequence[Candidate]
) -> Candidate:
    """Return the candidate with the highest proxy on all search images, the fresh ones included; its proxy is that.

    candidates: with their proxies on the images that the search saw, best first. At a tie the first one wins. Writes
    records/NAME.json, from which a stopped run's choice is read, and a study of the same name.
    """
    record = experiment.folder.cached(
        f"records/{name}.json", ChoiceRecord, lambda: _judge(experiment, judged, candidates)
    )
    _note(experiment, name, record)
    chosen = next(one for one in record.candidates if one.chosen)
    return Candidate(chosen.trial, chosen.genome, Plan.from_dict(chosen.plan), chosen.proxy)


def _judge(experiment: Experiment, judged: SearchProblem, candidates: Sequence[Candidate]) -> ChoiceRecord:
    fitness = judged.fitness
    assert isinstance(fitness, TwoParts)
    assert experiment.search_parts is not None
    plans = [one.plan for one in candidates]

    def done(count: int, value: float) -> None:
        experiment.progress("choice", count, len(plans), f"{value_words(value)} on fresh images")

    whole = fitness(plans, done)
    judged.first_of(plans, "the choice")  # where all of them fail, that is said
    seen, fresh = fitness.seen(plans), fitness.fresh(plans)
    best = max(range(len(whole)), key=lambda place: (whole[place].value, -place))
    images = [len(part) for part in experiment.search_parts]
    criteria = _plans_of_criteria(judged)
    return ChoiceRecord(
        seen=images[0],
        fresh=images[1],
        criteria_seen=fmean(one.value for one in fitness.seen(criteria)),
        criteria_fresh=fmean(one.value for one in fitness.fresh(criteria)),
        seconds=round(sum(one.seconds for one in fresh), 3),
        passes=sum(one.passes for one in fresh),
        candidates=[
            ChoiceCandidate(
                trial=one.number,
                seen=seen[place].value,
                fresh=fresh[place].value,
                proxy=whole[place].value,
                digest=one.plan.digest,
                plan=one.plan.to_dict(),
                genome=dict(one.genome),
                chosen=place == best,
            )
            for place, one in enumerate(candidates)
            if not whole[place].failure
        ],
    )


def _plans_of_criteria(judged: SearchProblem) -> list[Plan]:
    """Return the plan of every criterion under the allocation that it is retrained with; judged in any case."""
    planner = judged.planner
    entered = enter_criteria(judged, planner.scores, CRITERION)[0].values()
    return [one.allocation.plan(planner.structure, planner.group_scores(one.blend), one.budget) for one in entered]


def _note(experiment: Experiment, name: str, record: ChoiceRecord) -> None:
    """Record every candidate in the study of the choice."""
    ledger = open_ledger(experiment, name)
    for number, one in enumerate(record.candidates):
        attrs = {"plan": one.digest, "trial": one.trial, "seen": one.seen, "fresh": one.fresh, "chosen": one.chosen}
        ledger.record(number, 0, one.genome, one.proxy, 0.0, attrs)
    ledger.close()


def summarise_choice(experiment: Experiment) -> ChoiceSummary:
    """Return what the choice of the blend came to."""
    record = experiment.folder.read_record(f"records/{CHOICE}.json", ChoiceRecord)
    found = record.candidates
    seen, fresh = fmean(one.seen for one in found), fmean(one.fresh for one in found)
    optimism = (seen - fresh) - (record.criteria_seen - record.criteria_fresh)
    return ChoiceSummary(
        candidates=len(found),
        seen=seen,
        fresh=fresh,
        optimism=optimism,
        proxy_was_right=found[0].chosen,
        sentence=(
            f"The search saw {record.seen} search images; the mean proxy of its {len(found)} best plans is "
            f"{seen:.4f} there and {fresh:.4f} on {record.fresh} fresh ones, that of the criteria "
            f"{record.criteria_seen:.4f} and {record.criteria_fresh:.4f}: it flatters itself by "
            f"{plain_points(optimism)} points. With the fresh ones its best plan "
            f"{'stays' if found[0].chosen else 'does not stay'} first."
        ),
    )
