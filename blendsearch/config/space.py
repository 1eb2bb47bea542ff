"""The keys of a space file: one campaign."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from blendsearch.config.sections.budget import BUDGET_KINDS, BudgetConfig
from blendsearch.config.sections.compute import ComputeConfig
from blendsearch.config.sections.criteria import BlendConfig, BlendGiven, ClustersConfig, RatingsGiven
from blendsearch.config.sections.data import DataConfig
from blendsearch.config.sections.execution import ExecutionConfig
from blendsearch.config.sections.jobs import AuditConfig, CurvesConfig
from blendsearch.config.sections.ledger import Ledger
from blendsearch.config.sections.network import ModelConfig, StructureConfig
from blendsearch.config.sections.search import SearchConfig
from blendsearch.config.sections.training import (
    CompensationConfig,
    ReconstructionConfig,
    RetrainingConfig,
    TrainingConfig,
    compensate_where_nothing_trains,
    train_where_no_weights,
)
from blendsearch.config.sections.types import Allowed, FolderName, Named, NamedSection, Names, Section
from blendsearch.config.yaml_text import to_yaml
from blendsearch.plain import State

HALF = BudgetConfig(flops=0.5)


def folder_name(text: str) -> str:
    """Return a text as the name of a run folder: other signs become '-'."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:100] or "space"


def named_after_data(data: object) -> object:
    """Name a space that has no name after its data set or, of class folders, after their root."""
    section: Any = data.get("data") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or "name" in data or section is None:
        return data
    given = section if isinstance(section, Mapping) else vars(section) if isinstance(section, DataConfig) else {}
    root, name = given.get("root"), given.get("name", "folder")
    text = Path(root).resolve().name if name == "folder" and isinstance(root, str) else name
    return {**data, "name": folder_name(text)} if isinstance(text, str) else data


class Space(Section):
    """One campaign: data, network, criteria, budget, search and retraining. Only data and model must be given.

    name: of the campaign; the run folder is `runs/NAME`. That of the file where none is given, or of the data set where
    there is no file.
    seed: every random choice comes from this number.
    data: the data set and its parts.
    model: the network that is pruned.
    recipe: settings for one kind of campaign, for all keys that are not given. post_training: nothing is retrained, and
    CMA-ES searches the shares of the layers beside one set-aware blend of 14 criteria; null for the usual defaults.
    training: of the network before it is pruned.
    structure: which channels may go.
    criteria: names of `blendsearch list criteria`; all takes those that apply to the network.
    blends: files of found blends that stand among the criteria: scored, clustered, blended and retrained like these.
    ratings: people's ratings that the criterion `subjective` reads, a path or a section; null for none.
    budget: what remains of the network.
    allocation: how many filters each layer loses: a name of `blendsearch list allocations`, or a mapping with its
    options.
    clusters: how criteria that rank alike are put together.
    blend: where calibration factors are shared.
    proxy: the cheap estimate of accuracy after retraining: a name of `blendsearch list proxies`, or a mapping with its
    options.
    schedule: how pruning and retraining take turns: a name of `blendsearch list schedules`, or a mapping with its
    options.
    search: the search for a blend.
    compensation: refits what pruning left, before or instead of retraining; null for none. Where retraining.epochs is
    0 and it is not mentioned, it is on, with the calibration images.
    reconstruction: what goes on from there by gradient, without labels either; null for none.
    retraining: of the pruned networks.
    audit: for `blendsearch audit`.
    curves: for `blendsearch curves`.
    compute: device, number format, processes.
    ledger: the database that keeps every trial, postgresql://USER@HOST/DATABASE; ${NAME} in it stands for an
    environment variable. null is a file in the run folder.
    execution: where candidates are evaluated and networks retrained: here, or on Dask or Ray.
    """

    name: FolderName
    seed: Annotated[int, Field(ge=0)] = 0
    data: DataConfig
    model: ModelConfig
    recipe: Literal["post_training"] | None = None
    training: TrainingConfig = TrainingConfig()
    structure: StructureConfig = StructureConfig()
    criteria: Literal["all"] | Names = "all"
    blends: list[BlendGiven] = Field(default_factory=list)
    ratings: RatingsGiven = None
    budget: Annotated[BudgetConfig, Allowed(f"a mapping with one of {', '.join(BUDGET_KINDS)}")] = HALF
    allocation: Named = NamedSection(name="uniform")
    clusters: ClustersConfig = ClustersConfig()
    blend: BlendConfig = BlendConfig()
    proxy: Named = NamedSection(name="compensated")
    schedule: Named = NamedSection(name="one_shot")
    search: SearchConfig = SearchConfig()
    compensation: CompensationConfig | None = None
    reconstruction: ReconstructionConfig | None = None
    retraining: RetrainingConfig = RetrainingConfig()
    audit: AuditConfig = AuditConfig()
    curves: CurvesConfig = CurvesConfig()
    compute: ComputeConfig = ComputeConfig()
    ledger: Ledger = None
    execution: ExecutionConfig = ExecutionConfig()

    _named = model_validator(mode="before")(named_after_data)
    _trained = model_validator(mode="before")(train_where_no_weights)
    _compensated = model_validator(mode="before")(compensate_where_nothing_trains)

    @property
    def rivals(self) -> tuple[str, ...]:
        """The rivals that the search wants, but for those that mean nothing beside the other keys."""
        there = {
            "elimination": self.search.layer_by_layer is not None,
            "tilted": self.blend.set_aware,
            "swapped": self.search.improves_plans,
            "own_shares": self.allocation.name == "evolved",
        }
        return tuple(name for name in self.search.rivals_wanted if there.get(name, True))

    def to_dict(self) -> State:
        """Return every key with its value, defaults included, as plain lists, mappings and scalars."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return every key with its value as YAML; reading it again gives an equal space."""
        return to_yaml(self.to_dict())
