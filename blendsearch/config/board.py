"""The keys of a board file: what a leaderboard compares, on which networks, on which terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from blendsearch.config.sections.budget import BudgetConfig
from blendsearch.config.sections.compute import ComputeConfig
from blendsearch.config.sections.criteria import BlendGiven, RatingsGiven
from blendsearch.config.sections.data import DataConfig
from blendsearch.config.sections.execution import ExecutionConfig
from blendsearch.config.sections.ledger import Ledger
from blendsearch.config.sections.network import ModelConfig, StructureConfig
from blendsearch.config.sections.training import (
    CompensationConfig,
    ReconstructionConfig,
    RetrainingConfig,
    TrainingConfig,
    compensate_where_nothing_trains,
    train_where_no_weights,
)
from blendsearch.config.sections.types import Allowed, FolderName, Named, NamedSection, Names, Section, broken_rule
from blendsearch.config.space import HALF, Space
from blendsearch.config.yaml_text import to_yaml
from blendsearch.plain import State


class NetworkConfig(Section):
    """One network on one data set, trained once for all that is compared on it; sections as in a space file.

    name: what it stands under in tables.
    data: the data set and its parts.
    model: the network that is pruned.
    training: of the network before it is pruned.
    structure: which channels may go.
    ratings: people's ratings that the criterion `subjective` reads, a path or a section; null for none.
    """

    name: FolderName
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    structure: StructureConfig = StructureConfig()
    ratings: RatingsGiven = None

    _trained = model_validator(mode="before")(train_where_no_weights)


NamedList = Annotated[list[Named], Field(min_length=1), Allowed("a list, each a name or a mapping with name")]


class Board(Section):
    """One leaderboard: every criterion and blend x allocation x budget x schedule x seed, on every network.

    name: of the run folder; that of the file where none is given.
    All that stands in one block (network, allocation, budget, schedule, seed) is retrained on equal terms.

    name: of the leaderboard; the run folder is `runs/NAME`.
    seed: every random choice comes from this number.
    networks: a list; each is trained once for all that is compared on it.
    criteria: names of `blendsearch list criteria`; all takes those that apply to each network.
    blends: files of found blends that stand among the criteria.
    allocations: a list of `blendsearch list allocations`, each a name or a mapping with its options.
    budgets: a list; sections as in a space file.
    schedules: a list of `blendsearch list schedules`, each a name or a mapping with its options.
    compensation: refits what pruning left, before or instead of retraining; null for none. Where retraining.epochs is
    0 and it is not mentioned, it is on, with the calibration images.
    reconstruction: what goes on from there by gradient, without labels either; null for none.
    retraining: of the pruned networks.
    compute: device, number format, processes.
    ledger: a database over which processes that are started on this board share its cells, on one host or several,
    postgresql://USER@HOST/DATABASE; ${NAME} in it stands for an environment variable. null for one process.
    execution: where candidates are evaluated and networks retrained: here, or on Dask or Ray.
    """

    name: FolderName
    seed: Annotated[int, Field(ge=0)] = 0
    networks: Annotated[list[NetworkConfig], Field(min_length=1)]
    criteria: Literal["all"] | Names = "all"
    blends: list[BlendGiven] = Field(default_factory=list)
    allocations: NamedList = Field(default_factory=lambda: [NamedSection(name="uniform")])
    budgets: Annotated[list[BudgetConfig], Field(min_length=1)] = Field(default_factory=lambda: [HALF])
    schedules: NamedList = Field(default_factory=lambda: [NamedSection(name="one_shot")])
    compensation: CompensationConfig | None = None
    reconstruction: ReconstructionConfig | None = None
    retraining: RetrainingConfig = RetrainingConfig()
    compute: ComputeConfig = ComputeConfig()
    ledger: Ledger = None
    execution: ExecutionConfig = ExecutionConfig()

    _compensated = model_validator(mode="before")(compensate_where_nothing_trains)

    @model_validator(mode="after")
    def _each_once(self) -> Board:
        _check_each_once("networks", [network.name for network in self.networks])
        _check_each_once("blends", [blend.label for blend in self.blends])
        for key in ("allocations", "budgets", "schedules"):
            _check_each_once(key, [_shown(section) for section in getattr(self, key)])
        if len({budget.latency_images for budget in self.budgets if "latency" in budget.all_ratios}) > 1:
            raise broken_rule("budgets: latency budgets share one table; give them the same latency_images")
        return self

    def space(self, network: NetworkConfig) -> Space:
        """Return the space of one network; its budget is the first, or the first of latency, which needs a table."""
        priced = [budget for budget in self.budgets if "latency" in budget.all_ratios]
        return Space(
            name=self.name,
            seed=self.seed,
            data=network.data,
            model=network.model,
            training=network.training,
            structure=network.structure,
            criteria=self.criteria,
            ratings=network.ratings,
            budget=(priced or self.budgets)[0],
            compensation=self.compensation,
            reconstruction=self.reconstruction,
            retraining=self.retraining,
            compute=self.compute,
            execution=self.execution,
        )

    def to_dict(self) -> State:
        """Return every key with its value, defaults included, as plain lists, mappings and scalars."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return every key with its value as YAML; reading it again gives an equal board."""
        return to_yaml(self.to_dict())


def _shown(section: Section) -> str:
    return to_yaml(section.model_dump(mode="json", exclude_none=True)).strip().replace("\n", ", ")


def _check_each_once(key: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise broken_rule(f"{key}: given more than once: {'; '.join(repeated)}")
