"""What determines a result of a leaderboard, as plain data, and its digest, which names the result's file.

Two results with one digest are the same result: it is taken from the folder and not made again. Paths and names are
left out, contents are in: data by their fingerprint, weights, ratings and blends by what their files hold.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

from blendsearch.allocation import ALLOCATIONS
from blendsearch.blending import Blend
from blendsearch.config import Board, BudgetConfig, NamedSection, NetworkConfig
from blendsearch.criteria import CRITERIA
from blendsearch.experiment.experiment import Experiment
from blendsearch.files import content_digest
from blendsearch.registry import Registry
from blendsearch.schedules import SCHEDULES
from blendsearch.version import __version__

Key = dict[str, Any]
LOADING = {"root", "download", "in_memory", "workers"}
"""Keys of `data` that say where images are and how they come into memory, not which they are."""


def digest(key: Any) -> str:
    """Return 16 hexadecimal digits that stand for plain data."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def source_version(factory: Any) -> str:
    """Return a digest of a registered class's own source, or "" where it has none on file, as in a notebook."""
    try:
        return digest(inspect.getsource(factory))
    except (OSError, TypeError):
        return ""


def network_key(board: Board, network: NetworkConfig, experiment: Experiment) -> Key:
    """Return what determines a trained network and the splits."""
    compute = board.compute
    return {
        "blendsearch": __version__,
        "seed": board.seed,
        "data": network.data.model_dump(mode="json", exclude=LOADING),
        "fingerprint": experiment.splits.fingerprint,
        "model": {**network.model.model_dump(mode="json"), "weights": _content(network.model.weights)},
        "training": network.training.model_dump(mode="json"),
        "structure": network.structure.model_dump(mode="json"),
        "ratings": network.ratings and [_content(network.ratings.file), network.ratings.fallback],
        "compute": {
            "device": experiment.compute.kind, "precision": compute.precision, "channels_last": compute.channels_last,
            "threads": compute.threads,
        },
    }  # fmt: skip


def criterion_key(name: str) -> Key:
    """Return what determines a criterion's scores beside the network: its name and the source of its class."""
    return {"name": name, "source": source_version(CRITERIA.get(name))}


def scorer_key(blend: Blend) -> Key:
    """Return what determines a criterion or a blend: its factors, and its members with their source."""
    members = [criterion_key(name) for name in blend.criteria]
    alone = len(blend.terms) == 1 and not blend.members
    return members[0] if alone else {"blend": _factors(blend), "members": members}


def _factors(blend: Blend) -> Key:
    """Return what a blend makes of its criteria, with the blends in it."""
    content = {key: blend.to_dict()[key] for key in ("unit", "groups", "weights")}
    inner = {name: _factors(member) for name, member in blend.members.items()}
    return {**content, "members": inner} if inner else content


def named_key(section: NamedSection, registry: Registry[Any]) -> Key:
    """Return what determines an allocation or a schedule: its name, options and source."""
    source = source_version(registry.get(section.name))
    return {"name": section.name, "options": section.options, "source": source}


def allocation_key(section: NamedSection) -> Key:
    """Return what determines an allocation."""
    return named_key(section, ALLOCATIONS)


def terms_key(board: Board, budget: BudgetConfig, schedule: NamedSection) -> Key:
    """Return what determines pruning and retraining beside the network, the scores, the allocation and the seed."""
    return {
        "budget": budget.model_dump(mode="json", exclude_none=True),
        "schedule": named_key(schedule, SCHEDULES),
        "retraining": board.retraining.model_dump(mode="json", exclude={"seeds"}),
        "compensation": board.compensation.model_dump(mode="json") if board.compensation else None,
    }


def _content(file: str | None) -> str | None:
    """Return a digest of a file's content, or the text itself where it names no file, as `DEFAULT` weights do."""
    if file is None or not Path(file).is_file():
        return file
    return content_digest(Path(file))
