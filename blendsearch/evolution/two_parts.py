"""Fitness on search images of which a search saw only a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from blendsearch.evolution.failure import FAILED, too_many
from blendsearch.evolution.fitness import Evaluation, FitnessFunction
from blendsearch.evolution.parallel import Failed
from blendsearch.structure import Plan


class TwoParts(FitnessFunction):
    """The mean of the fitness on the images that a search saw and on fresh ones, in which each image counts alike.

    share: of the images, that the search saw. Among a few good plans the mean decides and not the fresh part alone:
    that the search chose them by the seen part makes all of their values there too high, but hardly tells them
    apart otherwise, so each image of either part says as much about which is better.
    """

    def __init__(self, seen: FitnessFunction, fresh: FitnessFunction, share: float) -> None:
        self.seen, self.fresh, self.share = seen, fresh, share
        self.known: dict[str, tuple[float, float, int]] = {}
        self.failures: dict[str, Failed] = {}

    def __call__(
        self,
        plans: Sequence[Plan],
        done: Callable[[int, float], None] = lambda n, v: None,
        most_failed: int | None = None,
    ) -> list[Evaluation]:
        """Return the evaluations in the order of `plans`; `done(count, value)` is called as fresh ones finish."""
        pairs = zip(self.seen(plans), self.fresh(plans, done), strict=True)
        found = [self._both(seen, fresh) for seen, fresh in pairs]
        failures = [one.failure for one in found if one.failure is not None]
        if most_failed is not None and len(failures) > most_failed:
            raise too_many(len(failures), len(plans), failures[-1])
        for one in found:
            if one.failure is not None:
                self.failures[one.plan.digest] = one.failure
            else:
                self.known[one.plan.digest] = (one.value, one.seconds, one.passes)
        return found

    def _both(self, seen: Evaluation, fresh: Evaluation) -> Evaluation:
        failure = seen.failure or fresh.failure
        return Evaluation(
            plan=seen.plan,
            value=FAILED if failure else self.share * seen.value + (1 - self.share) * fresh.value,
            seconds=seen.seconds + fresh.seconds,
            passes=seen.passes + fresh.passes,
            repeated=seen.repeated and fresh.repeated,
            failure=failure,
        )
