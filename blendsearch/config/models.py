"""The keys of a space file, their types, limits and defaults; nothing here reads files."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from blendsearch.config.yaml_text import to_yaml

LIMIT_KINDS = ("evaluations", "seconds", "forward_passes")
BUDGET_KINDS = ("flops", "params", "filters", "latency")
UNITS = ("network", "stage", "layer")


@dataclass(frozen=True)
class Allowed:
    """What a field may hold, in words, where its type and limits do not say it well."""

    words: str


def broken_rule(message: str) -> PydanticCustomError:
    """Build the error of a rule between several keys; its text is shown to the user as it is."""
    return PydanticCustomError("rule", "{message}", {"message": message})


def _without_repeats(names: list[str]) -> list[str]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise broken_rule(f"named more than once: {', '.join(repeated)}")
    return names


def _ascending(numbers: list[Any]) -> list[Any]:
    if any(left >= right for left, right in pairwise(numbers)):
        raise broken_rule(f"expected in ascending order, each once (given {', '.join(map(str, numbers))})")
    return numbers


def _ever_finer(units: list[str]) -> list[str]:
    places = [UNITS.index(unit) for unit in units]
    if any(left >= right for left, right in pairwise(places)):
        raise broken_rule(f"expected from coarse to fine, each once: {', '.join(UNITS)} (given {', '.join(units)})")
    return units


def _text_alone(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _name_alone(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _file_alone(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


def _list_as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, Field(min_length=1), Allowed("a text")]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(gt=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Names = Annotated[list[Text], Field(min_length=1), AfterValidator(_without_repeats), Allowed("a list of names")]
Counts = Annotated[list[Count], Field(min_length=1), AfterValidator(_ascending), Allowed("a list of counts")]
Ratios = Annotated[list[Ratio], Field(min_length=1), AfterValidator(_ascending), Allowed("a list of shares")]
Rung = Annotated[float, Field(gt=0, le=1)]
Rungs = Annotated[list[Rung], Field(min_length=1), AfterValidator(_ascending), Allowed("a list of shares, at most 1")]
Costs = Annotated[
    list[Literal["flops", "params", "latency"]],
    AfterValidator(_without_repeats),
    Allowed("a list of flops, params, latency, each at most once"),
]
Levels = Annotated[tuple[float, ...], Field(min_length=1), BeforeValidator(_list_as_tuple)]
Spreads = Annotated[tuple[Positive, ...], Field(min_length=1), BeforeValidator(_list_as_tuple)]
TableName = Annotated[
    str, Field(pattern=r"^[^\x00-\x1f|<>]+$"), Allowed("a text without line breaks, '|', '<' and '>'")
]
Unit = Literal["network", "stage", "layer"]
Units = Annotated[list[Unit], Field(min_length=1), AfterValidator(_ever_finer)]
Paths = Annotated[
    list[Text] | None, BeforeValidator(_text_alone), Allowed("the path of a blend file, a list of them, or null")
]
FolderName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"),
    Allowed("letters, digits, '.', '_' and '-', since it names the run folder"),
]
Device = Annotated[
    str,
    Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$"),
    Allowed("'auto', 'cpu', 'mps', 'cuda' or 'cuda:NUMBER'"),
]


class Section(BaseModel):
    """Base of every part of a space: no unknown keys, no type conversion, no change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class NamedSection(Section):
    """A registered name and the options for its factory: `uniform` or `{name: uniform, option: 1}`."""

    model_config = ConfigDict(extra="allow")

    name: Text

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments for the registered factory."""
        return dict(self.model_extra or {})


Named = Annotated[NamedSection, BeforeValidator(_name_alone), Allowed("a name, or a mapping with name and its options")]


class BlendFile(Section):
    """A blend's file, and the name it stands under; null: that of the file, or of its folder for `blend.json`."""

    file: Text
    name: TableName | None = None

    @property
    def label(self) -> str:
        """The name in tables."""
        path = Path(self.file)
        return self.name or (path.resolve().parent.name if path.stem == "blend" else path.stem)


BlendGiven = Annotated[BlendFile, BeforeValidator(_file_alone), Allowed("a file, or a mapping with file")]


class AugmentationConfig(Section):
    """Random changes of training images: padding in pixels before a random crop, and mirroring."""

    crop_padding: Annotated[int, Field(ge=0)] = 0
    flip: bool = False


