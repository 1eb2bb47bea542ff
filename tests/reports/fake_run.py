"""A run folder as a campaign leaves it, made up but coherent: for looking at the report and for its tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

CRITERIA = [
    "activation_mean",
    "activation_std",
    "apoz",
    "bn_scale",
    "fisher",
    "fpgm",
    "gradient_norm",
    "hrank",
    "l1",
    "l2",
    "next_layer",
    "orthogonality",
    "random",
    "taylor",
]
FAMILIES = {
    "magnitude": ("l1", "l2", "fpgm", "bn_scale"),
    "activity": ("activation_mean", "activation_std", "apoz", "hrank"),
    "loss": ("taylor", "fisher", "gradient_norm"),
    "structure": ("next_layer", "orthogonality"),
    "chance": ("random",),
}
QUALITY = dict(zip(CRITERIA, np.linspace(-0.004, 0.006, len(CRITERIA)), strict=True)) | {
    "random": -0.016,
    "taylor": 0.009,
    "fisher": 0.0075,
    "l1": 0.006,
}


def group_names(count: int) -> list[str]:
    """Return 4 groups of a Conv-4 or 19 of a ResNet (three streams and the inner channels of 16 blocks)."""
    if count == 4:
        return ["conv1", "conv2", "conv3", "conv4"]
    inner = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range((count - 1) // 3)]
    return ["conv1", *inner][:count]


def make_run(folder: Path, *, groups: int = 4, seeds: int = 3, noise: float = 0.0015) -> Path:
    """Write a finished campaign's text files into `folder` and return it."""
    rng = np.random.default_rng(5)
    names = group_names(groups)
    stages = {name: "stage1" if groups == 4 else f"stage{1 + 3 * at // groups}" for at, name in enumerate(names)}
    widths = {name: 16 * 2 ** min(at * 3 // groups, 2) for at, name in enumerate(names)}
    rows = retrained(rng, seeds, noise)
    proxies = {row["name"]: row["proxy"] for row in rows}
    best = max(CRITERIA, key=lambda name: np.mean([row["test_accuracy"] for row in rows if row["name"] == name]))
    records = folder / "records"
    records.mkdir(parents=True, exist_ok=True)
    write(folder / "summary.json", summary(rows, best, seeds))
    write(folder / "blend.json", blend(stages))
    write(
        folder / "plan.json", {"schema": 1, "groups": {name: {"width": widths[name], "keep": [0, 1]} for name in names}}
    )
    write(records / "agreement.json", agreement(rng, names))
    write(records / "clusters.json", clusters(stages))
    write(records / "evolution.json", evolution(rng, proxies))
    write(records / "retrained.json", rows)
    write(records / "groups.json", kept(rng, stages, widths))
    (folder / "space.yaml").write_text(SPACE)
    return folder


def multiply(folder: Path, copies: int) -> Path:
    """Give a run copies of every criterion, called NAME_2 and so on, each a little less accurate."""

    def names_of(name: str) -> list[str]:
        return [name, *(f"{name}_{copy}" for copy in range(2, copies + 1))]

    def copied(entries: dict[str, Any], accuracy: bool = False) -> dict[str, Any]:
        found = {}
        for name, entry in entries.items():
            for place, one in enumerate(names_of(name)):
                found[one] = {**entry, "test_accuracy": entry["test_accuracy"] - 0.0001 * place} if accuracy else entry
        return found

    whole = json.loads((folder / "summary.json").read_text())
    write(folder / "summary.json", {**whole, "criteria": copied(whole["criteria"], accuracy=True)})
    records = folder / "records"
    rows = json.loads((records / "retrained.json").read_text())
    for row in [row for row in rows if row["kind"] == "criterion"]:
        for place, name in list(enumerate(names_of(row["name"])))[1:]:
            rows.append({**row, "name": name, "test_accuracy": row["test_accuracy"] - 0.0001 * place})
    write(records / "retrained.json", rows)
    agreed = json.loads((records / "agreement.json").read_text())
    matrices = {
        name: np.kron(np.array(rhos), np.ones((copies, copies))).tolist()
        for name, rhos in {**agreed["groups"], "mean": agreed["mean"]}.items()
    }
    mean = matrices.pop("mean")
    criteria = [one for name in agreed["criteria"] for one in names_of(name)]
    write(records / "agreement.json", {"criteria": criteria, "groups": matrices, "mean": mean})
    return folder


def leave_unretrained(folder: Path) -> Path:
    """Make of a run one that retrained nothing."""
    space = folder / "space.yaml"
    space.write_text(space.read_text().replace("retraining: {epochs: 10", "retraining: {epochs: 0"))
    records = folder / "records" / "retrained.json"
    write(records, [{**row, "loss": [], "steps": 0} for row in json.loads(records.read_text())])
    return folder


def write(path: Path, content: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content, indent=1))


def retrained(rng: np.random.Generator, seeds: int, noise: float) -> list[dict[str, Any]]:
    """Return the retrainings: the same luck of a seed for all, quality and noise of each."""
    rows = []
    luck = rng.normal(0, noise, seeds)
    for name in ("blend", *CRITERIA):
        quality = QUALITY.get(name, 0.0117)
        proxy = 0.62 + 9 * quality + rng.normal(0, 0.02) + (0.03 if name == "blend" else 0)
        for seed in range(seeds):
            accuracy = 0.958 + quality + luck[seed] + rng.normal(0, noise / 2)
            end = 0.12 - 3 * quality
            rows.append(
                {
                    "name": name,
                    "kind": "blend" if name == "blend" else "criterion",
                    "seed": seed,
                    "proxy": round(proxy, 5),
                    "search_accuracy": round(accuracy - 0.004 + rng.normal(0, noise), 5),
                    "test_accuracy": round(accuracy, 5),
                    "flops_ratio": 0.4962,
                    "params_ratio": round(0.5 + rng.uniform(-0.02, 0.02), 4),
                    "seconds": 4.2,
                    "loss": [
                        round(end + 0.9 * float(np.exp(-epoch / 2)) + abs(rng.normal(0, 0.01)), 4)
                        for epoch in range(10)
                    ],
                }
            )
    return rows


def summary(rows: list[dict[str, Any]], best: str, seeds: int) -> dict[str, Any]:
    """Return summary.json."""
    outcomes = {name: outcome([row for row in rows if row["name"] == name]) for name in ("blend", *CRITERIA)}
    pairs = [accuracies(rows, "blend")[seed] - accuracies(rows, best)[seed] for seed in range(seeds)]
    difference = float(np.mean(pairs))
    reach = 4.303 * float(np.std(pairs, ddof=1)) / seeds**0.5 if seeds > 1 else None
    interval = None if reach is None else [difference - reach, difference + reach]
    verdict = "not tested (one seed)" if interval is None else "beats" if interval[0] > 0 else "no difference shown"
    return {
        "name": "digits",
        "seed": 7,
        "budget": {"kind": "flops", "ratio": 0.5},
        "allocation": "uniform",
        "schedule": "one_shot",
        "proxy": "compensated",
        "trials": 214,
        "seeds": seeds,
        "baseline": {
            "test_accuracy": 0.9789,
            "search_accuracy": 0.9733,
            "flops": 1843200,
            "params": 66218,
            "latency_ms": 0.81,
        },
        "blend": outcomes.pop("blend"),
        "criteria": outcomes,
        "seconds": {"train": 21.4, "statistics": 1.9, "search": 74.2, "retrain": 88.0, "total": 191.3},
        "comparison": {
            "best_criterion": best,
            "difference": difference,
            "interval": interval,
            "verdict": verdict,
            "sentence": SENTENCES[verdict].format(best=best, points=100 * difference, seeds=seeds),
        },
        "fidelity": {"tau": 0.61, "interval": [0.27, 0.86], "candidates": 15},
        "versions": {"blendsearch": "0.1.0", "python": "3.11.2", "torch": "2.6.0", "deap": "1.4.4", "optuna": "5.0.0"},
        "data": {
            "name": "digits",
            "fingerprint": "9c1185a5c5e9fc54612808977ee8f548b2258d31f0b2c8d7a6e0cbe1b1f0a7aa",
            "classes": 10,
            "train": 897,
            "calibration": 200,
            "search": 300,
            "test": 400,
        },
    }


def outcome(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a network's entry in summary.json."""
    accuracies = [row["test_accuracy"] for row in rows]
    return {
        "proxy": rows[0]["proxy"],
        "search_accuracy": float(np.mean([row["search_accuracy"] for row in rows])),
        "test_accuracy": float(np.mean(accuracies)),
        "test_accuracy_std": float(np.std(accuracies, ddof=1)) if len(rows) > 1 else None,
        "flops_ratio": rows[0]["flops_ratio"],
        "params_ratio": rows[0]["params_ratio"],
        "latency_ms": 0.52,
    }


def accuracies(rows: list[dict[str, Any]], name: str) -> dict[int, float]:
    """Return seed -> test accuracy."""
    return {row["seed"]: row["test_accuracy"] for row in rows if row["name"] == name}


def agreement(rng: np.random.Generator, names: list[str]) -> dict[str, Any]:
    """Return rhos that are high within a family of criteria and about zero between them."""
    family = {name: index for index, members in enumerate(FAMILIES.values()) for name in members}
    groups = {}
    for group in names:
        common = rng.normal(size=(len(FAMILIES), 40))
        ranks = np.array([common[family[name]] + 0.25 * common.sum(0) + rng.normal(0, 0.6, 40) for name in CRITERIA])
        groups[group] = np.corrcoef(ranks.argsort().argsort()).round(4).tolist()
    return {"criteria": CRITERIA, "groups": groups, "mean": np.mean(list(groups.values()), axis=0).round(4).tolist()}


def units_of(stages: dict[str, str]) -> dict[str, list[str]]:
    """Return stage -> its groups."""
    return {stage: [name for name in stages if stages[name] == stage] for stage in dict.fromkeys(stages.values())}


def clusters(stages: dict[str, str]) -> dict[str, Any]:
    """Return the families as clusters of every stage."""
    units = units_of(stages)
    return {
        "unit": "stage",
        "groups": units,
        "members": {unit: [list(names) for names in FAMILIES.values()] for unit in units},
    }


def blend(stages: dict[str, str]) -> dict[str, Any]:
    """Return a blend with other factors in every stage."""
    chosen = [
        {"taylor": 0.92, "l1": 0.41, "hrank": 0.18},
        {"fisher": 0.77, "l2": 0.52},
        {"taylor": 1.0, "next_layer": 0.35, "fpgm": 0.06},
    ]
    units = units_of(stages)
    weights = {unit: chosen[index % 3] for index, unit in enumerate(units)}
    return {"schema": 1, "unit": "stage", "weights": weights, "groups": units, "found_on": {"data": "digits"}}


def evolution(rng: np.random.Generator, proxies: dict[str, float]) -> list[dict[str, Any]]:
    """Return eight generations that rise from the best criterion to the blend."""
    start = max(proxy for name, proxy in proxies.items() if name != "blend")
    steps, so_far = [], start
    for generation in range(9):
        so_far = max(so_far, start + (proxies["blend"] - start) * (1 - np.exp(-generation / 2.5)) / 0.96)
        mean = so_far - 0.09 * float(np.exp(-generation / 3)) - 0.012
        steps.append(
            {
                "generation": generation,
                "evaluations": 38 + 22 * generation,
                "distinct": 37 + 20 * generation,
                "best": so_far,
                "mean": mean + rng.normal(0, 0.004),
                "worst": mean - 0.1,
                "best_so_far": so_far,
                "seconds": 8.0,
            }
        )
    return steps


def kept(rng: np.random.Generator, stages: dict[str, str], widths: dict[str, int]) -> list[dict[str, Any]]:
    """Return filters kept in each group, about half of them."""
    return [
        {
            "name": name,
            "stage": stages[name],
            "width": width,
            "convolutions": [name],
            "kept": {who: int(np.clip(width * rng.normal(0.68, 0.09), 1, width)) for who in ("blend", *CRITERIA)},
        }
        for name, width in widths.items()
    ]


SENTENCES = {
    "beats": "The blend beats the best criterion ({best}): {points:+.2f} points ({seeds} paired seeds).",
    "no difference shown": "No difference shown between the blend and {best}: {points:+.2f} points ({seeds} seeds).",
    "not tested (one seed)": "The blend is {points:+.2f} points from the best criterion ({best}); one seed is no test.",
}

SPACE = """name: digits
seed: 7
data: {name: digits, calibration: 200, search: 300, test: 400}
model: {name: conv4, arguments: {width: 32}}
training: {epochs: 20, batch_size: 64, lr: 0.05}
criteria: all
budget: {flops: 0.5, min_keep: 0.1}
allocation: uniform
clusters: {count: auto, method: agglomerative}
blend: {unit: stage}
proxy: compensated
schedule: one_shot
search: {backend: deap, population: 24, generations: 8}
retraining: {epochs: 10, lr: 0.02, seeds: 3}
"""
