"""Does a searched blend beat the criteria at equal terms? Several draws of calibration and search images, one verdict.

    python scripts/prove_blend.py search_spaces/mnist_5k.yaml --draws 5 --out runs/proof/mnist_5k budget.flops=0.1
    python scripts/prove_blend.py ... --steps 60 390     # the same plans once more, after so many steps of training
    python scripts/prove_blend.py ... --steps 390 --training retraining.lr=0.01   # the same plans, trained otherwise
    python scripts/prove_blend.py ... --steps 390 --criteria all      # train every criterion's plan, not the best three
    python scripts/prove_blend.py ... --steps 0 --training reconstruction.steps=200   # reconstructed, without labels
    python scripts/prove_blend.py ... allocation=evolved --alone obs   # beside it, shares evolved for that criterion

Draw d is the whole campaign with seed=d: its own calibration, search and (where the set has none) test images. Nothing
is chosen after a draw was seen. Blend and rivals are paired draw by draw and test image by test image; the interval
counts both. A stopped proof goes on where it was. OUT/results.json and OUT/results.md are what is worth keeping.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blendsearch.campaigns.search.run import SUMMARY, run_search
from blendsearch.config import Space
from blendsearch.experiment import Experiment
from blendsearch.experiment.retraining import Pruning, Repetition, RetrainingSetup, retrain_all
from blendsearch.experiment.unpruned import train_unpruned
from blendsearch.results.paired import Judge, average, compare
from blendsearch.results.records.common import Difference
from blendsearch.results.records.retraining import ABLATION, BLEND, CRITERION, RANDOM_SEARCH, RIVAL, RetrainingOutcome
from blendsearch.results.records.search import Comparison, SearchSummary
from blendsearch.results.run_folder import RunFolder, versions
from blendsearch.results.words import percent, plain_points, plain_range
from blendsearch.schedules import SCHEDULES
from blendsearch.structure import Plan
from blendsearch.training.loop import steps_per_epoch
from blendsearch.validation.space import load_checked

CHOSEN = "proxy's choice"
"""The criterion that the proxy puts first in each draw: what one would take without a search."""
SHARES, BLEND_ALONE = "a criterion with the blend's shares", "the blend without its shares"
"""Where shares evolve with the blend: the criterion that the proxy puts first under them, and the blend under the given
allocation that the proxy prefers for it. Draws may differ in which these are."""
ALONE = "{} with shares evolved for it"
"""What a search of equal cost makes of the shares alone, for one criterion."""
TRAINS = ("retraining", "reconstruction")
"""The sections of a space whose keys may be others for plans that are trained once more."""
TRAINED = 3
"""So many of the criteria that are best in hindsight without training are trained beside the blend, by default."""


def run_or_read(space: Space, folder: Path) -> tuple[SearchSummary, list[RetrainingOutcome]]:
    """Run a campaign, go on with a stopped one, or read a finished one of the same space; return what it came to."""
    run = RunFolder(folder)
    if run.has(SUMMARY):
        Experiment(space).check_same(run)
        summary = run.read_record(SUMMARY, SearchSummary)
    else:
        summary = run_search(space, folder, resume=run.begun).summary
    files = sorted((folder / "records" / "retrained").glob("*.json"))
    return summary, [RetrainingOutcome.model_validate_json(file.read_text()) for file in files]


def search_draw(space: Space, folder: Path) -> tuple[SearchSummary, list[RetrainingOutcome]]:
    """Run or read one draw's campaign; return its summary, and its records with those of the proxy's choice."""
    summary, found = run_or_read(space, folder)
    chosen = summary.comparison.without_search
    twins = [one for one in found if chosen is not None and (one.kind, one.name) == (CRITERION, chosen.name)]
    return summary, [*map(part_as_rival, found), *(as_rival(one, CHOSEN) for one in twins)]


def shares_alone(criterion: str) -> list[str]:
    """Return the changes of a space by which a search finds shares for one criterion, and nothing else."""
    without = (
        "rivals=false",
        "ablation=false",
        "random_search=false",
        "layer_by_layer=null",
        "reallocation=null",
        "swaps=null",
    )
    return [
        f"criteria=[{criterion}]",
        "clusters.count=1",
        "blend.set_aware=false",
        *(f"search.{key}" for key in without),
    ]


def search_alone(space: Space, folder: Path, criterion: str) -> tuple[RetrainingOutcome, float]:
    """Run or read a draw's search for the shares of one criterion; return what it found as a rival, and its seconds."""
    summary, found = run_or_read(space, folder)
    rival = as_rival(next(one for one in found if one.kind == BLEND), ALONE.format(criterion))
    return rival, summary.seconds["total"]


def as_rival(outcome: RetrainingOutcome, name: str) -> RetrainingOutcome:
    """Return an outcome as that of a rival with another name."""
    return outcome.model_copy(update={"name": name, "kind": RIVAL})


