"""Does a network trained for a quarter of its epochs order its layers by sensitiveness as the finished one does?

Usage: .venv/bin/python scripts/reproduce_sensitivity.py [SPACE.yaml] [KEY=VALUE ...] [--seeds 5] [--out FILE.json]
       .venv/bin/python scripts/reproduce_sensitivity.py SPACE.yaml [KEY=VALUE ...] --weights EARLY FINAL

The claim of SBPF (Lu et al., arXiv 2208.04588, 2022), as Spearman's rho between the layers' sensitiveness early in a
training and at its end. The network of the space is trained once for each seed, and looked at after `--share` of the
epochs and at the end; or two weights files of your own are compared. The two measurements draw noise of their own, so
that they do not agree only because the damage was the same. Conv-4 has four layers: rho is then one of eleven values
and exceeds 0.75 by chance in one of six orders, so that it takes several seeds to say anything.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import spearmanr
from torch import nn

from blendsearch.allocation.sensitivity import Sensitivity
from blendsearch.errors import BlendsearchError
from blendsearch.experiment import Experiment
from blendsearch.models.weights import load_weights
from blendsearch.progress import silent
from blendsearch.training import train
from blendsearch.training.evaluation import evaluate
from blendsearch.validation.space import load_checked

DEFAULT = Path(__file__).parent.parent / "search_spaces" / "sbpf_digits.yaml"


class KeptAt:
    """A checkpoint store that keeps the weights after one epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.weights: dict[str, Any] = {}

    def load(self) -> None:
        """Start anew."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep the weights if this is the epoch."""
        if state["epoch"] == self.epoch:
            self.weights = copy.deepcopy(state["network"])


def train_and_keep_early(experiment: Experiment, share: float) -> tuple[nn.Module, nn.Module]:
    """Train the experiment's network; return it as it was after a share of the epochs and at the end."""
    settings = experiment.space.training
    store = KeptAt(max(1, round(share * settings.epochs)))
    seed, compute = experiment.seed("training"), experiment.compute
    train(experiment.network, experiment.splits.train, settings, seed=seed, compute=compute, checkpoint=store)
    early = copy.deepcopy(experiment.network)
    early.load_state_dict(store.weights)
    return early, experiment.network


def load_both(experiment: Experiment, files: list[str]) -> tuple[nn.Module, nn.Module]:
    """Return the experiment's network with the weights of each of two files."""
    early, final = copy.deepcopy(experiment.network), experiment.network
    load_weights(early, files[0])
    load_weights(final, files[1])
    return early, final


def compare(experiment: Experiment, early: nn.Module, final: nn.Module) -> dict[str, Any]:
    """Measure both networks; return accuracies on the search split, sensitiveness of both, and rho."""
    measured, accuracies = [], []
    for name, network in (("early", early), ("final", final)):
        network = experiment.compute.place(network).eval()
        allocation = experiment.allocation if isinstance(experiment.allocation, Sensitivity) else Sensitivity()
        seed = experiment.seed("allocation", name)
        allocation.prepare(
            network, experiment.structure, experiment.splits.search, compute=experiment.compute, seed=seed
        )
        measured.append(allocation.sensitiveness)
        accuracies.append(evaluate(network, experiment.splits.search.batches(500), experiment.compute).accuracy)
    rho = float(spearmanr(list(measured[0].values()), list(measured[1].values())).statistic)
    return {
        "seed": experiment.space.seed,
        "accuracy": dict(zip(("early", "final"), accuracies, strict=True)),
        "early": measured[0],
        "final": measured[1],
        "spearman": None if rho != rho else rho,  # not a number where all layers are alike
    }


def show(result: dict[str, Any]) -> None:
    """Print one comparison."""
    early, final = result["early"], result["final"]
    accuracy = ", ".join(f"{name} {100 * value:.2f} %" for name, value in result["accuracy"].items())
    rho = "undefined" if result["spearman"] is None else f"{result['spearman']:.2f}"
    print(f"seed {result['seed']}: accuracy {accuracy}; Spearman's rho {rho} over {len(final)} layers")
    for group in final:
        print(
            f"    {group:24s} early {100 * early[group]:7.2f}   final {100 * final[group]:7.2f} points lost", flush=True
        )


def main() -> None:
    """Measure, print, and write the numbers where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("space", nargs="?", default=str(DEFAULT))
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.25, help="of the epochs, after which the network is early")
    parser.add_argument("--weights", nargs=2, metavar=("EARLY", "FINAL"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_intermixed_args()
    space = load_checked(given.space, given.overrides)
    seeds = [space.seed] if given.weights else list(range(space.seed, space.seed + given.seeds))
    results = []
    for seed in seeds:
        experiment = Experiment(space.model_copy(update={"seed": seed}), silent)
        pair = load_both(experiment, given.weights) if given.weights else train_and_keep_early(experiment, given.share)
        results.append(compare(experiment, *pair))
        show(results[-1])
    known = [result["spearman"] for result in results if result["spearman"] is not None]
    mean = fmean(known) if known else None
    print("no rho is defined" if mean is None else f"mean of Spearman's rho over {len(known)}: {mean:.2f}")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(
            json.dumps({"share": given.share, "mean_spearman": mean, "results": results}, indent=1) + "\n"
        )


if __name__ == "__main__":
    try:
        main()
    except BlendsearchError as error:
        sys.exit(str(error))