class DataConfig(Section):
    """The data set and how many of its training images are set apart for calibration and search.

    mean, std: one number a channel for images in [0, 1]; null takes the data set's own.
    test: how many images to set apart as test part, for sets that come without one.
    limit: use only so many class-balanced training images, for quick trials.
    relevance_per_class: how many calibration images of each class LRP relevance takes, the dearest of the criteria's
    statistics; null takes all. Everything else takes all calibration images.
    """

    name: Text
    root: Text | None = None
    download: bool = False
    image_size: Count | None = None
    mean: Levels | None = None
    std: Spreads | None = None
    augmentation: AugmentationConfig = AugmentationConfig()
    calibration: Count = 512
    relevance_per_class: Count | None = 10
    search: Count = 1000
    test: Count | None = None
    in_memory: bool | Literal["auto"] = "auto"
    limit: Count | None = None
    workers: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _mean_and_std_agree(self) -> DataConfig:
        if self.mean and self.std and len(self.mean) != len(self.std):
            raise broken_rule(
                f"mean and std need one number a channel each (given {len(self.mean)} and {len(self.std)})"
            )
        return self


class ModelConfig(Section):
    """The network: a zoo name, `torchvision:NAME`, `timm:NAME` or `module.path:callable`, and its weights."""

    name: Text
    weights: Text | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)


class DistillationConfig(Section):
    """Learning from the unpruned network too: the share of its term in the loss, and the softmax temperature."""

    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 4.0


class EarlyStopConfig(Section):
    """Stop after `patience` epochs in which the accuracy on the search split rose by no more than `min_delta`."""

    patience: Count = 5
    min_delta: BelowOne = 0.0


class TrainingConfig(Section):
    """One training run; `epochs` may be a fraction, and 0 means that the network is taken as it is.

    early_stop: the learning rate still moves as for all `epochs`; networks may then differ in optimiser steps.
    """

    epochs: NotNegative
    batch_size: Count = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.05
    momentum: BelowOne = 0.9
    nesterov: bool = True
    weight_decay: NotNegative = 5e-4
    schedule: Literal["cosine", "one_cycle", "constant"] = "cosine"
    warmup_epochs: NotNegative = 0
    label_smoothing: BelowOne = 0
    clip_norm: Positive | None = None
    distillation: DistillationConfig | None = None
    early_stop: EarlyStopConfig | None = None

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> TrainingConfig:
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise broken_rule("nesterov needs a momentum above 0; set nesterov: false")
        return self


class RetrainingConfig(TrainingConfig):
    """Training of the pruned networks; with `seeds` above 1 each is retrained so often, for an interval."""

    seeds: Count = 1


class CompensationConfig(Section):
    """Closed-form refit after each cut, without labels: how many images, output positions per layer, and the ridge.

    Images come out of the calibration split and, when there are more of them, out of the training split.
    """

    images: Count = 1000
    positions: Count = 20_000
    ridge: Positive = 1e-3


class StructureConfig(Section):
    """Which channels may be pruned: all, or those inside residual blocks; `ignore` names modules to leave.

    group_rule: how the scores of coupled convolutions, as in a residual stream, become one.
    """

    scope: Literal["all", "inner"] = "all"
    ignore: list[Text] = Field(default_factory=list)
    group_rule: Literal["mean_rank", "mean", "sum", "max"] = "mean_rank"


