"""What determines a result of a leaderboard, as plain data, and its digest, which names the result's file.

Two results with one digest are the same result: it is taken from the folder and not made again. Paths and names are
left out, contents are in: data by their fingerprint, weights, ratings and blends by what their files hold, criteria,
allocations, schedules and networks of one's own by their code.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from blendsearch.allocation import ALLOCATIONS
from blendsearch.blending import Blend
from blendsearch.config import Board, BudgetConfig, DataConfig, NamedSection, NetworkConfig, StructureConfig
from blendsearch.criteria import CRITERIA, DropLoss, measures_of, score_network
from blendsearch.criteria.elimination import NEEDS as LOSS_NEEDS
from blendsearch.data.splits import DRAWING, settled
from blendsearch.experiment import Experiment
from blendsearch.experiment.source import code_digest, code_of_network
from blendsearch.files import content_digest
from blendsearch.registry import Registry
from blendsearch.schedules import SCHEDULES
from blendsearch.statistics import MEASURES
from blendsearch.statistics.ratings import Ratings
from blendsearch.statistics.relevance import COMPOSITES, RelevanceGatherer
from blendsearch.version import __version__

Key = dict[str, Any]
LOADING = {"root", "download", "in_memory", "workers"}
"""Keys of `data` that say where images are and how they come into memory, not which they are.

So does `cache`, which is written as if it were at its default, since keys of earlier versions have it.
"""


def digest(key: Any) -> str:
    """Return 16 hexadecimal digits that stand for plain data."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def network_key(board: Board, network: NetworkConfig, experiment: Experiment) -> Key:
    """Return what determines a trained network and the splits."""
    compute = board.compute
    return {
        "blendsearch": __version__,
        "seed": board.seed,
        "data": _settled(network.data, experiment).model_dump(mode="json", exclude=LOADING | _unsaid(network.data)),
        "fingerprint": experiment.splits.fingerprint,
        "drawing": DRAWING,
        "model": {
            **network.model.model_dump(mode="json"),
            "weights": _content(network.model.weights),
            **code_of_network(network.model.name, experiment),
        },
        "training": network.training.model_dump(mode="json"),
        "structure": network.structure.model_dump(mode="json", exclude=_unsaid_of(network.structure)),
        "ratings": network.ratings and [_content(network.ratings.file), network.ratings.fallback],
        "compute": {
            "device": experiment.compute.kind,
            "precision": experiment.compute.precision,
            "channels_last": compute.channels_last,
            "threads": compute.threads,
        },
    }


def _unsaid(data: DataConfig) -> set[str]:
    """Return keys of `data` that say nothing at their default, so that cells of earlier versions are still found."""
    silent = {"labels": "given", "validation": "auto", "on_error": "stop"}
    return {key for key, default in silent.items() if getattr(data, key) == default}


def _settled(data: DataConfig, experiment: Experiment) -> DataConfig:
    """Return `data` with the numbers that it leaves to the data set, and nothing said of a cache."""
    return settled(data, experiment.splits).model_copy(update={"cache": DataConfig.model_fields["cache"].default})


def _unsaid_of(structure: StructureConfig) -> set[str]:
    """Return the keys of `structure` of which the same is true."""
    return set() if structure.ignore_inputs else {"ignore_inputs"}


def criterion_key(name: str, ratings: Ratings | None) -> Key:
    """Return what determines a criterion's scores beside the network: its name, and the code that they come from.

    That is its class with its bases, the measures, recorders and passes behind its needs, and what runs these. A
    fallback of the ratings is a criterion of its own in the place of a filter's mark.
    """
    needs = measures_of([name], ratings)
    used = [CRITERIA.get(name)]
    if ratings is not None and ratings.fallback is not None and "ratings" in needs:
        used.append(CRITERIA.get(ratings.fallback))
    measured = [registry.get(need) for registry in (MEASURES, COMPOSITES) for need in sorted(needs) if need in registry]
    relevance = any(need.startswith("relevance") for need in needs)
    code = code_digest(*used, *measured, score_network, without=() if relevance else (RelevanceGatherer,))
    return {"name": name, "code": code}


def scorer_key(blend: Blend, ratings: Ratings | None) -> Key:
    """Return what determines a criterion or a blend: its factors, and its members with their code."""
    members = [criterion_key(name, ratings) for name in blend.criteria]
    alone = blend.single_term is not None and not blend.members
    if alone:
        return members[0]
    code = {"losses": code_digest(DropLoss, *map(MEASURES.get, LOSS_NEEDS))} if blend.set_aware else {}
    return {"blend": _factors(blend), "members": members, **code}


def _factors(blend: Blend) -> Key:
    """Return what a blend makes of its criteria, with the blends in it."""
    whole = blend.to_dict()
    content: Key = {key: whole[key] for key in ("unit", "groups", "weights", "alpha") if key in whole}
    inner = {name: _factors(member) for name, member in blend.members.items()}
    return {**content, "members": inner} if inner else content


def allocation_key(section: NamedSection) -> Key:
    """Return what determines an allocation."""
    return _named_key(section, ALLOCATIONS)


def retraining_key(board: Board, budget: BudgetConfig, schedule: NamedSection) -> Key:
    """Return what determines pruning and retraining beside the network, the scores, the allocation and the seed."""
    return {
        "budget": budget.model_dump(mode="json", exclude_none=True),
        "schedule": _named_key(schedule, SCHEDULES),
        "retraining": board.retraining.model_dump(mode="json", exclude={"seeds"}),
        "compensation": board.compensation.model_dump(mode="json") if board.compensation else None,
        **({"reconstruction": board.reconstruction.model_dump(mode="json")} if board.reconstruction else {}),
    }


def _named_key(section: NamedSection, registry: Registry[Any]) -> Key:
    """Return what determines a registered part: its name, options and code."""
    return {"name": section.name, "options": section.options, "code": code_digest(registry.get(section.name))}


def _content(file: str | None) -> str | None:
    """Return a digest of a file's content, or the text itself where it names no file, as `DEFAULT` weights do."""
    if file is None or not Path(file).is_file():
        return file
    return content_digest(Path(file))
