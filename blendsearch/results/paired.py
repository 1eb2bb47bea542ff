"""The honest comparison: paired differences between the blend and the criteria, and whether the proxy told true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy import stats

from blendsearch.results.records.common import Averages, Bounds, Difference, FidelityRecord
from blendsearch.results.records.retraining import (
    BLEND,
    CRITERION,
    RANDOM_SEARCH,
    RIVAL,
    RIVAL_WORDS,
    RetrainingOutcome,
)
from blendsearch.results.records.search import Comparison, Named
from blendsearch.results.redrawn import Redrawn, redraw
from blendsearch.results.words import join_words, plural, verdict_sentence

Outcomes = Sequence[RetrainingOutcome]
EQUAL, UNDECIDED = "equal", "undecided"
NOT_SHOWN = ("no difference shown", EQUAL, UNDECIDED)
"""Verdicts that show no difference; the first is that of older versions, which told no more."""
MARGIN = 0.005
"""A difference of test accuracies that hardly anyone would act upon: intervals within it mean equal."""
MOST_SEEDS, USUAL_SEEDS = 20, 8
"""How many seeds may be recommended, and how many where not even the most would tell."""
MOST_IMAGES = 50
"""How many times as many test images may be recommended."""


def average(outcomes: Outcomes, name: str, kind: str) -> Averages:
    """Average one contender over its seeds."""
    own = [one for one in outcomes if (one.name, one.kind) == (name, kind)]
    steps = [one.steps for one in own if one.steps is not None]
    pruned = [one.pruned_test_accuracy for one in own if one.pruned_test_accuracy is not None]
    return Averages(
        search_accuracy=fmean(one.search_accuracy for one in own),
        test_accuracy=fmean(one.test_accuracy for one in own),
        flops_ratio=fmean(one.flops_ratio for one in own),
        params_ratio=fmean(one.params_ratio for one in own),
        test_accuracy_std=deviation([one.test_accuracy for one in own]),
        steps=fmean(steps) if steps else None,
        pruned_test_accuracy=fmean(pruned) if len(pruned) == len(own) else None,
    )


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, or None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def interval(differences: Sequence[float]) -> Bounds | None:
    """Return the 95 % interval of the mean of paired differences (Student's t).

    None for fewer than two, and for differences that are all alike: no width would look like certainty.
    """
    if len({round(difference, 12) for difference in differences}) < 2:
        return None
    low, high = stats.t.interval(0.95, len(differences) - 1, loc=fmean(differences), scale=stats.sem(differences))
    return (max(-1.0, float(low)), min(1.0, float(high)))


def verdict_of(bounds: Bounds | None, seeds: int = 1) -> str:
    """Return what an interval of a difference says: "beats", "worse", "equal" (see MARGIN) or "undecided"."""
    if bounds is None:
        return "not tested (one seed)" if seeds < 2 else "not tested (seeds alike)"
    if bounds[0] > 0:
        return "beats"
    if bounds[1] < 0:
        return "worse"
    return EQUAL if max(-bounds[0], bounds[1]) <= MARGIN else UNDECIDED


def pair_by_seed(outcomes: Outcomes, name: str, kind: str = CRITERION, of: str = BLEND) -> list[float]:
    """Return the blend's (of: name and kind of what stands in its place) test accuracy minus another's, by seed."""
    tests = {(one.kind, one.name, one.seed): one.test_accuracy for one in outcomes}
    seeds = sorted({one.seed for one in outcomes if one.kind == of})
    return [tests[of, of, seed] - tests[kind, name, seed] for seed in seeds]


def compare_pairs(differences: Sequence[float], baseline: str | None = None) -> Difference:
    """Return mean, interval and verdict of paired differences; of the blend minus a baseline a sentence, too."""
    bounds, mean = interval(differences), fmean(differences)
    verdict = verdict_of(bounds, len(differences))
    sentence = baseline and verdict_sentence("the blend", baseline, mean, bounds, verdict, len(differences))
    return Difference(difference=mean, interval=bounds, verdict=verdict, sentence=sentence)


@dataclass(frozen=True)
class Judge:
    """Holds the blend against whatever was retrained beside it, by seeds and, where they are known, by test images.

    of: name and kind of what is judged. redrawn: None where there is one training of each and so no test: what one
    training's luck does is not to be seen. images: of the test split; None where it is not known which were right.
    untrained: whether nothing was retrained.
    """

    outcomes: Outcomes
    of: str
    redrawn: Redrawn | None
    seeds: int
    images: int | None
    untrained: bool = False

    @classmethod
    def of_outcomes(cls, outcomes: Outcomes, of: str = BLEND) -> Judge:
        """Return the judge of retrainings; seeds that are all alike, as they may be without training, count as one."""
        others = dict.fromkeys((one.kind, one.name) for one in outcomes if one.kind != of)
        seeds = len({one.seed for one in outcomes if one.kind == of})
        untrained = all(one.steps == 0 for one in outcomes)
        known = all(one.correct is not None for one in outcomes)
        each = {_key(*other): _differences(outcomes, *other, of, known=known) for other in others}
        images = next(iter(each.values())).shape[1] if known and each else None
        tested = each and (seeds > 1 or (untrained and known))
        alike = known and all((one == one[0]).all() for one in each.values())
        return cls(outcomes, of, redraw(each) if tested else None, 1 if alike else seeds, images, untrained)

    @property
    def basis(self) -> str | None:
        """What intervals come from, in words; None where there are none."""
        if self.redrawn is None:
            return None
        seeds = [] if self.seeds == 1 else [plural(self.seeds, "paired seed")]
        return join_words([*seeds, *([plural(self.images, "test image")] if self.images else [])])

    def against(self, name: str, kind: str, baseline: str | None = None) -> Difference:
        """Return the difference from another, for itself; where a baseline is named with a sentence."""
        bounds = None if self.redrawn is None else self.redrawn.alone(_key(kind, name))
        return self._difference(name, kind, baseline, bounds, self.basis)

    def against_best(self, best: str, names: Sequence[str]) -> Difference:
        """Return the difference from the best criterion, with the 95 % interval of that from whichever is truly best.

        Its lower end is the lowest of all criteria's own: who beats the truly best beats each, so each must be tested
        and none was chosen. Its upper end holds for all at once: one that is ahead by luck among many counts for less.
        Source: Berger, Technometrics 1982 (intersection-union test); Hsu, 1996, Multiple Comparisons (with the best).
        """
        basis = self.basis and f"{self.basis}, corrected for the choice among {len(names)}"
        baseline = f"the best criterion in hindsight ({best})"
        return self._difference(best, CRITERION, baseline, self._against_truly_best(names), basis)

    def _against_truly_best(self, names: Sequence[str]) -> Bounds | None:
        if self.redrawn is None:
            return None
        keys = [_key(CRITERION, name) for name in names]
        alone = [self.redrawn.alone(key) for key in keys]
        together = self.redrawn.together(keys).values()
        lows = [bounds[0] for bounds in alone if bounds is not None]
        highs = [bounds[1] for bounds in together if bounds is not None]
        # Where nothing varies, there is no doubt to add to the difference.
        unmoved = [name for name, one in zip(names, alone, strict=True) if one is None]
        still = [fmean(pair_by_seed(self.outcomes, name, CRITERION, self.of)) for name in unmoved]
        return (min([*lows, *still]), min([*highs, *still])) if lows else None

    def _difference(
        self, name: str, kind: str, baseline: str | None, bounds: Bounds | None, basis: str | None
    ) -> Difference:
        mean = fmean(pair_by_seed(self.outcomes, name, kind, self.of))
        if name in same_filters(self.outcomes, kind, self.of):
            sentence = baseline and f"The blend keeps the same filters as {baseline}."
            return Difference(difference=mean, interval=bounds, verdict=EQUAL, sentence=sentence)
        if bounds is None and self.redrawn is not None and self.images and mean == 0:
            sentence = baseline and f"The blend and {baseline} are right on the very same test images."
            return Difference(difference=mean, verdict=EQUAL, sentence=sentence)
        verdict = verdict_of(bounds, self.seeds)
        remedy = self.remedy(_key(kind, name), mean, bounds)
        sentence = baseline and verdict_sentence(
            "the blend", baseline, mean, bounds, verdict, self.seeds, basis, remedy, not self.untrained
        )
        return Difference(difference=mean, interval=bounds, verdict=verdict, sentence=sentence)

    def remedy(self, key: str, mean: float, bounds: Bounds | None) -> str:
        """Return what would tell whether a difference is one; "" where it is told, or nothing would."""
        if bounds is None:
            return "" if self.redrawn is not None or self.untrained else self._more_seeds(3, None)
        if verdict_of(bounds) != UNDECIDED or self.redrawn is None:
            return ""
        of_seeds, of_images = self.redrawn.parts(key)
        wider = (bounds[1] - bounds[0]) / 2 / max(float(np.hypot(of_seeds, of_images)), 1e-12)
        of_seeds, of_images = wider * of_seeds, wider * of_images
        wanted = max(abs(mean), MARGIN)
        if self.seeds > 1:
            reaches = {
                seeds: float(np.hypot(of_seeds * _narrowing(self.seeds, seeds), of_images))
                for seeds in range(self.seeds + 1, MOST_SEEDS + 1)
            }
            enough = next((seeds for seeds, reach in reaches.items() if reach < wanted), USUAL_SEEDS)
            if enough in reaches and reaches[enough] < 0.8 * float(np.hypot(of_seeds, of_images)):
                return self._more_seeds(enough, reaches[enough])
        times = (of_images / wanted) ** 2
        if self.images and 1 < times <= MOST_IMAGES and (self.seeds == 1 or of_images > of_seeds):
            return f"about {_round_up(times * self.images)} test images would tell"
        return ""

    @staticmethod
    def _more_seeds(seeds: int, reach: float | None) -> str:
        does = "give an interval" if reach is None else f"narrow the interval to about ±{100 * reach:.2f}"
        return f"`--resume retraining.seeds={seeds}` would {does}"


def _narrowing(seeds: int, more: int) -> float:
    """Return the share of an interval's width that is left with more seeds of equal spread."""
    reach = {count: stats.t.ppf(0.975, count - 1) / np.sqrt(count) for count in (seeds, more)}
    return float(reach[more] / reach[seeds])


def _round_up(number: float) -> str:
    """Return a number with two digits, rounded up, for example '2,300'."""
    size = 10 ** max(0, len(str(int(number))) - 2)
    return f"{int(np.ceil(number / size)) * size:,}"


def compare_two(own: Outcomes, other: Outcomes) -> Difference:
    """Return the difference of two contenders alone, each given by its retrainings."""
    blend = [one.model_copy(update={"kind": BLEND, "name": BLEND}) for one in own]
    beside = [one.model_copy(update={"kind": CRITERION, "name": "other"}) for one in other]
    return Judge.of_outcomes([*blend, *beside]).against("other", CRITERION)


def _key(kind: str, name: str) -> str:
    return f"{kind} {name}"


def _differences(outcomes: Outcomes, kind: str, name: str, of: str, *, known: bool) -> np.ndarray:
    """Return right or not of what is judged minus another's, [seeds, images]; of accuracies [seeds, 1]."""
    if not known:
        return np.array(pair_by_seed(outcomes, name, kind, of))[:, None]

    def masks(kind: str, name: str) -> np.ndarray:
        own = sorted((one for one in outcomes if (one.kind, one.name) == (kind, name)), key=lambda one: one.seed)
        return np.stack([one.correct.mask for one in own if one.correct is not None])

    return masks(of, of) - masks(kind, name)


def compare(judge: Judge, without_search: str | None = None, *, improved: bool = False) -> Comparison:
    """Compare the blend with the best criterion in hindsight, with each criterion, each rival and the random search.

    without_search: the criterion that the proxy puts first, which one would have taken without a search. improved:
    whether the search went on with its best plan filter by filter, which a random search does not.

    The best in hindsight is chosen by the very numbers compared: among many criteria one is high by luck. Its interval
    allows for that, see `Judge.against_best`; the others were chosen before the test images were read.
    """
    outcomes = judge.outcomes
    names = sorted({one.name for one in outcomes if one.kind == CRITERION})
    best = max(names, key=lambda name: average(outcomes, name, CRITERION).test_accuracy)
    found = judge.against_best(best, names)
    sentence, twins = str(found.sentence), same_filters(outcomes, CRITERION, judge.of)
    others = [name for name in twins if name != best]
    if others:
        sentence += f" The blend keeps the same filters as {join_words(others)}."
    if twins:
        sentence = f"{sentence.removesuffix('.')}: the search found nothing better."
    first = without_search and Named(
        name=without_search,
        **judge.against(
            without_search, CRITERION, f"the criterion that the proxy chooses without a search ({without_search})"
        ).model_dump(),
    )
    return Comparison(
        best_criterion=best,
        among=len(names),
        basis=judge.basis,
        difference=found.difference,
        interval=found.interval,
        verdict=found.verdict,
        sentence=sentence,
        same_filters=twins,
        differences={name: judge.against(name, CRITERION) for name in names},
        without_search=first or None,
        rivals={
            name: judge.against(name, RIVAL, RIVAL_WORDS.get(name, name))
            for name in dict.fromkeys(one.name for one in outcomes if one.kind == RIVAL)
        },
        random_search=_against_random_search(judge, improved=improved),
    )


def _against_random_search(judge: Judge, *, improved: bool) -> Difference | None:
    """Compare the blend with the best of a random search, where one was retrained."""
    name = next((one.name for one in judge.outcomes if one.kind == RANDOM_SEARCH), None)
    cost = "with as many evaluations as the search before it improved its plan" if improved else "of equal cost"
    baseline = f"the best of a random search {cost}, which starts from the criteria too"
    return None if name is None else judge.against(name, RANDOM_SEARCH, baseline)


def same_filters(outcomes: Outcomes, kind: str = CRITERION, of: str = BLEND) -> list[str]:
    """Return the names of contenders that keep exactly the filters of the blend (see `pair_by_seed`), in every seed."""

    def plans(name: str, kind: str) -> list[object]:
        return [one.plan for one in outcomes if (one.name, one.kind) == (name, kind)]

    own = plans(of, of)
    names = dict.fromkeys(one.name for one in outcomes if one.kind == kind)
    return [name for name in names if own and None not in own and plans(name, kind) == own]


def measure_fidelity(
    proxies: Mapping[str, float], truths: Mapping[str, float], *, draws: int = 2000
) -> FidelityRecord | None:
    """Return Kendall's tau between proxy and retrained accuracy, with a 95 % bootstrap interval over contenders.

    proxies, truths: contender -> value; those of `truths` are looked at. None when fewer than three of them differ.
    Where no two are in the other order, none are in whatever is drawn of them, and the bootstrap looks like certainty:
    three are in one order by chance one time in six. The interval then reaches as far as `_bound_of_order` says.
    """
    names = sorted(truths)
    x, y = np.array([proxies[n] for n in names]), np.array([truths[n] for n in names])
    if len(names) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    pick = np.random.default_rng(0).integers(0, len(names), (draws, len(names)))
    low, high = np.nanpercentile(_tau_b(x[pick], y[pick]), [2.5, 97.5])
    tau = float(stats.kendalltau(x, y).statistic)
    orders = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    if len(set(orders[orders != 0])) == 1:
        bound = _bound_of_order(min(len(set(x)), len(set(y))))
        low, high = (min(low, bound), high) if tau > 0 else (low, max(high, -bound))
    return FidelityRecord(tau=tau, interval=(float(low), float(high)), candidates=len(names))


def _bound_of_order(different: int) -> float:
    """Return the least tau that is in accord with contenders of so many different values that are all in one order.

    Pairs that share no contender are independent, each in that order with probability (1 + tau) / 2.
    Source: the exact interval of a share (Clopper & Pearson, Biometrika 1934) where all cases are alike.
    """
    return float(2 * 0.025 ** (1 / (different // 2)) - 1)


def _tau_b(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of each row [draws, n]; nan where a row does not vary."""
    order_x = np.sign(x[:, :, None] - x[:, None, :])
    order_y = np.sign(y[:, :, None] - y[:, None, :])
    pairs = np.sqrt((order_x**2).sum((1, 2)) * (order_y**2).sum((1, 2)))
    with np.errstate(invalid="ignore"):
        return (order_x * order_y).sum((1, 2)) / pairs
