"""One network of a leaderboard: trained once, scored once by each criterion, its allocations measured once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from blendsearch.allocation import ALLOCATIONS, Allocation, Budget
from blendsearch.blending import Blend, Scores, agreement, rank_all
from blendsearch.campaigns.leaderboard.keys import Key, allocation_key, criterion_key, digest, network_key
from blendsearch.campaigns.search.run import test_unpruned
from blendsearch.compute import child_seed, threads
from blendsearch.config import Board, BudgetConfig, NetworkConfig
from blendsearch.criteria import applicable, measures_of, score_groups
from blendsearch.errors import BlendsearchError, BudgetError
from blendsearch.experiment.experiment import Experiment, data_name, price_structure, train_unpruned
from blendsearch.experiment.scoring import BlendScorer, blended
from blendsearch.progress import Progress
from blendsearch.results.run_folder import RunFolder
from blendsearch.statistics import gather
from blendsearch.validation.board import all_criteria
from blendsearch.validation.space import make


@dataclass
class BoardNetwork:
    """A network of a board at work: what it is trained as, what scores it, and where its files are.

    key: what determines it. baseline: its record, with test_accuracy. scores: criterion -> group -> [C].
    seconds: criterion -> those that its scores took, alone. left_out: criterion -> why it cannot score this network.
    """

    board: Board
    config: NetworkConfig
    experiment: Experiment
    blends: dict[str, Blend]
    key: Key = field(default_factory=dict)
    baseline: dict[str, Any] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    allocations: list[Allocation] = field(default_factory=list)

    @classmethod
    def opened(cls, board: Board, config: NetworkConfig, blends: dict[str, Blend], progress: Progress) -> BoardNetwork:
        """Load the data and read the structure; BlendsearchError for a budget or a blend that does not fit it."""
        experiment = Experiment(board.space(config), progress)
        result = cls(board, config, experiment, blends, network_key(board, config, experiment))
        _check_budgets(result, [budget for budget in board.budgets if budget.kind != "latency"])
        for name, blend in blends.items():
            try:
                blend.check_covers(list(experiment.structure.widths))
            except BlendsearchError as error:
                raise BlendsearchError(f"networks: '{config.name}': blends: '{name}': {error}") from None
        return result

    @property
    def place(self) -> str:
        """The folder of its files below the run folder."""
        return f"networks/{self.config.name}-{digest(self.key)}"

    @property
    def compared(self) -> dict[str, Blend]:
        """What is compared on this network: every criterion that applies, as a blend of one, and the blends."""
        wanted = list(self.scores) if self.board.criteria == "all" else self.board.criteria
        return {**{name: Blend.single(name) for name in wanted}, **self.blends}

    def prepare(self, run: RunFolder) -> None:
        """Train, score and measure what is not in the run folder yet."""
        folder = RunFolder(run / self.place)
        folder.write_json("network.json", self.key)
        with threads(self.board.compute.threads):
            price_structure(self.experiment, folder)
            _check_budgets(self, self.board.budgets)
            self.baseline = train_unpruned(self.experiment, folder)
            self.baseline = {**self.baseline, "test_accuracy": test_unpruned(self.experiment, folder)}
            self._score(folder)
            self.allocations = [self._allocation(folder, section) for section in self.board.allocations]

    def scorer(self, blend: Blend) -> BlendScorer:
        """Return what scores this network, and what schedules make of it, by a blend or a criterion."""
        experiment, space = self.experiment, self.experiment.space
        return BlendScorer(
            blend, self.scores, experiment.structure, experiment.splits.calibration, experiment.compute,
            child_seed(space.seed, "statistics"), experiment.ratings, space.structure.group_rule,
            space.data.relevance_per_class,
        )  # fmt: skip

    def scoring_seconds(self, blend: Blend) -> float:
        """Return the seconds that scoring took, for a blend those of its members one after the other."""
        return round(sum(self.seconds[name] for name in blend.criteria), 3)

    def record(self) -> dict[str, Any]:
        """Return what the board's record says of this network."""
        splits = self.experiment.splits
        return {
            "name": self.config.name,
            "model": self.config.model.name,
            "file": f"{self.place}/records/baseline.json",
            "baseline": {
                key: self.baseline[key]
                for key in ("test_accuracy", "search_accuracy", "flops", "params", "steps", "seconds")
            },
            "left_out": self.left_out,
            "refused": self.experiment.structure.refused,
            "data": {
                "name": data_name(self.experiment),
                "fingerprint": splits.fingerprint,
                "classes": len(splits.classes),
                **{part: len(getattr(splits, part)) for part in ("train", "calibration", "search", "test")},
            },
        }

    def agreement(self) -> dict[str, Any]:
        """Return Spearman's rho between all that is compared, for each group and as mean over the groups."""
        scores = {name: blended(blend, self.scores) for name, blend in self.compared.items()}
        matrices = agreement(rank_all(scores))
        mean = torch.stack(list(matrices.values())).mean(0)
        return {
            "criteria": list(scores),
            "groups": {group: matrix.tolist() for group, matrix in matrices.items()},
            "mean": mean.tolist(),
        }

    def _score(self, folder: RunFolder) -> None:
        """Score by each criterion in a pass of its own: what it takes is known, and a new one needs no other again."""
        wanted = list(all_criteria(self.board, self.blends))
        for position, name in enumerate(wanted):
            self.experiment.progress("scoring", position, len(wanted), f"{self.config.name}: {name}")
            place = f"scores/{name}-{digest(criterion_key(name))}"
            if not folder.has(f"{place}.json"):
                self._score_by(name, folder, place)
            record = folder.read_json(f"{place}.json")
            if record["left_out"]:
                self._leave_out(name, record["left_out"])
            else:
                self.scores[name] = folder.read_tensors(f"{place}.safetensors")
                self.seconds[name] = record["seconds"]
        self.experiment.progress("scoring", len(wanted), len(wanted), self.config.name)

    def _score_by(self, name: str, folder: RunFolder, place: str) -> None:
        experiment, space = self.experiment, self.experiment.space
        start = time.perf_counter()
        statistics = gather(
            experiment.network, experiment.structure, experiment.splits.calibration.batches(128), measures_of([name], experiment.ratings),
            compute=experiment.compute, seed=child_seed(space.seed, "statistics"), ratings=experiment.ratings,
            relevance_per_class=space.data.relevance_per_class,
        )  # fmt: skip
        reason = applicable([name], experiment.structure, statistics).get(name, "")
        if not reason:
            scores: Mapping[str, Tensor] = score_groups(
                experiment.structure, statistics, [name], group_rule=space.structure.group_rule
            )[name]
            folder.write_tensors(f"{place}.safetensors", scores)
        seconds = round(time.perf_counter() - start, 3)
        folder.write_json(f"{place}.json", {"criterion": name, "seconds": seconds, "left_out": reason})

    def _leave_out(self, name: str, reason: str) -> None:
        members = [label for label, blend in self.blends.items() if name in blend.criteria]
        asked = [*(["criteria"] if self.board.criteria != "all" and name in self.board.criteria else []), *members]
        if asked:
            raise BlendsearchError(f"networks: '{self.config.name}': {', '.join(asked)}: '{name}': {reason}")
        self.left_out[name] = reason

    def _allocation(self, folder: RunFolder, section: Any) -> Allocation:
        """Return an allocation with what it measures on this network, measured now or read."""
        experiment = self.experiment
        allocation: Allocation = make(ALLOCATIONS, section)
        name = f"allocations/{section.name}-{digest(allocation_key(section))}.json"
        if folder.has(name):
            allocation.load_state_dict(folder.read_json(name))
            return allocation
        allocation.prepare(
            experiment.network, experiment.structure, experiment.splits.search, compute=experiment.compute,
            seed=child_seed(experiment.space.seed, "allocation"), progress=experiment.progress,
        )  # fmt: skip
        folder.write_json(name, allocation.state_dict())
        return allocation


def budget_from(section: BudgetConfig) -> Budget:
    """Return the budget of a section."""
    return Budget(section.kind, section.ratio, section.min_keep)


def _check_budgets(network: BoardNetwork, sections: Sequence[BudgetConfig]) -> None:
    structure = network.experiment.structure
    for section in sections:
        budget = budget_from(section)
        try:
            budget.check_possible(budget.floors(structure.widths), structure.cost)
        except BudgetError as error:
            raise BudgetError(f"networks: '{network.config.name}': {error}") from None
