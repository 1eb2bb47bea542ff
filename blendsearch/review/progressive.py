"""The progressive paper's loop: a person looks at a layer, it is pruned, what lies before it trains; then the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from blendsearch.allocation import Allocation
from blendsearch.compute import child_seed
from blendsearch.criteria import measures_of, score_groups
from blendsearch.experiment.experiment import Experiment, prepare_allocation
from blendsearch.results.run_folder import RunFolder
from blendsearch.results.versions import versions
from blendsearch.review.inspector import Desk
from blendsearch.review.marks import Book
from blendsearch.schedules import Job
from blendsearch.schedules.stages import Place, StagedSchedule
from blendsearch.statistics import gather
from blendsearch.structure import Plan, Structure
from blendsearch.training.evaluation import evaluate
from blendsearch.validation.space import pruning_schedule

BY = "subjective"
CHECKPOINT = "review"


class Settled(Allocation):
    """Keeps the counts that were settled at the beginning, however the marks change on the way."""

    name = "settled"
    source = "not in the registry"

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    def counts(self, *given: Any) -> dict[str, int]:
        return dict(self._counts)


class Loop:
    """Where the loop stands. One thread at a time prunes and trains; the page asks `status` meanwhile.

    counts: how many filters each group is to keep, settled once by the space's allocation.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder, book: Book, desk_of: Callable[[Place], Desk]) -> None:
        self._bench, self._folder, self._book, self._desk_of = experiment, folder, book, desk_of
        self._groups = [group.name for group in experiment.structure.groups]
        self._lock = threading.Lock()
        self._message = ""
        self._error = ""
        self._working = False
        self.result: dict[str, Any] = {}
        schedule = pruning_schedule(experiment.space, "review")
        assert isinstance(schedule, StagedSchedule)
        self.counts = self._settled()
        self._places: Iterator[Place] = schedule.places(experiment.network, self._job())
        self.place = next(self._places)
        self.desk = desk_of(self.place)
        if self.place.cut:
            self.advance()  # it was stopped while it trained

    @property
    def number(self) -> int:
        """The number of the layer whose turn it is, from 0."""
        return min(self.place.number, len(self._groups)) - 1

    def waits_for(self, number: int) -> bool:
        """Tell whether marks of a layer are being waited for."""
        return not self._working and not self.result and number == self.number

    def plan_as_marked(self) -> Plan:
        """Return what stays of the unpruned network by now, without what is marked drop in the layer at hand."""
        plan = self.place.plan
        group = self._groups[self.number]
        if self.result or self.place.cut or len(plan.keep[group]) < plan.widths[group]:
            return plan
        marked = self._book.plan({group: plan.widths[group]})
        return Plan({**plan.keep, group: marked.keep[group]}, plan.widths)

    def status(self) -> dict[str, Any]:
        """Return what the page shows: layer, keep (of its filters), working, message, error, result."""
        keep = self.counts[self._groups[self.number]]
        return {
            "layer": self.number, "keep": keep, "working": self._working, "message": self._message,
            "error": self._error, "result": self.result, "edition": self.desk.edition,
        }  # fmt: skip

    def advance(self) -> bool:
        """Begin to prune the layer at hand and to train, in a thread; False when that is under way or all is done."""
        with self._lock:
            if self._working or self.result or self._error:
                return False
            self._working, self._message = True, "pruning"
        threading.Thread(target=self._step, daemon=True).start()
        return True

    def _step(self) -> None:
        try:
            self._book.forget_changes()
            self.place = next(self._places)
            if self.place.number > len(self._groups):
                self.result = self._finished()
            self.desk = self._desk_of(self.place)
        except Exception as error:  # the page has to say it: nobody waits for this thread
            self._error = f"{type(error).__name__}: {error}; stop the server and continue with --resume"
        finally:
            self._working, self._message = False, ""

    def _progress(self, task: str, done: int, total: int, detail: str = "") -> None:
        self._message = f"{task}: {done} of {total} {detail}".rstrip()

    def _settled(self) -> dict[str, int]:
        name = "records/review.json"
        if not self._folder.has(name):
            experiment, scores = self._bench, self._scorer()(self._bench.network, self._bench.structure)
            counts = prepare_allocation(experiment, self._folder).allocate(
                experiment.structure, scores, experiment.budget
            )
            self._folder.write_json(name, {"counts": counts})
        counts = self._folder.read_json(name)["counts"]
        return {group: int(count) for group, count in counts.items()}

    def _scorer(self) -> Callable[[nn.Module, Structure], dict[str, Tensor]]:
        """Return what scores a network by the marks as they are when it is asked."""
        experiment, given = self._bench, self._bench.space.ratings
        space, seed = experiment.space, child_seed(experiment.space.seed, "statistics")

        def score(network: nn.Module, structure: Structure) -> dict[str, Tensor]:
            ratings = self._book.ratings(given.fallback if given is not None else None)
            statistics = gather(
                network, structure, experiment.splits.calibration.batches(128), measures_of([BY], ratings),
                compute=experiment.compute, seed=seed, ratings=ratings, relevance_per_class=space.data.relevance_per_class,
            )  # fmt: skip
            return score_groups(structure, statistics, [BY], group_rule=space.structure.group_rule)[BY]

        return score

    def _job(self) -> Job:
        experiment, training = self._bench, self._bench.space.retraining
        return Job(
            experiment.structure, self._scorer(), Settled(self.counts), experiment.budget, experiment.splits.train, training,
            seed=child_seed(experiment.space.seed, "retraining", 0), compute=experiment.compute, progress=self._progress,
            checkpoint=self._folder.checkpoint(CHECKPOINT), teacher=experiment.network,
            validation=experiment.splits.search if training.early_stop else None, compensation=experiment.compensation,
        )  # fmt: skip

    def _finished(self) -> dict[str, Any]:
        """Read the accuracies, the test split's once, and leave network, plan and summary in the folder."""
        experiment, place, folder = self._bench, self.place, self._folder
        compute, cost, counts = experiment.compute, experiment.structure.cost, place.plan.counts
        result = {
            "name": experiment.space.name,
            "search_accuracy": evaluate(place.network, experiment.splits.search.batches(500), compute).accuracy,
            "test_accuracy": evaluate(place.network, experiment.splits.test.batches(500), compute).accuracy,
            "flops_ratio": cost.ratio("flops", counts),
            "params_ratio": cost.ratio("params", counts),
            "kept": {group: [counts[group], width] for group, width in place.plan.widths.items()},
            "seed": experiment.space.seed,
            "versions": versions(),
        }
        folder.write_tensors("network.safetensors", place.network.state_dict())
        folder.write_json("plan.json", place.plan.to_dict())
        folder.write_json("summary.json", result)
        folder.checkpoint(CHECKPOINT).remove()
        return result
