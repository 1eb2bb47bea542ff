"""The progressive paper's loop: a person looks at a layer, it is pruned, what lies before it trains; then the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor, nn

from blendsearch.allocation import Allocation
from blendsearch.criteria import score_network
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.unpruned import prepare_allocation
from blendsearch.results.records.review import LoopCounts, LoopRecord
from blendsearch.results.run_folder import versions
from blendsearch.review.aside import Aside
from blendsearch.review.inspector import Inspector
from blendsearch.review.marks import Marks
from blendsearch.schedules import Job
from blendsearch.schedules.stages import Place, StagedSchedule
from blendsearch.structure import Plan, Structure
from blendsearch.training.evaluation import evaluate
from blendsearch.validation.space import pruning_schedule

BY = "subjective"
CHECKPOINT = "review"


class FixedCounts(Allocation):
    """Keeps the counts that were settled at the beginning, however the marks change on the way."""

    name = "fixed"
    source = "not in the registry"

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    def counts(self, *given: Any) -> dict[str, int]:
        return dict(self._counts)


@dataclass(frozen=True, kw_only=True)
class LoopStatus:
    """What the page shows of a loop: the layer at hand, how many of its filters are kept, and what goes on.

    message: of the work under way. error: that ended it. result: the finished loop's record, empty before.
    """

    layer: int
    keep: int
    working: bool
    message: str
    error: str
    result: dict[str, Any]
    edition: str

    def to_dict(self) -> dict[str, Any]:
        """Return the status as the page's script reads it."""
        return asdict(self)


class Loop:
    """Where the loop stands. One thread at a time prunes and trains; the page asks `status` meanwhile.

    inspect: makes what the page shows of the network as it is then. aside: where that thread runs. counts: how many
    filters each group is to keep, settled once by the space's allocation.
    """

    def __init__(
        self, experiment: Experiment, marks: Marks, inspect: Callable[[Place], Inspector], aside: Aside
    ) -> None:
        self._experiment, self._marks, self._inspect, self._aside = experiment, marks, inspect, aside
        self._groups = [group.name for group in experiment.structure.groups]
        self._lock = threading.Lock()
        self._message = ""
        self._error = ""
        self._working = False
        self.result: LoopRecord | None = None
        schedule = pruning_schedule(experiment.space, "review")
        assert isinstance(schedule, StagedSchedule)
        self.counts = experiment.folder.cached("records/review.json", LoopCounts, self._settle_counts).counts
        self._places: Iterator[Place] = schedule.places(experiment.network, self._job())
        self.place = next(self._places)
        self.inspector = inspect(self.place)
        if self.place.cut:
            self.advance()  # it was stopped while it trained

    @property
    def number(self) -> int:
        """The number of the layer whose turn it is, from 0."""
        return min(self.place.number, len(self._groups)) - 1

    def waits_for(self, number: int) -> bool:
        """Tell whether marks of a layer are being waited for."""
        return not self._working and self.result is None and number == self.number

    def plan_as_marked(self) -> Plan:
        """Return what stays of the unpruned network by now, without what is marked drop in the layer at hand."""
        plan = self.place.plan
        group = self._groups[self.number]
        if self.result is not None or self.place.cut or len(plan.keep[group]) < plan.widths[group]:
            return plan
        marked = self._marks.plan({group: plan.widths[group]})
        return Plan({**plan.keep, group: marked.keep[group]}, plan.widths)

    def status(self) -> LoopStatus:
        """Return what the page shows."""
        return LoopStatus(
            layer=self.number,
            keep=self.counts[self._groups[self.number]],
            working=self._working,
            message=self._message,
            error=self._error,
            result=self.result.to_dict() if self.result is not None else {},
            edition=self.inspector.edition,
        )

    def advance(self) -> bool:
        """Begin to prune the layer at hand and to train, in a thread; False when that is under way or all is done."""
        with self._lock:
            if self._working or self.result is not None or self._error:
                return False
            self._working, self._message = True, "pruning"
        self._aside.begin(self._step)
        return True

    def _step(self) -> None:
        try:
            self._marks.forget_changes()
            self.place = next(self._places)
            if self.place.number > len(self._groups):
                self.result = self._finish()
            self.inspector = self._inspect(self.place)
        except Exception as error:  # the page has to say it: nobody waits for this thread
            self._error = f"{type(error).__name__}: {error}; stop the server and continue with --resume"
        finally:
            self._working, self._message = False, ""

    def _progress(self, task: str, done: int, total: int, detail: str = "") -> None:
        self._message = f"{task}: {done} of {total} {detail}".rstrip()

    def _settle_counts(self) -> LoopCounts:
        experiment = self._experiment
        scores = self._score(experiment.network, experiment.structure)
        allocation = prepare_allocation(experiment)
        return LoopCounts(counts=allocation.allocate(experiment.structure, scores, experiment.budget))

    def _score(self, network: nn.Module, structure: Structure) -> dict[str, Tensor]:
        """Score a network by the marks as they are now."""
        experiment, given = self._experiment, self._experiment.space.ratings
        ratings = self._marks.ratings(given.fallback if given is not None else None)
        batches = experiment.splits.calibration.batches(128)
        return score_network(network, structure, batches, [BY], replace(experiment.scoring, ratings=ratings))[BY]

    def _job(self) -> Job:
        experiment, training = self._experiment, self._experiment.space.retraining
        return Job(
            structure=experiment.structure,
            scorer=self._score,
            allocation=FixedCounts(self.counts),
            budget=experiment.budget,
            train=experiment.splits.train,
            training=training,
            seed=experiment.seed("retraining", 0),
            compute=experiment.compute,
            progress=self._progress,
            checkpoint=experiment.folder.checkpoint(CHECKPOINT),
            teacher=experiment.network,
            validation=experiment.splits.search if training.early_stop else None,
            compensation=experiment.compensation,
            reconstruction=experiment.reconstruction,
        )

    def _finish(self) -> LoopRecord:
        """Read the accuracies, the test split's once, and leave network, plan and summary in the folder."""
        experiment, place, folder = self._experiment, self.place, self._experiment.folder
        compute, cost, counts = experiment.compute, experiment.structure.cost, place.plan.counts
        result = LoopRecord(
            name=experiment.space.name,
            search_accuracy=evaluate(place.network, experiment.splits.search.batches(500), compute).accuracy,
            test_accuracy=evaluate(place.network, experiment.splits.test.batches(500), compute).accuracy,
            flops_ratio=cost.ratio("flops", counts),
            params_ratio=cost.ratio("params", counts),
            kept={group: (counts[group], width) for group, width in place.plan.widths.items()},
            seed=experiment.space.seed,
            versions=versions(),
        )
        folder.write_tensors("network.safetensors", place.network.state_dict())
        folder.write_json("plan.json", place.plan.to_dict())
        folder.write_record("summary.json", result)
        folder.checkpoint(CHECKPOINT).remove()
        return result
