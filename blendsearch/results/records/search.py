"""The records of a search campaign, from its generations to summary.json."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from blendsearch.results.records.common import (
    Averages,
    Bounds,
    BudgetRecord,
    DataRecord,
    Difference,
    FidelityRecord,
    LatencyRecord,
    Number,
    PlanData,
    Record,
    Seconds,
    UnprunedRecord,
)
from blendsearch.results.records.retraining import Retraining


class Outcome(Averages):
    """What a contender came to: its proxy in the search, its allocation, its averages, milliseconds for one image."""

    proxy: Number = None
    allocation: str | None = None
    latency_ms: Number = None


class Part(Outcome):
    """A blend without its shares, or its shares without the blend, and the blend minus that part."""

    difference: Number = None
    interval: Bounds | None = None
    verdict: str | None = None
    sentence: str | None = None


class Named(Difference):
    """The blend minus a criterion that was chosen by name."""

    name: str


class Comparison(Difference):
    """The blend against the best criterion in hindsight, which the test images themselves chose, and against others.

    interval: corrected for the choice among so many criteria (`among`; None in records of older versions, not
    corrected); the other intervals are each for itself. without_search: against the criterion that the proxy puts
    first. rivals: against each fixed blend. basis: what the intervals come from, in words.
    same_filters: criteria that keep exactly the blend's filters. differences: criterion -> blend minus it.
    """

    best_criterion: str
    among: int | None = None
    basis: str | None = None
    same_filters: list[str] = Field(default_factory=list)
    differences: dict[str, Difference] = Field(default_factory=dict)
    without_search: Named | None = None
    rivals: dict[str, Difference] = Field(default_factory=dict)
    random_search: Difference | None = Field(None, alias="control")


class FrontSide(Outcome):
    """A network on the front; shares: what is kept, by kind of cost."""

    shares: dict[str, Number] = Field(default_factory=dict)


class FrontCriterion(FrontSide):
    """The criterion that the proxy puts first at a point's budget."""

    name: str


class FrontPoint(FrontSide):
    """A retrained point of the front beside its criterion; budget: the kept share it was pruned to.

    place: 1 is the dearest, the campaign's blend. file: of its blend. difference: point minus criterion, paired.
    """

    place: int
    budget: float
    file: str | None = None
    criterion: FrontCriterion
    difference: Number = None
    interval: Bounds | None = None
    same_filters: bool = False


class PhaseCost(Record):
    """A phase of a search: its unit, generations, evaluations (repeated ones included), and the best proxy so far."""

    unit: str | None = None
    generations: int
    evaluations: int
    best: Number = None


class SearchCost(Record):
    """What ended a search and what it cost: different plans, seconds and passes of their evaluations.

    stopped_by: "generations" or the kind of a limit. Seconds and passes are added up over the workers. failed: reason
    -> how many trials failed for it; failed_draws: of the random search that stands against it. stopped: how many plans
    were read on a part of the search images alone.
    """

    stopped_by: str | None = None
    evaluations: int
    seconds: Number = None
    passes: int | None = None
    phases: list[PhaseCost] = Field(default_factory=list)
    failed: dict[str, int] = Field(default_factory=dict)
    failed_draws: dict[str, int] = Field(default_factory=dict)
    stopped: int = 0


class FinalsSummary(Record):
    """How many candidates the finals had, what these cost, and whether the proxy's first one won."""

    candidates: int
    trainings: int
    seconds: Number = None
    proxy_was_right: bool


class Rival(Outcome):
    """What a fixed blend came to; note and cost of its choice as in records/rivals.json."""

    note: str | None = None
    evaluations: int = 0
    seconds: Number = None


class ChoiceSummary(Record):
    """The choice on fresh search images: how many plans, the means of their proxies on either part, and its sentence.

    optimism: how much lower these are on fresh images, beyond what the criteria, which no search chose, are lower
    there. proxy_was_right: whether the plan that was best on the seen images was chosen.
    """

    candidates: int
    seen: float
    fresh: float
    optimism: float
    proxy_was_right: bool
    sentence: str


class SwapsSummary(Record):
    """What single swaps made of a plan.

    start, proxy: before and after. evaluations: plans that were judged, one swap away or with several that help made
    together. made: swaps that were made.
    """

    start: float
    proxy: float
    evaluations: int
    made: int


class ReallocationSummary(Record):
    """What moving filters between layers made of a plan.

    start, proxy: before and after. evaluations: plans that were judged. made: steps that were made, each of which moves
    filters of several groups. moved: by how many filters groups grew, added up.
    """

    start: float
    proxy: float
    evaluations: int
    made: int
    moved: int


