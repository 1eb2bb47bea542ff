"""A space brought to life: its data, network, structure and budget, and the run folder that it works in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from blendsearch.allocation import ALLOCATIONS, Allocation, Budget, Limits
from blendsearch.compute import Compute, child_seed, generator
from blendsearch.config import Space
from blendsearch.criteria import ScoringSetup
from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import Split, UnlabelledImages
from blendsearch.data.splits import Splits, load_splits, settled
from blendsearch.errors import BudgetError, DataError
from blendsearch.evolution.engines.base import Engine
from blendsearch.evolution.engines.connecting import expected_workers, make_engine
from blendsearch.evolution.parallel import WorkerPool
from blendsearch.experiment.given import Given
from blendsearch.models.loading import build
from blendsearch.progress import Progress, silent
from blendsearch.progress.shown import patient
from blendsearch.proxies import ProxyContext
from blendsearch.results.records.common import BudgetRecord, DataRecord
from blendsearch.results.run_folder import RunFolder, check_same_space
from blendsearch.schedules import Refit
from blendsearch.statistics.ratings import Ratings, read_ratings
from blendsearch.structure import Structure
from blendsearch.training import Reconstruction
from blendsearch.validation.space import check_space, make, make_budget

S = TypeVar("S")
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


def unguarded() -> None:
    """Raise nothing: no other process can take over what this one is at."""


@dataclass
class Experiment:
    """What every job works with; parts are built when first asked for, and shared by `at`.

    run_folder: None for one that writes nothing, as before a job has opened its folder (see `open_run`).
    given: network and loaders in place of those that the space names.
    guard: raises RunError where another process has taken over what this one is at.
    """

    space: Space
    progress: Progress = silent
    run_folder: RunFolder | None = None
    given: Given | None = None
    guard: Callable[[], None] = unguarded

    def __post_init__(self) -> None:
        check_space(self.space)
        if self.given is not None:
            self.given.check(self.space)
        compute = self.space.compute
        self.compute = Compute.here(compute.device, compute.precision, compute.channels_last)
        self._expected = expected_workers(self.space.execution, compute, self.compute.device)

    def at(self, folder: RunFolder) -> Experiment:
        """Return the same experiment in another folder; what was built already is the same, not a copy."""
        other = copy.copy(self)
        other.run_folder = folder
        return other

    def settle(self) -> Experiment:
        """Put into the space what it leaves to the data, such as how many images calibrate; return the experiment."""
        self.space = self.space.model_copy(update={"data": settled(self.space.data, self.splits)})
        return self

    def settle_precision(self, folder: RunFolder) -> Experiment:
        """Put into the space what it leaves to the machine: the faster precision, or that with which a run began.

        A run that is resumed on another machine must not change its number format in between.
        """
        if self.space.compute.precision == "auto":
            begun = folder.space.compute.precision if folder.has("space.json") else "auto"
            self.use_precision(self.compute.precision if begun == "auto" else begun)
        return self

    def use_precision(self, precision: str) -> None:
        """Put a precision in the place of that which the space leaves to the machine."""
        self.compute = replace(self.compute, precision=precision)
        compute = self.space.compute.model_copy(update={"precision": precision})
        self.space = self.space.model_copy(update={"compute": compute})

    def check_same(self, folder: RunFolder, free: Sequence[str] = ()) -> Experiment:
        """Settle the precision, and raise RunError when the folder was made from another space; see `check_same_space`.

        free: keys that may differ.
        """
        check_same_space(folder, self.settle_precision(folder).space.to_dict(), free)
        return self

    @property
    def folder(self) -> RunFolder:
        """The folder that the job writes into."""
        assert self.run_folder is not None, "the job has not opened its folder yet"
        return self.run_folder

    @cached_property
    def splits(self) -> Splits:
        """The four splits of the data."""
        if self.given is not None:
            return self.given.splits(self.space, self.progress)
        return load_splits(self.space.data, self.space.seed, self.progress)

    @cached_property
    def search_parts(self) -> tuple[Split, Split] | None:
        """The search images that the search sees and the fresh ones held back for its choice; None without a choice.

        Raises DataError when one of them would have no image.
        """
        choice = self.space.search.choice
        return None if choice is None else part_split(self.splits.search, choice.share, self.seed("choice"))

    @cached_property
    def network(self) -> nn.Module:
        """The network as built, with the given weights or with seeded random ones; `train_unpruned` trains it."""
        if self.given is not None:
            return copy.deepcopy(self.given.network)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed("initialise"))
            return build(self.space.model, num_classes=len(self.splits.classes), shape=self.splits.shape)

    @cached_property
    def example(self) -> Tensor:
        """Two images of the right shape."""
        return torch.randn(2, *self.splits.shape, generator=torch.Generator().manual_seed(0))

    @cached_property
    def structure(self) -> Structure:
        """The groups of the network under the space's scope; BudgetError when the budget is impossible.

        A latency budget is checked when its table is there, see `price_structure`.
        """
        section = self.space.structure
        structure = Structure.of(
            self.network,
            self.example,
            scope=section.scope,
            ignore=section.ignore,
            ignore_inputs=section.ignore_inputs,
            progress=patient(self.progress),
        )
        if "latency" not in self.budget.ratios:
            self.check_budget(structure)
        return structure

    def check_budget(self, structure: Structure) -> None:
        """Raise BudgetError when the budget is impossible, or the lowest of those that a search for a front may try."""
        search = self.space.search
        Limits.check(self.budget, structure)
        if search.objectives and search.lowest is not None:
            try:
                Limits.check(replace(self.budget, ratio=search.lowest), structure)
            except BudgetError as error:
                raise BudgetError(f"search.lowest: {error}") from None

    @cached_property
    def ratings(self) -> Ratings | None:
        """People's ratings of the filters, or None when the space names no file."""
        given = self.space.ratings
        return None if given is None else read_ratings(given.file, given.fallback)

    @cached_property
    def budget(self) -> Budget:
        """How much may be kept."""
        return make_budget(self.space.budget)

    @cached_property
    def allocation(self) -> Allocation:
        """How the budget is shared out among the groups."""
        allocation: Allocation = make(ALLOCATIONS, self.space.allocation)
        return allocation

    @cached_property
    def compensation(self) -> Refit | None:
        """What refits pruned networks, with its images, or None; DataError when there are too few images."""
        section = self.space.compensation
        if section is None:
            return None
        return Refit(self._unlabelled(section.images, "compensation"), section.positions, section.ridge)

    @cached_property
    def reconstruction(self) -> Reconstruction | None:
        """What trains pruned networks towards the unpruned one, or None; DataError when there are too few images."""
        section = self.space.reconstruction
        if section is None:
            return None
        changes = self.space.data.augmentation
        images = self._unlabelled(section.images, "reconstruction")
        return Reconstruction(UnlabelledImages(images, Augmentation(changes.crop_padding, changes.flip)), section)

    def _unlabelled(self, count: int | None, key: str) -> Tensor:
        """Return images for a section of the space; those of the calibration split where it says no number."""
        parts = (self.splits.calibration, self.splits.train)
        wanted = len(self.splits.calibration) if count is None else count
        return take_unlabelled(parts, wanted, self.seed("compensation"), key)

    @property
    def scoring(self) -> ScoringSetup:
        """On what terms filters are scored."""
        return ScoringSetup(
            compute=self.compute,
            seed=self.seed("statistics"),
            ratings=self.ratings,
            group_rule=self.space.structure.group_rule,
            relevance_per_class=self.space.data.relevance_per_class,
            task=None if self.given is None else self.given.task,
        )

    @property
    def proxy_context(self) -> ProxyContext:
        """What proxies work with."""
        return ProxyContext(
            network=self.network,
            structure=self.structure,
            calibration=self.splits.calibration,
            search=self.splits.search,
            train=self.splits.train,
            training=self.space.retraining,
            compute=self.compute,
            seed=self.space.seed,
            loss=None if self.given is None else self.given.loss,
        )

    @property
    def data_name(self) -> str:
        """The data set's name; a class folder's is that of the folder."""
        data = self.space.data
        if self.given is not None:
            return "your images"
        return Path(data.root).name if data.name == "folder" and data.root else data.name

    @property
    def data_record(self) -> DataRecord:
        """The data set and its parts, as records tell them."""
        splits = self.splits
        return DataRecord(
            name=self.data_name,
            fingerprint=splits.fingerprint,
            classes=len(splits.classes) or None,
            train=len(splits.train),
            calibration=len(splits.calibration),
            search=len(splits.search),
            test=len(splits.test),
            labels=self.space.data.labels,
            search_from=splits.search_from,
            skipped=len(splits.skipped),
        )

    @property
    def budget_record(self) -> BudgetRecord:
        """The budget, as records tell it."""
        return BudgetRecord(kind=self.budget.kind, ratio=self.budget.ratio)

    def seed(self, *part: str | int) -> int:
        """Return the seed of a part of the experiment; each part draws from its own."""
        return child_seed(self.space.seed, *part)

    def pool(self, function: Callable[[S, I], R], state: S) -> WorkerPool[S, I, R]:
        """Return a pool of the space's workers, which apply a function of (state, item)."""
        return WorkerPool(function, state, threads=self.space.compute.threads, engine=self.engine)

    @cached_property
    def engine(self) -> Engine | None:
        """Whose workers evaluate and retrain; None: this process does. WorkerError where nobody answers."""
        return make_engine(self.space.execution, self.space.compute, self.compute.device)

    @property
    def workers(self) -> int:
        """How many workers there are; of an engine elsewhere that was not asked yet, and says nothing itself, one."""
        if "engine" in vars(self):
            return 1 if self.engine is None else self.engine.workers
        return self._expected or 1

    def connect(self) -> Experiment:
        """Join the engine, so that what is amiss with it is told before anything is written; return the experiment."""
        _ = self.engine
        return self


def part_split(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Return a share of a split's images, drawn by the seed, and the others, each in stored order.

    Raises DataError when one of the two would have no image.
    """
    count = round(share * len(split))
    if not 0 < count < len(split):
        raise DataError(
            f"search.choice.share: {share:g} given, which leaves {count} of {len(split)} search images to the search; "
            "allowed a share that leaves both parts one at least"
        )
    order = torch.randperm(len(split), generator=generator(seed, "parts"))
    return split.subset(order[:count].sort().values), split.subset(order[count:].sort().values)


def take_unlabelled(splits: Sequence[Split], count: int, seed: int, key: str = "compensation") -> Tensor:
    """Return `count` images [N, C, H, W], out of the first split as far as it goes, in an order of the seed's.

    Labels take no part in the choice. Raises DataError, about the section `key`, when there are fewer.
    """
    available = sum(len(split) for split in splits)
    if count > available:
        raise DataError(f"{key}.images: {count} given, at most {available} allowed (calibration and training images)")
    images = (one for split in splits for batch, _ in split.batches(100, seed=seed) for one in batch)
    return torch.stack(list(islice(images, count)))