class BudgetConfig(Section):
    """What remains after pruning, as a share of exactly one kind, and the least share a group keeps.

    latency_images: how many images a forward pass takes when latency is measured for a latency budget.
    """

    flops: Ratio | None = None
    params: Ratio | None = None
    filters: Ratio | None = None
    latency: Ratio | None = None
    latency_images: Count = 1
    min_keep: BelowOne = 0.1

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> BudgetConfig:
        given = [kind for kind in BUDGET_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise broken_rule(
                f"a budget has exactly one kind (given {' and '.join(given) or 'none'}, "
                f"allowed one of {', '.join(BUDGET_KINDS)}; set a kind to null to take it back)"
            )
        return self

    @property
    def kind(self) -> str:
        """The kind that was given: flops, params, filters or latency."""
        return next(kind for kind in BUDGET_KINDS if getattr(self, kind) is not None)

    @property
    def ratio(self) -> float:
        """The share that remains, in (0, 1)."""
        return float(getattr(self, self.kind))


class ClustersConfig(Section):
    """How criteria that rank alike are put together; count "auto" goes by silhouette, up to `max_count`."""

    count: Count | Literal["auto"] = "auto"
    method: Literal["agglomerative", "kmeans"] = "agglomerative"
    max_count: Annotated[int, Field(ge=2)] = 6


class BlendConfig(Section):
    """Where genes are shared: one blend for the network, one a stage or one a layer.

    unit: several, from coarse to fine, make a search in phases that begins with the first and ends with the last.
    """

    unit: Annotated[Unit | Units, Allowed("'network', 'stage', 'layer', or a list of them from coarse to fine")] = (
        "stage"
    )

    @property
    def units(self) -> tuple[str, ...]:
        """The units of the search's phases, from coarse to fine; the blend that results has the last."""
        return (self.unit,) if isinstance(self.unit, str) else tuple(self.unit)


class FinalsConfig(Section):
    """Short retrainings that decide between the candidates which the proxy puts first.

    rungs: shares of `retraining.epochs`, one a round of successive halving. seeds: trainings of a candidate a rung.
    """

    candidates: Annotated[int, Field(ge=2)] = 8
    rungs: Rungs = Field(default_factory=lambda: [0.1, 0.3])
    seeds: Count = 1


class LimitConfig(Section):
    """What a search may cost: plans evaluated, the seconds of their evaluations added up over the workers, or passes.

    forward_passes: images that the proxies run through pruned networks. One that a network is trained on counts three:
    forward, and backward about two.
    """

    evaluations: Count | None = None
    seconds: Positive | None = None
    forward_passes: Count | None = None

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> LimitConfig:
        given = [kind for kind in LIMIT_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise broken_rule(
                f"a limit has exactly one kind (given {' and '.join(given) or 'none'}, "
                f"allowed one of {', '.join(LIMIT_KINDS)})"
            )
        return self


class RungConfig(Section):
    """A cheap proxy before the deciding one, and the share of a generation's plans that go on from it."""

    proxy: Named
    keep: Ratio = 0.5


class SearchConfig(Section):
    """The evolutionary (deap) or model-based (optuna) search; `algorithm` is for deap alone, `sampler` for optuna.

    control: also draw as many blends at random, and retrain the best of them beside the blend. ablation: where shares
    evolve with the blend, also retrain each without the other, which tells what the gain comes from. limit: the search
    ends with the generation that reaches it; null for all generations. finals: null takes the proxy's best.
    start_from: files of blends that join the first population.
    rungs: cheap proxies that screen a generation's new plans before the space's proxy judges those left. pruner: who
    decides there: "paired" (the better share and all not clearly worse), or one of Optuna's.
    objectives: costs whose kept share is minimised beside the accuracy; the search then finds a whole front, between
    the budget and `lowest`, a kept share of the budget's kind. front: how many of its points are retrained.
    """

    backend: Text = "deap"
    population: Annotated[int, Field(ge=2)] = 24
    generations: Annotated[int, Field(ge=0)] = 8
    crossover: Share = 0.7
    mutation: Share = 0.3
    elite: Annotated[int, Field(ge=0)] = 2
    tournament: Count = 3
    algorithm: Text = "generational"
    sampler: Text = "tpe"
    control: bool = True
    ablation: bool = True
    limit: Annotated[LimitConfig | None, Allowed(f"a mapping with one of {', '.join(LIMIT_KINDS)}, or null")] = None
    rungs: Annotated[list[RungConfig], Allowed("a list of mappings with proxy and keep")] = Field(default_factory=list)
    pruner: Literal["paired", "median", "percentile", "successive_halving"] = "paired"
    finals: FinalsConfig | None = None
    start_from: Paths = None
    objectives: Costs = Field(default_factory=list)
    lowest: Ratio | None = None
    front: Count = 4

    @model_validator(mode="after")
    def _a_front_has_its_terms(self) -> SearchConfig:
        if self.objectives and self.lowest is None:
            raise broken_rule("objectives need lowest, the smallest share that may be kept of what the budget counts")
        if self.objectives and self.finals is not None:
            raise broken_rule(
                "finals choose one blend and objectives ask for a front; set finals: null or objectives: []"
            )
        if self.objectives and self.rungs:
            raise broken_rule("rungs order candidates by one number and objectives give several; set one of them to []")
        return self

    @model_validator(mode="after")
    def _elite_leaves_room(self) -> SearchConfig:
        if self.elite >= self.population:
            raise broken_rule(
                f"elite must be below population (given elite {self.elite}, population {self.population})"
            )
        return self

    @model_validator(mode="after")
    def _pruner_can_keep_the_shares(self) -> SearchConfig:
        for position, rung in enumerate(self.rungs):
            where = f"rung {position + 1} keeps {rung.keep:g}"
            if self.pruner == "median" and rung.keep != 0.5:
                raise broken_rule(f"the pruner median keeps the better half ({where}); set 0.5, or pruner: percentile")
            if self.pruner == "successive_halving" and abs(round(1 / rung.keep) * rung.keep - 1) > 0.02:
                raise broken_rule(
                    f"the pruner successive_halving keeps one of a whole number, such as 0.5 or 0.25 ({where}); "
                    "set such a share, or pruner: percentile"
                )
        return self


class AuditConfig(Section):
    """Which plans an audit draws, how often each is retrained, and which proxies estimate them."""

    plans: Annotated[int, Field(ge=6)] = 24
    seeds: Annotated[int, Field(ge=2)] = 2
    proxies: Annotated[list[Named], Field(min_length=1), Allowed("a list of proxies, each a name or a mapping")] = [
        NamedSection(name="zero_shot"),
        NamedSection(name="bn_recalibrated"),
        NamedSection(name="compensated"),
        NamedSection(name="agreement"),
        NamedSection(name="compensated_finetune"),
        NamedSection(name="short_finetune"),
    ]


class CurvesConfig(Section):
    """The scarce-data scenario: accuracy against the share removed, with few images behind the scores.

    samples_per_class: images of each class that the criteria look at. removed: shares of what the budget counts.
    draws: how often the images are drawn anew. images: how many test images are read; null for all.
    """

    samples_per_class: Counts = Field(default_factory=lambda: [1, 5, 10, 50])
    removed: Ratios = Field(default_factory=lambda: [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6])
    draws: Count = 5
    images: Count | None = None


class RatingsConfig(Section):
    """People's marks of filters, for the criterion `subjective`; a path alone is the file.

    file: ratings.json, as `blendsearch review` writes it. fallback: the criterion that stands in for filters that
    nobody rated; null gives them 0.5.
    """

    file: Text
    fallback: Text | None = None


RatingsGiven = Annotated[
    RatingsConfig | None, BeforeValidator(_file_alone), Allowed("a path, a mapping with file and fallback, or null")
]


class ComputeConfig(Section):
    """Device, number format, and how many processes of how many threads (no more in all than cores)."""

    device: Device = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    workers: Count | Literal["auto"] = "auto"
    threads: Count = 1


class Space(Section):
    """One campaign: data, network, criteria, budget, search and retraining.

    blends: files of found blends that stand among the criteria: scored, clustered, blended and retrained like these.
    ratings: people's ratings that the criterion `subjective` reads, a path or a section; null for none.
    compensation: refits what pruning left, before or (retraining.epochs 0) instead of retraining; null for none.
    """

    name: FolderName
    seed: Annotated[int, Field(ge=0)] = 0
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    structure: StructureConfig = StructureConfig()
    criteria: Literal["all"] | Names = "all"
    blends: list[BlendGiven] = Field(default_factory=list)
    ratings: RatingsGiven = None
    budget: Annotated[BudgetConfig, Allowed(f"a mapping with one of {', '.join(BUDGET_KINDS)}")]
    allocation: Named = NamedSection(name="uniform")
    clusters: ClustersConfig = ClustersConfig()
    blend: BlendConfig = BlendConfig()
    proxy: Named = NamedSection(name="compensated")
    schedule: Named = NamedSection(name="one_shot")
    search: SearchConfig = SearchConfig()
    compensation: CompensationConfig | None = None
    retraining: RetrainingConfig
    audit: AuditConfig = AuditConfig()
    curves: CurvesConfig = CurvesConfig()
    compute: ComputeConfig = ComputeConfig()

    def to_dict(self) -> dict[str, Any]:
        """Return every key with its value, defaults included, as plain lists, mappings and scalars."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return every key with its value as YAML; reading it again gives an equal space."""
        return to_yaml(self.to_dict())
