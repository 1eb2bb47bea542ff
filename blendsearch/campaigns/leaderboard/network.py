"""One network of a leaderboard: trained once, scored once by each criterion, its allocations measured once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from blendsearch.allocation import ALLOCATIONS, Allocation, Limits
from blendsearch.blending import Blend, Scores
from blendsearch.campaigns.leaderboard.keys import Key, allocation_key, criterion_key, digest, network_key
from blendsearch.campaigns.leaderboard.sharing import Sharing
from blendsearch.compute import threads
from blendsearch.config import Board, BudgetConfig, NamedSection, NetworkConfig
from blendsearch.criteria import applicable, score_applicable
from blendsearch.errors import BlendsearchError, BudgetError
from blendsearch.experiment import Experiment, check_before_work
from blendsearch.experiment.latency import price_structure
from blendsearch.experiment.losses import LOSSES, gather_losses, losses_for, write_losses
from blendsearch.experiment.members import blend_scores
from blendsearch.experiment.open_run import notes_on_precision
from blendsearch.experiment.scoring import known_before_training, measure_agreement
from blendsearch.experiment.unpruned import RECORD, measure_allocation, read_test_accuracy, train_unpruned
from blendsearch.progress import Progress, tell
from blendsearch.results.reading import taken_from
from blendsearch.results.records.common import AgreementRecord, UnprunedRecord
from blendsearch.results.records.leaderboard import BoardNetworkRecord, CriterionScored, LossesGathered
from blendsearch.results.run_folder import RunFolder
from blendsearch.validation.board import all_criteria
from blendsearch.validation.space import make, make_budget


@dataclass
class BoardNetwork:
    """A network of a board at work, an experiment in a folder of its own below that of the board.

    key: what determines it. unpruned: its record, with the test accuracy. scores: criterion -> group -> [C].
    seconds: criterion -> those that its scores took, alone. losses_seconds: those that drop losses took, 0 where no
    blend is set-aware. left_out: criterion -> why it cannot score this network.
    """

    board: Board
    config: NetworkConfig
    experiment: Experiment
    blends: dict[str, Blend]
    key: Key
    unpruned: UnprunedRecord = field(default_factory=UnprunedRecord)
    scores: Scores = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    losses_seconds: float = 0.0
    left_out: dict[str, str] = field(default_factory=dict)
    allocations: list[Allocation] = field(default_factory=list)

    @classmethod
    def load(cls, board: Board, config: NetworkConfig, blends: dict[str, Blend], progress: Progress) -> BoardNetwork:
        """Load the data and read the structure; BlendsearchError for what can be known to fail before any work."""
        experiment = Experiment(board.space(config), progress).connect()
        network = cls(board, config, experiment, blends, network_key(board, config, experiment))
        network._check_budgets([budget for budget in board.budgets if "latency" not in budget.all_ratios])
        try:
            check_before_work(experiment)
        except BlendsearchError as error:
            raise type(error)(f"networks: '{config.name}': {error}") from None
        for name, blend in blends.items():
            try:
                blend.check_covers(list(experiment.structure.widths))
            except BlendsearchError as error:
                raise BlendsearchError(f"networks: '{config.name}': blends: '{name}': {error}") from None
        scored = list(all_criteria(board, blends))
        for name, reason in applicable(scored, experiment.structure, known_before_training(experiment)).items():
            network._leave_out(name, reason)
        return network

    @property
    def name(self) -> str:
        """The name that the board gives it."""
        return self.config.name

    @property
    def folder_name(self) -> str:
        """Its folder below that of the board."""
        return f"networks/{self.name}-{digest(self.key)}"

    @property
    def compared(self) -> dict[str, Blend]:
        """What is compared on this network: every criterion that applies, as a blend of one, and the blends."""
        wanted = list(self.scores) if self.board.criteria == "all" else self.board.criteria
        return {**{name: Blend.single(name) for name in wanted}, **self.blends}

    def settle_precision(self, sharing: Sharing) -> None:
        """Take the precision with which the board began on such a device, where it leaves that to the machine.

        It is found by timing: where the two are nearly as fast, another start would find the other one, and with it
        other cells.
        """
        compute = self.experiment.compute
        if self.experiment.space.compute.precision == "auto":
            self.experiment.use_precision(sharing.precision(compute.kind, compute.precision))
            self.key = network_key(self.board, self.config, self.experiment)
            for note in notes_on_precision(self.experiment.compute, "the board began with it"):
                tell(self.experiment.progress, note)

    def prepare(self, board_folder: RunFolder) -> None:
        """Train, score and measure what is not in the network's folder yet."""
        experiment = self.experiment = self.experiment.at(RunFolder(board_folder / self.folder_name))
        experiment.folder.write_json("network.json", self.key)
        with threads(self.board.compute.threads):
            price_structure(experiment)
            self._check_budgets(self.board.budgets)
            trained = train_unpruned(experiment)
            self.unpruned = trained.model_copy(update={"test_accuracy": read_test_accuracy(experiment)})
            self._score()
            self._gather_losses()
            self.allocations = [self._prepare_allocation(section) for section in self.board.allocations]

    def scoring_seconds(self, blend: Blend) -> float:
        """Return the seconds that scoring took: of a blend, of its members in turn and of the drop losses it takes."""
        of_losses = self.losses_seconds if blend.set_aware else 0.0
        return round(sum(self.seconds[name] for name in blend.criteria) + of_losses, 3)

    def describe(self) -> BoardNetworkRecord:
        """Return what the board's record says of this network."""
        return BoardNetworkRecord(
            name=self.name,
            model=self.config.model.name,
            file=f"{self.folder_name}/{RECORD}",
            unpruned=self.unpruned,
            left_out=self.left_out,
            refused=self.experiment.structure.refused,
            data=self.experiment.data_record,
        )

    def measure_agreement(self) -> AgreementRecord:
        """Return Spearman's rho between all that is compared."""
        losses = losses_for(self.experiment, self.blends.values())
        compared = self.compared.items()
        return measure_agreement({name: blend_scores(blend, self.scores, losses) for name, blend in compared})

    def _score(self) -> None:
        """Score by each criterion in a pass of its own: what it takes is known, and a new one needs no other again."""
        folder, progress = self.experiment.folder, self.experiment.progress
        wanted = list(all_criteria(self.board, self.blends))
        for position, name in enumerate(wanted):
            progress("scoring", position, len(wanted), f"{self.name}: {name}")
            file = f"scores/{name}-{digest(criterion_key(name, self.experiment.ratings))}"
            if not folder.has(f"{file}.json"):
                self._score_by(name, file)
            record = folder.read_record(f"{file}.json", CriterionScored)
            if record.left_out:
                self._leave_out(name, record.left_out)
            else:
                self.scores[name] = folder.read_tensors(f"{file}.safetensors")
                self.seconds[name] = record.seconds
        progress("scoring", len(wanted), len(wanted), self.name)

    def _score_by(self, name: str, file: str) -> None:
        experiment, start = self.experiment, time.perf_counter()
        batches = experiment.splits.calibration.batches(128)
        found = score_applicable(experiment.network, experiment.structure, batches, [name], experiment.scoring)
        if name in found.scores:
            experiment.folder.write_tensors(f"{file}.safetensors", found.scores[name])
        seconds = round(time.perf_counter() - start, 3)
        record = CriterionScored(criterion=name, seconds=seconds, left_out=found.left_out.get(name, ""))
        experiment.folder.write_record(f"{file}.json", record)

    def _gather_losses(self) -> None:
        """Gather drop losses where a blend is set-aware, in a pass of their own, and note what they took.

        A folder of an earlier version has the losses, which stay as they are, but not their time: it is taken again.
        """
        folder, file = self.experiment.folder, "losses.json"
        if not any(blend.set_aware for blend in self.blends.values()):
            return
        if not folder.has(file):
            start = time.perf_counter()
            losses = gather_losses(self.experiment)
            if not folder.has(LOSSES):
                write_losses(folder, losses)
            folder.write_record(file, LossesGathered(seconds=round(time.perf_counter() - start, 3)))
        self.losses_seconds = folder.read_record(file, LossesGathered).seconds

    def _leave_out(self, name: str, reason: str) -> None:
        members = [label for label, blend in self.blends.items() if name in blend.criteria]
        asked = [*(["criteria"] if self.board.criteria != "all" and name in self.board.criteria else []), *members]
        if asked:
            raise BlendsearchError(f"networks: '{self.name}': {', '.join(asked)}: '{name}': {reason}")
        self.left_out[name] = reason

    def _prepare_allocation(self, section: NamedSection) -> Allocation:
        """Return an allocation with what it measures on this network, measured now or read."""
        folder, file = self.experiment.folder, f"allocations/{section.name}-{digest(allocation_key(section))}.json"
        allocation: Allocation = make(ALLOCATIONS, section)
        if folder.has(file):
            with taken_from(folder / file):
                allocation.load_state_dict(folder.read_json(file))
        else:
            measure_allocation(self.experiment, allocation)
            folder.write_json(file, allocation.state_dict())
        return allocation

    def _check_budgets(self, sections: Sequence[BudgetConfig]) -> None:
        structure = self.experiment.structure
        for section in sections:
            budget = make_budget(section)
            try:
                Limits.check(budget, structure)
            except BudgetError as error:
                raise BudgetError(f"networks: '{self.name}': {error}") from None
