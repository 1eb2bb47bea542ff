"""What a blend's file tells of where it was found: network, data, criteria, budget, and what came of it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from blendsearch.blending import Blend
from blendsearch.criteria import CRITERIA
from blendsearch.experiment.experiment import Experiment, data_name
from blendsearch.results.versions import versions


def found_on(experiment: Experiment, value: float, criteria: Sequence[str]) -> dict[str, Any]:
    """Return what a blend of the proxy `value` was found on; `groups` lets another network take it over.

    criteria_code: criterion -> SHA-256 of its class's source, the first 12 digits; versions name the packages.
    """
    space, structure = experiment.space, experiment.structure
    return {
        "name": space.name,
        "model": space.model.name,
        "model_arguments": dict(space.model.arguments),
        "data": data_name(experiment),
        "data_fingerprint": experiment.splits.fingerprint,
        "groups": {
            group.name: {"stage": group.stage, "inner": group.inner, "width": group.width}
            for group in structure.groups
        },
        "budget": {experiment.budget.kind: experiment.budget.ratio},
        "allocation": space.allocation.name,
        "proxy": {"name": space.proxy.name, "value": value},
        "criteria": list(criteria),
        "criteria_code": {name: _digest(CRITERIA.get(name)) for name in criteria if name in CRITERIA},
        "seed": space.seed,
        "versions": versions(),
    }  # fmt: skip


def _digest(kind: type) -> str | None:
    """Return a short hash of a class's source; None where Python does not have it, as for one typed at a prompt."""
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:12]
    except (OSError, TypeError):
        return None


def note_results(path: Path, summary: Mapping[str, Any]) -> None:
    """Add to a blend's file what retraining showed: the proxy's fidelity, and the accuracy against the criteria."""
    blend, comparison = Blend.load(path), summary["comparison"]
    best = comparison["best_criterion"]
    results = {
        "seeds": summary["seeds"],
        "baseline": summary["baseline"]["test_accuracy"],
        "test_accuracy": {"mean": summary["blend"]["test_accuracy"], "sd": summary["blend"]["test_accuracy_std"]},
        "best_criterion": {"name": best, **_accuracy(summary["criteria"][best])},
        "difference": comparison["difference"],
        "interval": comparison["interval"],
        "verdict": comparison["verdict"],
    }
    noted = {**blend.found_on, "fidelity": summary["fidelity"], "results": results}
    replace(blend, found_on=noted).save(path)


def _accuracy(averages: Mapping[str, Any]) -> dict[str, Any]:
    return {"test_accuracy": {"mean": averages["test_accuracy"], "sd": averages["test_accuracy_std"]}}
