"""What gathering and scoring cost, criterion by criterion, in plain forward-backward passes over the same images.

Usage: .venv/bin/python scripts/bench_criteria.py [--model resnet56] [--images 256] [--batch 128] [--threads 1]

Each criterion alone pays for the common pass; its share is what it adds to that. Torch-Pruning's importances, each
with what it needs, stand beside. Images are random: costs do not depend on what they show. LRP takes ten images of
each class by default, whatever their number; its cost with all of them stands in a line of its own. Times are
seconds of the processor, each between two plain passes; what is gathered without scoring has a line of its own.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Callable, Sequence
from statistics import median

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.criteria import CRITERIA, applicable, measures_of, names, score_groups
from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.models.zoo import MODELS
from blendsearch.statistics import gather
from blendsearch.statistics.relevance import PER_CLASS
from blendsearch.structure import Structure
from blendsearch.structure.dependencies import dependency_graph

Data = list[tuple[Tensor, Tensor]]
ELIMINATIONS = ("obs", "obs_fisher")
"""Criteria that drop filter after filter, each with a refit: most of what they cost is no pass."""


def seconds(action: Callable[[], object]) -> float:
    """Time an action once, in seconds of the processor: what else runs on the machine does not count."""
    start = time.process_time()
    action()
    return time.process_time() - start


def forward_backward(network: nn.Module, data: Data) -> None:
    """Run the plain pass that is the unit of all costs, in evaluation mode as the statistics do."""
    for images, labels in data:
        F.cross_entropy(network(images), labels).backward()
        network.zero_grad(set_to_none=True)


def torch_pruning(network: nn.Module, data: Data) -> dict[str, Callable[[], object]]:
    """Return Torch-Pruning's importances, each with the passes it asks for."""
    graph = dependency_graph(network, data[0][0][:2])
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    groups = [graph.get_pruning_group(m, tp.prune_conv_out_channels, list(range(m.out_channels))) for m in convs]
    groups = [g for g in groups if not any(isinstance(d.target.module, ZeroPadShortcut) for d, _ in g)]

    def score(importance: Callable[[object], object]) -> None:
        for group in groups:
            importance(group)

    def taylor() -> None:
        for images, labels in data:
            F.cross_entropy(network(images), labels).backward()
        score(tp.importance.GroupTaylorImportance())
        network.zero_grad()

    def hessian() -> None:
        importance = tp.importance.GroupHessianImportance()
        images, labels = data[0][0][:64], data[0][1][:64]
        losses = F.cross_entropy(network(images), labels, reduction="none")
        for loss in losses:
            network.zero_grad()
            loss.backward(retain_graph=True)
            importance.accumulate_grad(network)
        score(importance)

    return {
        "magnitude": lambda: score(tp.importance.GroupMagnitudeImportance()),
        "lamp": lambda: score(tp.importance.LAMPImportance()),
        "fpgm": lambda: score(tp.importance.FPGMImportance()),
        "taylor": taylor,
        "hessian (64 images)": hessian,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet56", choices=MODELS.names())
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--each", action="store_true", help="also time every criterion by itself")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    network = MODELS.get(arguments.model)(num_classes=10, in_channels=3, image_size=32).eval()
    images, labels = torch.randn(arguments.images, 3, 32, 32), torch.randint(0, 10, (arguments.images,))
    data = list(zip(images.split(arguments.batch), labels.split(arguments.batch), strict=True))
    structure = Structure.of(network, images[:2])
    plain = copy.deepcopy(network)
    forward_backward(plain, data[:1])

    def ratio(action: Callable[[], object]) -> float:
        """Return the median of ratios to plain passes right before and after, so that other load cancels."""
        found = []
        for _ in range(arguments.repeats):
            before, own, after = (seconds(run) for run in (unit, action, unit))
            found.append(2 * own / (before + after))
        return median(found)

    def unit() -> None:
        forward_backward(plain, data)

    def cost(criteria: Sequence[str], per_class: int | None = PER_CLASS, *, scoring: bool = True) -> float:
        def run() -> None:
            found = gather(network, structure, data, measures_of(criteria), relevance_per_class=per_class)
            if not scoring:
                return
            usable = [name for name in criteria if name not in applicable(criteria, structure, found)]
            score_groups(structure, found, usable)

        return ratio(run)

    def show(what: str, value: float, note: str = "") -> None:
        print(f"{what:38s} {value:8.3f} x  {note}".rstrip(), flush=True)

    families = {name: CRITERIA.get(name)().family for name in names()}
    others = [name for name, family in families.items() if family not in ("relevance", "ratings")]
    relevance = [name for name, family in families.items() if family == "relevance"]
    print(f"{arguments.model}, {arguments.images} images, {arguments.threads} threads; 1 x = {seconds(unit):.2f} s")
    plainly = [name for name in others if name not in ELIMINATIONS]
    show(f"all {len(plainly)} but relevance, obs", cost(plainly), "target 2.5")
    show(f"all {len(others)} but relevance", cost(others), f"with {', '.join(ELIMINATIONS)}")
    show("  gathered for them alone", cost(others, scoring=False))
    taken = sum(min(PER_CLASS, int(count)) for count in labels.bincount())
    show(f"relevance, {len(relevance)} criteria", cost(relevance), f"target 2; LRP on {taken} of {len(labels)} images")
    show(f"relevance, {len(relevance)} criteria, all images", cost(relevance, None))
    if arguments.each:
        common = {"activations": cost(["activation_mean"]), "gradients": cost(["taylor"])}
        show("common pass, forward (mean)", common["activations"])
        show("common pass, forward and backward (taylor)", common["gradients"])
        for name in others + relevance:
            own = cost([name])
            added = f"adds {own - common[families[name]]:+.3f}" if families[name] in common else ""
            show(f"  {name}", own, added)
    for name, action in torch_pruning(plain, data).items():
        show(f"torch-pruning {name}", ratio(action))


if __name__ == "__main__":
    main()
