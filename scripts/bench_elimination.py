"""What a set-aware blend's elimination costs beside the evaluation of its plan, by turns in one run; CPU seconds.

    python scripts/bench_elimination.py [--networks resnet20 resnet56] [--turns 5]

Random weights and images: the time of neither depends on them. An evaluation is the proxy `agreement`
(its default refit, 2,000 images) in bfloat16 and one thread, of a network at half of its FLOPs. Eliminations are
of new tilts, of which none is remembered; in a search about half of a child's units are those of a parent.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Blend
from blendsearch.compute import Compute
from blendsearch.criteria.elimination import NEEDS, drop_losses
from blendsearch.evolution.fitness import Planner
from blendsearch.models.zoo import MODELS
from blendsearch.proxies import PROXIES
from blendsearch.statistics import gather
from blendsearch.structure import Structure
from blendsearch.training import Compensation
from blendsearch.training.evaluation import evaluating

AGREEMENT = PROXIES.get("agreement")()
REFITTED, LOOKED_AT = AGREEMENT.images, 2000


def bench(name: str, turns: int) -> str:
    """Return a row of the table."""
    torch.manual_seed(0)
    network = MODELS.get(name)(num_classes=10, in_channels=3, image_size=32).eval()
    images, labels = torch.randn(REFITTED, 3, 32, 32), torch.randint(10, (REFITTED,))
    looked_at = torch.randn(LOOKED_AT, 3, 32, 32)
    structure = Structure.of(network, images[:2])
    compute = Compute.resolve("cpu", "bfloat16", True)
    statistics = gather(network, structure, list(zip(images.split(128), labels.split(128), strict=True)), NEEDS)
    losses = drop_losses(structure, statistics)
    for one in losses.values():
        one.losses()  # inverts the Gram matrices, once a search
    compensation = Compensation(network, structure, images, positions=AGREEMENT.positions, compute=compute)
    budget, allocation = Budget("flops", 0.5), ALLOCATIONS.get("uniform")()
    taken: dict[str, list[float]] = {"ranks": [], "set-aware": [], "evaluation": []}
    for _ in range(turns):
        scores = {"one": {group.name: torch.rand(group.width) for group in structure.groups}}
        scores["two"] = {group.name: torch.rand(group.width) for group in structure.groups}
        planner = Planner(structure, scores, allocation, budget, losses)
        factors = {"network": {"one": 0.5, "two": 0.5}}
        start = time.process_time()
        planner.plan(Blend("network", factors))
        taken["ranks"].append(time.process_time() - start)
        start = time.process_time()
        plan = planner.plan(Blend("network", factors, alpha={"network": 1.0}))
        taken["set-aware"].append(time.process_time() - start)
        start = time.process_time()
        sliced = compute.place(structure.slice(network, plan))
        compensation.refit(sliced, plan)
        with torch.no_grad(), evaluating(sliced), compute.autocast():
            for part in looked_at.split(500):
                sliced(compute.images(part))
        taken["evaluation"].append(time.process_time() - start)
    ranks, aware, evaluation = (median(taken[key]) for key in ("ranks", "set-aware", "evaluation"))
    return f"| {name} | {ranks:.3f} | {aware:.3f} | {evaluation:.2f} | {aware / evaluation:.1%} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet20", "resnet56"])
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | plan of a rank blend (s) | of a set-aware one (s) | evaluation (s) | share |")
    print("|---|---|---|---|---|")
    for name in given.networks:
        print(bench(name, given.turns), flush=True)


if __name__ == "__main__":
    main()
