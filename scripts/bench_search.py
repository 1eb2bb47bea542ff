"""How long this engine's search takes to come as far as the loop that everyone writes: several seeds, by turns.

    python scripts/bench_search.py search_spaces/mnist_5k.yaml [--evaluations 120] [--seeds 5] [KEY=VALUE ...]

The usual loop: DEAP's eaSimple over one weight a criterion; a candidate is a deepcopy cut by Torch-Pruning's pruner by
the weighted sum of scaled scores, batch norm recalibrated and accuracy read through a DataLoader over image files.
This engine searches blends of the same scores with the same proxy (bn_recalibrated), shares and images, as the space
says (of layers, set-aware), until its best is as good as the loop's last best. Both have the trained network and the
scores given; seconds are of one core.
"""

from __future__ import annotations

import argparse
import copy
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch_pruning as tp
from compare_algorithms import Problem
from deap import algorithms, base, creator, tools
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from blendsearch.compute import Compute, child_seed
from blendsearch.data.batches import ImageTensors
from blendsearch.evolution.algorithms import ALGORITHMS, Settings
from blendsearch.experiment import Experiment, open_run
from blendsearch.experiment.problem import starting_genomes
from blendsearch.progress import silent
from blendsearch.training.evaluation import evaluate, recalibrate
from blendsearch.validation.space import load_checked

CRITERIA = ["l1", "fpgm", "taylor", "gradient_norm", "fisher", "activation_std", "apoz", "bn_scale"]
POPULATION, BATCH = 24, 250


class Scored(tp.importance.Importance):
    """The weighted sum of scaled scores of the convolution whose filters a group of Torch-Pruning's removes."""

    def __init__(self, weights: list[float], scores: list[dict[str, Tensor]], names: dict[nn.Module, str]) -> None:
        self.weights, self.scores, self.names = weights, scores, names

    def __call__(self, group: tp.Group) -> Tensor:
        """Return the importance of each filter, [C]."""
        name = next(self.names[one.dep.layer] for one in group if one.dep.layer in self.names)
        return sum(w * score[name] for w, score in zip(self.weights, self.scores, strict=True))


def written(split: ImageTensors, folder: Path) -> Path:
    """Write a split's images as files in class folders."""
    for number, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
        file = folder / f"{label:03d}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze(0).numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()).save(file)
    return folder


class UsualLoop:
    """The loop that everyone writes, over one experiment's network and scores."""

    def __init__(self, problem: Problem, experiment: Experiment, folder: Path) -> None:
        planner = problem.problem.planner
        self.network, self.structure = experiment.network, planner.structure
        self.plan = planner.plan(problem.genomes.decode(problem.initial[0]))  # for its counts
        self.scores = [
            {name: (one - one.min()) / (one.max() - one.min() + 1e-12) for name, one in scores.items()}
            for scores in planner.scores.values()
        ]
        calibration, search = experiment.splits.calibration, experiment.splits.search
        channels = calibration.images.shape[1]
        shape = [transforms.Grayscale(channels), transforms.ToTensor()]
        change = transforms.Compose([*shape, transforms.Normalize(calibration.mean, calibration.std)])
        self.calibration = ImageFolder(str(written(calibration, folder / "calibration")), change)
        self.search = ImageFolder(str(written(search, folder / "search")), change)
        self.example = next(search.batches(1))[0]

    def fitness(self, weights: list[float]) -> tuple[float]:
        """Return the accuracy of the candidate that criteria's weights stand for."""
        network = copy.deepcopy(self.network).eval()
        names = {network.get_submodule(group.name): group.name for group in self.structure.groups}
        widths, counts = self.structure.widths, self.plan.counts
        ratios = {module: 1 - (counts[name] + 1e-3) / widths[name] for module, name in names.items()}
        heads = [module for module in network.modules() if isinstance(module, nn.Linear)]
        pruner = tp.pruner.MetaPruner(
            network,
            self.example,
            importance=Scored(weights, self.scores, names),
            pruning_ratio_dict=ratios,
            ignored_layers=heads,
        )
        pruner.step()
        recalibrate(network, iter(DataLoader(self.calibration, batch_size=BATCH)), Compute())
        return (evaluate(network, iter(DataLoader(self.search, batch_size=BATCH)), Compute()).accuracy,)

    def run(self, evaluations: int, seed: int) -> tuple[float, int]:
        """Search; return the best accuracy and after how many evaluations the search ended."""
        random.seed(seed)
        toolbox = base.Toolbox()
        toolbox.register("gene", random.random)
        toolbox.register("individual", tools.initRepeat, creator.Weights, toolbox.gene, len(self.scores))
        toolbox.register("evaluate", self.fitness)
        toolbox.register("mate", tools.cxTwoPoint)
        toolbox.register("mutate", mutate)
        toolbox.register("select", tools.selTournament, tournsize=3)
        population, best = tools.initRepeat(list, toolbox.individual, POPULATION), tools.HallOfFame(1)
        done = 0
        while done < evaluations:  # a generation at a time: how many it evaluates is chance
            population, log = algorithms.eaSimple(
                population, toolbox, cxpb=0.7, mutpb=0.3, ngen=1, halloffame=best, verbose=False
            )
            done += sum(log.select("nevals"))
        return best[0].fitness.values[0], done