def part_as_rival(outcome: RetrainingOutcome) -> RetrainingOutcome:
    """Return a part of the blend under the name that it has in every draw; other outcomes as they are."""
    if outcome.kind != ABLATION:
        return outcome
    return as_rival(outcome, BLEND_ALONE if outcome.name.startswith("blend with ") else SHARES)


def of_draw(outcomes: Sequence[RetrainingOutcome], draw: int) -> list[RetrainingOutcome]:
    """Return the first repetition of each contender, with the draw in the place of its seed."""
    return [one.model_copy(update={"seed": draw}) for one in outcomes if one.seed == 0]


def in_every_draw(outcomes: Sequence[RetrainingOutcome], draws: int) -> list[RetrainingOutcome]:
    """Leave out what some draw does not have: a criterion that did not apply, a rival that was left out."""
    seen: dict[tuple[str, str], set[int]] = {}
    for one in outcomes:
        seen.setdefault((one.kind, one.name), set()).add(one.seed)
    return [one for one in outcomes if len(seen[one.kind, one.name]) == draws]


def train_draw(
    space: Space, folder: Path, outcomes: Sequence[RetrainingOutcome], steps: int, otherwise: Sequence[str] = ()
) -> list[RetrainingOutcome]:
    """Train the plans of a draw's campaign for some optimiser steps, all on the same images in the same order.

    `space` is the campaign's with the changes named in `otherwise`, which concern this training and name its folder.
    Contenders of the same plan are trained once.
    """
    experiment = Experiment(space).at(RunFolder(folder))
    train_unpruned(experiment)
    alike: dict[str, list[RetrainingOutcome]] = {}
    for one in outcomes:
        alike.setdefault(json.dumps(one.plan, sort_keys=True), []).append(one)
    prunings = {same[0].name: pruning_of(same[0], experiment) for same in alike.values()}
    batch = space.retraining.batch_size
    epochs = steps / steps_per_epoch(len(experiment.splits.train), batch)
    print(f"{folder.name}: {steps} steps of {batch} images are {epochs:.2f} epochs", file=sys.stderr)
    below = experiment.at(RunFolder(folder / "-".join([f"steps-{steps}", *otherwise])))
    setup = RetrainingSetup.of(below, prunings, SCHEDULES.get("one_shot")())
    setup = replace(setup, training=space.retraining.model_copy(update={"epochs": epochs, "seeds": 1}))
    trained = retrain_all(below, setup, [Repetition(same[0].name, same[0].kind, 0) for same in alike.values()])
    return [
        result.model_copy(update={"name": one.name, "kind": one.kind})
        for result, same in zip(trained, alike.values(), strict=True)
        for one in same
    ]


def pruning_of(outcome: RetrainingOutcome, experiment: Experiment) -> Pruning:
    """Return how a contender of a campaign was pruned."""
    assert outcome.plan is not None
    return Pruning.by_plan(Plan.from_dict(outcome.plan), experiment.budget)


def worth_training(
    outcomes: Sequence[RetrainingOutcome], beside: Sequence[str] | None = None, criteria: int | None = TRAINED
) -> list[str]:
    """Return the names of blend and rivals, and of so many criteria that are best in hindsight without training.

    beside: the rivals alone that these are, if any. criteria: None for all.
    """
    names = {one.name for one in outcomes if one.kind == CRITERION}
    best = sorted(names, key=lambda name: -average(outcomes, name, CRITERION).test_accuracy)[:criteria]
    rivals = dict.fromkeys(one.name for one in outcomes if one.kind in (RIVAL, RANDOM_SEARCH))
    return [BLEND, *best, *(name for name in rivals if beside is None or name in beside)]


def told(difference: Difference) -> str:
    """Return the cells of a difference."""
    reach = "" if difference.interval is None else f" ({plain_range(difference.interval)})"
    return f"{plain_points(difference.difference)}{reach} | {difference.verdict}"


def as_rows(title: str, outcomes: Sequence[RetrainingOutcome], comparison: Comparison, among: str = "") -> list[str]:
    """Return a Markdown table: the blend, the best criteria, the rivals; the blend minus each.

    among: what the criteria are that were trained, where these are not all.
    """

    def mean(name: str, kind: str) -> str:
        return percent(average(outcomes, name, kind).test_accuracy)

    own = sorted((one.seed, one.test_accuracy) for one in outcomes if one.kind == BLEND)
    best = comparison.best_criterion
    corrected = Difference(difference=comparison.difference, interval=comparison.interval, verdict=comparison.verdict)
    lines = [f"### {title}", "", "| contender | test accuracy | blend minus it (95 %) | verdict |", "|---|---|---|---|"]
    lines.append(f"| **blend** | {mean(BLEND, BLEND)} | draws: {', '.join(f'{100 * a:.2f}' for _, a in own)} | |")
    lines.append(f"| best criterion in hindsight: {best} | {mean(best, CRITERION)} | {told(corrected)} |")
    for name in sorted(comparison.differences, key=lambda n: -average(outcomes, n, CRITERION).test_accuracy)[1:4]:
        lines.append(f"| {name} | {mean(name, CRITERION)} | {told(comparison.differences[name])} |")
    for name, one in comparison.rivals.items():
        lines.append(f"| {name} | {mean(name, RIVAL)} | {told(one)} |")
    if comparison.random_search is not None:
        drawn = next(one.name for one in outcomes if one.kind == RANDOM_SEARCH)
        lines.append(f"| {drawn} | {mean(drawn, RANDOM_SEARCH)} | {told(comparison.random_search)} |")
    return [*lines, "", f"Intervals from {comparison.basis}; the first is corrected for the choice among "
            f"{comparison.among} criteria{among}.", ""]  # fmt: skip