class Optimism(Record):
    """How much better networks look on the search images than on the test images, as differences of shares.

    proxy: the blend's proxy minus its test accuracy after retraining. retrained: search minus test accuracy of the
    blend's networks, mean over the seeds; unpruned: of the unpruned network, with its 95 % interval.
    """

    proxy: Number = None
    retrained: Number = None
    unpruned: Number = None
    interval: Bounds | None = None
    sentence: str


class LatencyPair(Record):
    """Milliseconds of a batch through the unpruned and the shipped network, measured by turns; runtime: "torch"."""

    runtime: str
    device: str
    threads: int
    images: int
    unpruned_ms: float
    shipped_ms: float


class Shipped(Record):
    """The network to ship: that in network.safetensors, by the plan in plan.json.

    name, kind: whose it is; of so many candidates whose accuracy on the search images (mean over the seeds) is within
    one standard error of the highest it has the highest proxy; no test image had a part in that. Of its networks the
    one of the seed `seed` is best there; its own are search_accuracy and test_accuracy, in [0, 1]. lost: test accuracy
    of the unpruned network minus its own, with the 95 % interval over the paired test images (None where nothing
    varies, or where it is not known which were right).
    megabytes: of the weights' file, 10^6 bytes. best_on_test: who has the highest mean test accuracy in hindsight.
    """

    name: str
    kind: str
    seed: int = 0
    candidates: int
    search_accuracy: float
    test_accuracy: float
    lost: float
    interval: Bounds | None = None
    test_images: int | None = None
    flops: Number = None
    params: Number = None
    flops_ratio: float
    params_ratio: float
    megabytes: float
    unpruned_megabytes: float
    latency: list[LatencyPair] = Field(default_factory=list)
    best_on_test: str
    best_on_test_accuracy: float
    sentence: str


class SearchSummary(Record):
    """summary.json of a search campaign: accuracies and ratios in [0, 1].

    algorithm: whose searched, and which; None in records of older versions. left_out: criterion -> why it cannot score
    this network; rivals_left_out: rival -> why there is none. not_retrained: criteria that the proxy put behind those
    that search.retrained_criteria asks for. reallocation, swaps: of the blend's plan, where there were any. refused:
    module -> why it cannot be pruned. shipped: None in records of older versions, whose network.safetensors is the
    blend's. metric: what stands in place of accuracy, where that is a function of the user's own.
    """

    shipped: Shipped | None = None
    name: str
    seed: int
    seeds: int = 1
    budget: BudgetRecord
    allocation: Any = None
    schedule: Any = None
    proxy: Any = None
    algorithm: str | None = None
    unpruned: UnprunedRecord = Field(alias="baseline")
    blend: Outcome
    latency: LatencyRecord | None = None
    criteria: dict[str, Outcome] = Field(default_factory=dict)
    random_search: Outcome | None = Field(None, alias="control")
    rivals: dict[str, Rival] = Field(default_factory=dict)
    rivals_left_out: dict[str, str] = Field(default_factory=dict)
    ablation: dict[str, Part] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
    not_retrained: list[str] = Field(default_factory=list)
    refused: dict[str, str] = Field(default_factory=dict)
    comparison: Comparison
    fidelity: FidelityRecord | None = None
    seconds: Seconds = Field(default_factory=dict)
    trials: int | None = None
    search: SearchCost | None = None
    finals: FinalsSummary | None = None
    choice: ChoiceSummary | None = None
    reallocation: ReallocationSummary | None = None
    swaps: SwapsSummary | None = None
    optimism: Optimism | None = None
    metric: str | None = None
    front: list[FrontPoint] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    data: DataRecord = DataRecord()


class RetrainedEntry(Retraining):
    """One entry of records/retrained.json: a retraining, with the contender's proxy."""

    proxy: Number = None


class GroupRecord(Record):
    """One entry of records/groups.json: a group's width, and how many filters each contender kept (first seed)."""

    name: str
    width: int
    stage: str | None = None
    convolutions: list[str] = Field(default_factory=list)
    kept: dict[str, int] = Field(default_factory=dict)


class Generation(Record):
    """One generation in numbers; proxies in [0, 1], `seconds` and `passes` of its evaluations, `evaluations` so far.

    distinct: different plans so far. passes: images run through pruned networks; one that a network was trained on
    counts three. unit: of the blends it searched; None in records of older versions. refined: whether it is the one
    that closes a search for a front, see `Search.refine_front`. failed: reason -> how many trials failed for it; best,
    mean and worst are of the others. stopped: how many were read on a part of the search images alone.
    """

    generation: int
    evaluations: int
    distinct: int = 0
    best: float
    mean: float
    worst: float
    best_so_far: float
    seconds: float = 0.0
    unit: str | None = None
    passes: int = 0
    refined: bool = Field(False, alias="lifted")
    failed: dict[str, int] = Field(default_factory=dict)
    stopped: int = 0