def mutate(weights: list[float]) -> tuple[list[float]]:
    """Change some weights a little; they stay between 0 and 1."""
    tools.mutGaussian(weights, mu=0, sigma=0.2, indpb=0.3)
    weights[:] = [min(1.0, max(0.0, one)) for one in weights]
    return (weights,)


@dataclass(frozen=True)
class Reached:
    """What a search came to."""

    best: float
    evaluations: int
    seconds: float


def engine(problem: Problem, target: float, most: int, seed: int) -> tuple[Reached, Reached]:
    """Return when this engine's search came to the target, and what it had come to after `most` evaluations."""
    problem.problem.fitness.load_state_dict({})
    settings = Settings(population=POPULATION, mutation=0.5)
    kind = ALGORITHMS.get("generational")
    initial = list(starting_genomes(problem.problem.planner, problem.genomes).values())
    algorithm = kind(problem.genomes, seed=child_seed(seed, "search"), initial=initial, settings=settings)
    start, done, first = time.process_time(), 0, None

    def watch(count: int, value: float) -> None:
        nonlocal first
        if first is None and value >= target:
            first = Reached(value, done + count, time.process_time() - start)

    while done < most or (first is None and done < 5 * most):
        genomes = algorithm.ask(POPULATION)
        plans = [problem.problem.plan(problem.genomes, genome) for genome in genomes]
        algorithm.tell(genomes, [one.value for one in problem.problem.fitness(plans, watch)])
        done += len(genomes)
    assert algorithm.best is not None
    whole = Reached(algorithm.best[1], done, time.process_time() - start)
    return first or Reached(whole.best, done, float("inf")), whole


def main() -> None:
    """Print a row for each seed and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--evaluations", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    creator.create("Best", base.Fitness, weights=(1.0,))
    creator.create("Weights", list, fitness=creator.Best)
    fixed = [
        f"criteria=[{', '.join(CRITERIA)}]",
        f"clusters.count={len(CRITERIA)}",
        "proxy={name: bn_recalibrated, images: 500}",
        "compute.workers=1",
        "compute.device=cpu",
    ]
    space = load_checked(given.space, [*fixed, *given.changes])
    ratios = []
    with (
        tempfile.TemporaryDirectory() as folder,
        open_run(
            Experiment(space, silent), "bench_search", name=space.name, run_dir=Path(folder) / "run", resume=False
        ) as experiment,
    ):
        problem = Problem(experiment)
        loop = UsualLoop(problem, experiment, Path(folder))
        print("| seed | usual loop: best | evaluations | seconds | engine: seconds to that | evaluations | share |"
              " engine's best after as many |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
        for seed in range(given.seeds):
            start = time.process_time()
            best, evaluations = loop.run(given.evaluations, seed)
            seconds = time.process_time() - start
            reached, whole = engine(problem, best, evaluations, seed)
            ratios.append(reached.seconds / seconds)
            print(f"| {seed} | {100 * best:.2f} | {evaluations} | {seconds:.1f} | {reached.seconds:.2f} | "
                  f"{reached.evaluations} | {ratios[-1]:.3f} | {100 * whole.best:.2f} in {whole.seconds:.1f} s |",
                  flush=True)  # fmt: skip
    print(f"\nmedian share {median(ratios):.3f}, highest {np.max(ratios):.3f}")


if __name__ == "__main__":
    main()