def main() -> None:
    """Run the draws, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--steps", type=int, nargs="*", default=[], help="also train the plans for so many steps")
    parser.add_argument(
        "--training",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help=f"for these steps alone: of {' or '.join(TRAINS)}",
    )
    parser.add_argument("--beside", nargs="*", default=None, metavar="RIVAL", help="of the rivals, train these alone")
    parser.add_argument(
        "--criteria",
        type=lambda count: None if count == "all" else int(count),
        default=TRAINED,
        metavar="N|all",
        help=f"of the criteria, train so many that are best without training ({TRAINED})",
    )
    parser.add_argument("--alone", default=None, metavar="CRITERION", help="one whose shares are searched as long, too")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_intermixed_args()
    if given.alone is not None and load_checked(given.space, given.changes).allocation.name != "evolved":
        parser.error("--alone: shares evolve with allocation=evolved alone")
    if stray := [change for change in given.training if change.partition(".")[0] not in TRAINS]:
        parser.error(f"--training: takes keys of {' or '.join(TRAINS)} alone, got {stray[0]}")
    seconds, pooled, unpruned = 0.0, [], []
    trained: dict[int, list[RetrainingOutcome]] = {steps: [] for steps in given.steps}
    seeds = range(given.first, given.first + given.draws)
    spaces = {seed: load_checked(given.space, [*given.changes, f"seed={seed}"]) for seed in seeds}
    for seed, space in spaces.items():
        summary, found = search_draw(space, given.out / f"draw-{seed}")
        print(f"draw {seed}: {summary.comparison.sentence}", file=sys.stderr, flush=True)
        unpruned.append(summary.unpruned.test_accuracy)
        seconds += summary.seconds["total"]
        if given.alone is not None:
            changes = [*given.changes, f"seed={seed}", *shares_alone(given.alone)]
            alone = load_checked(given.space, changes)
            rival, took = search_alone(alone, given.out / f"draw-{seed}-alone", given.alone)
            found, seconds = [*found, rival], seconds + took
        pooled += of_draw(found, seed)
    pooled = in_every_draw(pooled, given.draws)
    if strange := sorted(set(given.beside or ()) - {one.name for one in pooled if one.kind == RIVAL}):
        parser.error(f"--beside: no rival of all draws is called {strange[0]!r}")
    names = worth_training(pooled, given.beside, given.criteria)
    part = not {one.name for one in pooled if one.kind == CRITERION} <= set(names)
    for steps, outcomes in trained.items():
        for seed in spaces:
            own = [one for one in pooled if one.seed == seed and one.name in names]
            training = load_checked(given.space, [*given.changes, f"seed={seed}", *given.training])
            outcomes += of_draw(train_draw(training, given.out / f"draw-{seed}", own, steps, given.training), seed)
    regimes = {"not retrained": pooled, **{f"{steps} steps": outcomes for steps, outcomes in trained.items()}}
    tables, records = [], {}
    for title, outcomes in regimes.items():
        comparison = compare(Judge.of_outcomes(outcomes), improved=spaces[given.first].search.improves_plans)
        best_alone = part and outcomes is not pooled
        among = ", which of all were the best without training, by these test images" if best_alone else ""
        tables += as_rows(title, outcomes, comparison, among)
        records[title] = {
            **({"criteria": f"the best {given.criteria} without training"} if best_alone else {}),
            "comparison": comparison.to_dict(),
            "test_accuracy": {
                f"{kind}: {name}": [
                    round(one.test_accuracy, 6) for one in outcomes if (one.kind, one.name) == (kind, name)
                ]
                for kind, name in dict.fromkeys((one.kind, one.name) for one in outcomes)
            },
        }
    space = spaces[given.first]
    facts = {
        "space": space.name,
        "changes": given.changes,
        **({"training": given.training} if given.training else {}),
        "draws": list(seeds),
        "unpruned": unpruned,
        "seconds": round(seconds, 1),
        "versions": versions(),
    }
    (given.out / "results.json").write_text(json.dumps({**facts, "regimes": records}, indent=1) + "\n")
    mean = sum(unpruned) / len(unpruned)
    head = [f"## {space.name} {' '.join(given.changes)}", "", f"Not pruned: {percent(mean)}; draws {list(seeds)}.", ""]
    text = "\n".join([*head, *tables])
    (given.out / "results.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