class ClustersRecord(Record):
    """records/clusters.json: which criteria rank alike in each unit."""

    unit: str
    groups: dict[str, list[str]]
    members: dict[str, list[list[str]]]


class BlendWeights(Record):
    """blend.json as reports show it: calibration factors for each unit, and its exponent where it is set-aware."""

    unit: str
    weights: dict[str, dict[str, float]]
    alpha: dict[str, float] = Field(default_factory=dict)


class RandomSearchRecord(Record):
    """records/control.json: what a random search of equal cost found.

    number: of the best genome it drew, from 0. finalists: number and proxy of those that stand in finals or a choice.
    failed: reason -> how many of the draws failed for it; none of them can be the best.
    """

    number: int
    proxy: float
    evaluations: int
    passes: int | None = None
    finalists: list[tuple[int, float]] = Field(default_factory=list)
    failed: dict[str, int] = Field(default_factory=dict)


class StartRecord(Record):
    """One entry of records/start_from.json: a blend that the search began with, and how it came to fit.

    dropped: unit -> criteria that its genome had no room for.
    """

    path: str
    rule: str
    blend: dict[str, Any]
    dropped: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)


class HalvingRung(Record):
    """A rung of the finals: its share of the retraining, and that in epochs."""

    share: float
    epochs: float


class HalvingOutcome(Record):
    """records/finals/KEY.json: a plan trained for a rung's share.

    correct: for each seed a text of 0 and 1, image by image of the search split. plan: its digest.
    """

    rung: int
    share: float
    plan: str
    accuracy: float
    correct: list[str] = Field(alias="right")
    steps: int
    seconds: float


class Finalist(Record):
    """A candidate of the finals: its trial, and its accuracy on the search split at each rung that it climbed."""

    trial: int
    proxy: Number = None
    accuracies: list[float] = Field(default_factory=list)
    seconds: Number = None
    stopped: str | None = None
    digest: str | None = None
    plan: PlanData | None = None
    genome: dict[str, float] = Field(default_factory=dict)


class FinalsRecord(Record):
    """records/finals.json: the short retrainings that chose the blend, candidates in the proxy's order."""

    rungs: list[HalvingRung]
    seeds: int
    seconds: Number = None
    candidates: list[Finalist]


class ChoiceCandidate(Record):
    """A plan of the choice: its trial, its proxy on the images that the search saw, on fresh ones, and on all."""

    trial: int
    seen: float
    fresh: float
    proxy: float
    digest: str
    plan: PlanData
    genome: dict[str, float] = Field(default_factory=dict)
    chosen: bool = False


class ChoiceRecord(Record):
    """records/choice.json: the best few plans on search images that the search has not seen, best seen first.

    seen, fresh: how many images each part has. criteria_seen, criteria_fresh: the mean proxies of the criteria there,
    which no search chose: one part may be the harder one.
    """

    seen: int
    fresh: int
    criteria_seen: float
    criteria_fresh: float
    seconds: Number = None
    passes: int = 0
    candidates: list[ChoiceCandidate]


class LayerByLayerRecord(Record):
    """records/layer_by_layer-NAME.json: plans whose sets were chosen on what the already pruned network gives."""

    plans: list[PlanData]


class SwapsRecord(SwapsSummary):
    """records/swaps-NAME.json: what single swaps made of a plan, and the plan."""

    plan: PlanData


class ReallocationRecord(ReallocationSummary):
    """records/reallocation-NAME.json: what moving filters between layers made of a plan, and the plan."""

    plan: PlanData


class RivalRecord(Record):
    """A fixed blend that stands against the one that is found; evaluations, passes, seconds: what choosing it cost.

    note: in words, what of its recipe is left out, or which criterion it is.
    """

    blend: dict[str, Any]
    evaluations: int = 0
    passes: int = 0
    seconds: Number = None
    note: str | None = None


class RivalsRecord(Record):
    """records/rivals.json: the rivals by name, and which there are not, and why."""

    rivals: dict[str, RivalRecord] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)


class FrontChoice(Record):
    """A point of the front that is retrained: its budget, proxy, genome, and the criterion that stands beside it."""

    place: int
    ratio: float
    proxy: float
    criterion: str
    genome: list[float]


class FrontRecord(Record):
    """records/front.json: proxy and kept shares of every trial, the numbers of those that no other dominates.

    points: those that are retrained, the dearest first. lowest, highest: the budgets that were searched.
    """

    costs: Annotated[list[str], Field(min_length=1)]
    lowest: Number = None
    highest: Number = None
    points: Annotated[list[FrontChoice], BeforeValidator(lambda given: given or [])] = Field(default_factory=list)
    trials: Annotated[list[list[float]], Field(min_length=1)]
    front: list[int]
