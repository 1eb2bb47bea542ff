"""What a space file can name, from the registries."""

from __future__ import annotations

import inspect
from typing import Any

from blendsearch.allocation import ALLOCATIONS
from blendsearch.criteria import CRITERIA
from blendsearch.data.datasets import DATASETS
from blendsearch.evolution.algorithms import ALGORITHMS
from blendsearch.models.zoo import MODELS
from blendsearch.proxies import PROXIES
from blendsearch.registry import Registry
from blendsearch.schedules import SCHEDULES
from blendsearch.validation.names import options_of

REGISTRIES: dict[str, Registry[Any]] = {
    "criteria": CRITERIA,
    "allocations": ALLOCATIONS,
    "proxies": PROXIES,
    "schedules": SCHEDULES,
    "algorithms": ALGORITHMS,
    "models": MODELS,
    "datasets": DATASETS,
}
WITH_OPTIONS = ("allocations", "proxies", "schedules", "algorithms")
PATTERNS = {
    "models": {
        "torchvision:NAME": "Any classification network of torchvision, for example torchvision:resnet18.",
        "timm:NAME": "Any convolutional network of timm (needs the extra: pip install 'blendsearch[timm]').",
        "package.module:callable": "Your own function or class; it gets num_classes and model.arguments.",
    }
}


def catalogue(kind: str) -> list[dict[str, str]]:
    """Return a row per entry of a kind: name, description; where they exist family, needs, backend, options, source."""
    registry = REGISTRIES[kind]
    rows = [_row(kind, name, registry.get(name)) for name in registry.names()]
    return rows + [{"name": name, "description": text} for name, text in PATTERNS.get(kind, {}).items()]


def _row(kind: str, name: str, entry: Any) -> dict[str, str]:
    row = {"name": name, "description": _first_sentence(inspect.getdoc(entry) or "")}
    if kind == "criteria":
        row["family"] = entry().family
        row["needs"] = ", ".join(entry.needs) or "nothing"
    if kind == "algorithms":
        row["backend"] = entry.backend
    if kind in WITH_OPTIONS:
        row["options"] = ", ".join(f"{key}={default}" for key, default in options_of(entry).items()) or "none"
    if getattr(entry, "source", ""):
        row["source"] = entry.source
    return row


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".") + "." if paragraph else ""
