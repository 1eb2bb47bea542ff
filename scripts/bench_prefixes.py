"""What taking up candidates where they part from earlier ones saves: the plans of a search, read both ways by turns.

    python scripts/bench_prefixes.py search_spaces/mnist_5k.yaml
    python scripts/bench_prefixes.py SPACE.yaml [KEY=VALUE]...

Runs the space's search in one process up to what would be retrained, notes every plan in the order in which it was
evaluated (search, criteria, rivals, swaps), and evaluates all of them once more, each with and without what earlier
ones left. Prints CPU seconds of both, and whether all values are equal to the last bit.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from blendsearch.campaigns.search import run as campaign
from blendsearch.campaigns.search.run import run_search
from blendsearch.config import Space
from blendsearch.evolution.fitness import FitnessFunction
from blendsearch.proxies import Proxy
from blendsearch.proxies.prefixes import Prefixes
from blendsearch.structure import Plan
from blendsearch.validation.space import load_checked


class Enough(Exception):
    """Ends a campaign before anything is retrained."""


def plans_of(space: Space) -> tuple[list[Plan], Proxy]:
    """Return the different plans of a space's campaign in the order of their evaluation, and its prepared proxy."""
    plans: dict[str, Plan] = {}
    proxies: list[Proxy] = []
    evaluate = FitnessFunction._evaluate

    def noted(self: FitnessFunction, given: list[Plan], *rest: object) -> object:
        proxies.append(self.pool.work.state)
        for plan in given:
            plans.setdefault(plan.digest, plan)
        return evaluate(self, given, *rest)

    def enough(*rest: object) -> None:
        raise Enough

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(FitnessFunction, "_evaluate", noted),
        patch.object(campaign, "retrain_contenders", enough),
        contextlib.suppress(Enough),
    ):
        run_search(space, Path(folder) / "run")
    return list(plans.values()), proxies[0]


def seconds_of(proxy: Proxy, plan: Plan) -> tuple[float, float]:
    """Return a plan's value, and the CPU seconds of slicing and estimating it."""
    start = time.process_time()
    context = proxy.context
    network = context.structure.slice(context.network, plan)
    found = proxy.estimate(network, plan) if context.racing is None else proxy.race(network, plan, None)
    return found.value, time.process_time() - start


def main() -> None:
    """Note the plans, evaluate them both ways, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_intermixed_args()
    space = load_checked(given.space, [*given.changes, "compute.workers=1"])
    if space.proxy.name == "average":
        parser.error("proxy: average takes nothing up by itself; give one of its proxies")
    plans, proxy = plans_of(space)
    taking_up, plain = (copy.copy(proxy) for _ in range(2))
    taking_up.prefixes, plain.prefixes = Prefixes(proxy.prefixes.cuts), Prefixes([])
    cuts = ", ".join(f"{cut.module} ({cut.share:.0%})" for cut in proxy.prefixes.cuts)
    print(f"{len(plans)} plans; places: {cuts}")
    seconds, equal, most = {"whole": 0.0, "taken up": 0.0}, True, 0
    for plan in plans:
        whole, one = seconds_of(plain, plan)
        same, other = seconds_of(taking_up, plan)
        seconds["whole"] += one
        seconds["taken up"] += other
        equal &= whole == same
        most = max(most, taking_up.prefixes.bytes)
    print(f"CPU seconds: whole {seconds['whole']:.1f}, taken up {seconds['taken up']:.1f}, "
          f"ratio {seconds['taken up'] / seconds['whole']:.2f}")  # fmt: skip
    print(f"parts of images taken up: {taking_up.prefixes.skipped}; most kept: {most / 2**20:.0f} MB")
    print(f"all values equal to the last bit: {'yes' if equal else 'NO'}")


if __name__ == "__main__":
    main()
