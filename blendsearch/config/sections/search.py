"""The search: its algorithm, what it may cost, and what decides between the candidates that it finds."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from blendsearch.config.sections.types import (
    Allowed,
    Count,
    NamedSection,
    Positive,
    Ratio,
    Section,
    Share,
    Text,
    ascending,
    broken_rule,
    name_as_mapping,
    text_as_list,
    without_repeats,
)

LIMIT_KINDS = ("evaluations", "seconds", "forward_passes")
DEFAULT_BACKEND = "deap"
STANDS_FOR = {"deap": ("generational", "nsga2"), "optuna": ("tpe", "nsgaii")}
"""Backend -> the algorithm that is meant when none is named, with one objective and with several."""

Rung = Annotated[float, Field(gt=0, le=1)]
Rungs = Annotated[list[Rung], Field(min_length=1), AfterValidator(ascending), Allowed("a list of shares, at most 1")]
Costs = Annotated[
    list[Literal["flops", "params", "latency"]],
    AfterValidator(without_repeats),
    Allowed("a list of flops, params, latency, each at most once"),
]
RivalName = Literal["mean_of_ranks", "hesso", "criterion_per_layer", "elimination", "tilted", "swapped", "own_shares"]
RIVALS: tuple[RivalName, ...] = get_args(RivalName)
OWN_SHARES = "own_shares"
"""The rival that takes a search as long as the blend's, and so is there only where it is named."""
Rivals = Annotated[
    bool | Annotated[list[RivalName], AfterValidator(without_repeats)],
    Allowed(f"true, false, or a list of {', '.join(RIVALS)}, each at most once"),
]
Paths = Annotated[
    list[Text] | None,
    BeforeValidator(text_as_list, json_schema_input_type=Text | list[Text] | None),
    Allowed("the path of a blend file, a list of them, or null"),
]

NamedOrNull = Annotated[
    NamedSection | None,
    BeforeValidator(name_as_mapping, json_schema_input_type=Text | NamedSection | None),
    Allowed("a name, a mapping with name and its options, or null"),
]


class FinalsConfig(Section):
    """Short retrainings that decide between the candidates which the proxy puts first.

    candidates: how many different plans enter.
    rungs: shares of `retraining.epochs`, one a round of successive halving.
    seeds: trainings of a candidate a rung.
    """

    candidates: Annotated[int, Field(ge=2)] = 8
    rungs: Rungs = Field(default_factory=lambda: [0.1, 0.3])
    seeds: Count = 1


class ChoiceConfig(Section):
    """A second look at what the search puts first, on search images that it has not seen.

    candidates: how many different plans get it.
    share: of the search images, for the search itself; the rest is fresh.
    """

    candidates: Annotated[int, Field(ge=2)] = 10
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class RacingConfig(Section):
    """Candidates that are clearly worse than the best are read on a part of the search images alone.

    first: images before a candidate is first compared with the best so far; at each further comparison there are twice
    as many.
    error: how probable it may be that a candidate is stopped which all images would show to be among the best.
    """

    first: Annotated[int, Field(ge=30)] = 500
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.01


class LimitConfig(Section):
    """What a search may cost, in exactly one kind.

    evaluations: different plans that are estimated.
    seconds: of their evaluations, added up over the workers.
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


class SearchConfig(Section):
    """The search for a blend: which algorithm, and what it is given.

    backend: whose algorithm, deap's or optuna's; alone it means generational or tpe, with objectives nsga2 or nsgaii.
    algorithm: one of `blendsearch list algorithms`, with its options; null goes by backend, without either it is
    generational.
    population: genomes in a generation; the criteria themselves join the first.
    generations: how many follow the first; limit may end the search earlier.
    window: so many candidates are under way at once, each proposed from the results of all before these, so that
    workers need not wait for the end of a generation (campaigns of searches); null proposes whole generations.
    crossover: probability that a pair of parents is crossed (generational, mu_plus_lambda, nsga2).
    mutation: probability that an offspring is mutated (generational, mu_plus_lambda, nsga2).
    elite: the best genomes that always survive (generational).
    tournament: a parent is the best of so many drawn at random (generational).
    retrained_criteria: how many criteria are retrained beside the blend, those that the proxy puts first; all of them
    unless you say, which takes as many retrainings.
    random_search: also draw as many blends at random, and retrain the best of them beside the blend.
    ablation: where shares evolve with the blend, also retrain each without the other, which tells what the gain comes
    from.
    rivals: also retrain what needs no search, or hardly any; true for all of these, or a list of some: mean_of_ranks,
    hesso (the default blend of HESSO), criterion_per_layer (up to three evaluations a group, the dearest by far),
    elimination (drop losses layer by layer, with layer_by_layer), tilted (drop losses and mean of ranks, with
    blend.set_aware), swapped (the proxy's choice after as many of both, with reallocation or swaps). One more is
    there only where the list names it, for it takes a search as long again: own_shares (the proxy's choice with shares
    evolved for it alone, with allocation evolved), which tells what the blend adds to evolved shares.
    limit: the search ends with the generation that reaches it; null for all generations.
    finals: short retrainings that choose among the proxy's best; null takes the proxy's best.
    racing: stop reading candidates that are clearly worse than the best few, and swaps than the plan they are made of;
    null reads all of them in full.
    choice: hold back search images, on which the best few are judged again; null shows all of them to the search.
    layer_by_layer: so many of the best set-aware blends choose their filters once more, each layer on what the already
    pruned network gives, and the better of both ways stands; null for none.
    reallocation: with allocation evolved and the proxy agreement, so many evaluations after the search move filters
    between layers, to where a forecast for every filter promises most for what it costs; a few dozen led further than
    hundreds of the search. The forecasts take as long again. A layer that keeps all its filters gives none. null for
    none.
    swaps: so many evaluations at the end try to exchange a filter of the best plan for one that was to go; null for
    none. With the proxy agreement they are those that a forecast promises most of, which takes about three evaluations
    now and then. They follow what the proxy sees: give it as many images for its refit as the final one has, and
    thousands of search images.
    start_from: files of blends that join the first population.
    objectives: costs whose kept share is minimised beside the accuracy; the search then finds a whole front, between
    the budget and lowest.
    lowest: with objectives, the smallest kept share of the budget's kind.
    front: with objectives, how many points of the front are retrained.
    """

    backend: Text | None = None
    algorithm: NamedOrNull = None
    population: Annotated[int, Field(ge=2)] = 24
    generations: Annotated[int, Field(ge=0)] = 8
    window: Count | None = None
    crossover: Share = 0.7
    mutation: Share = 0.3
    elite: Annotated[int, Field(ge=0)] = 2
    tournament: Count = 3
    retrained_criteria: Count | Literal["all"] = "all"
    random_search: bool = True
    ablation: bool = True
    rivals: Rivals = True
    limit: Annotated[LimitConfig | None, Allowed(f"a mapping with one of {', '.join(LIMIT_KINDS)}, or null")] = None
    finals: FinalsConfig | None = None
    racing: RacingConfig | None = None
    choice: ChoiceConfig | None = None
    layer_by_layer: Count | None = None
    reallocation: Count | None = None
    swaps: Count | None = None
    start_from: Paths = None
    objectives: Costs = Field(default_factory=list)
    lowest: Ratio | None = None
    front: Count = 4

    @property
    def rivals_wanted(self) -> tuple[str, ...]:
        """The names of the rivals that are wanted."""
        if isinstance(self.rivals, bool):
            return tuple(name for name in RIVALS if name != OWN_SHARES) if self.rivals else ()
        return tuple(self.rivals)

    @property
    def improves_plans(self) -> bool:
        """Whether the best plan is improved filter by filter after the search."""
        return self.reallocation is not None or self.swaps is not None

    @property
    def chosen(self) -> NamedSection | None:
        """The algorithm that is named, or the one that stands for deap or optuna; None for another's backend alone."""
        if self.algorithm is not None:
            return self.algorithm
        names = STANDS_FOR.get(self.backend or DEFAULT_BACKEND)
        return None if names is None else NamedSection(name=names[1 if self.objectives else 0])

    @model_validator(mode="after")
    def _a_front_has_its_terms(self) -> SearchConfig:
        if self.objectives and self.lowest is None:
            raise broken_rule("objectives need lowest, the smallest share that may be kept of what the budget counts")
        if self.objectives and self.finals is not None:
            raise broken_rule(
                "finals choose one blend and objectives ask for a front; set finals: null or objectives: []"
            )
        return self

    @model_validator(mode="after")
    def _plans_are_chosen_once(self) -> SearchConfig:
        if self.layer_by_layer is not None and self.objectives:
            raise broken_rule("layer_by_layer chooses for one budget; set layer_by_layer: null or objectives: []")
        if OWN_SHARES in self.rivals_wanted and self.objectives:
            raise broken_rule("own_shares evolves shares for one budget; leave it out of rivals, or set objectives: []")
        for key in ("reallocation", "swaps"):
            if getattr(self, key) is not None and self.objectives:
                raise broken_rule(f"{key} is for one plan; set {key}: null or objectives: []")
        return self

    @model_validator(mode="after")
    def _one_thing_chooses(self) -> SearchConfig:
        others = {"finals": self.finals is not None, "objectives": bool(self.objectives)}
        if self.choice is not None and any(others.values()):
            other = next(name for name, given in others.items() if given)
            rest = "null" if other == "finals" else "[]"
            raise broken_rule(f"choice and {other} both decide what is found; set choice: null or {other}: {rest}")
        return self

    @model_validator(mode="after")
    def _races_go_by_generations(self) -> SearchConfig:
        if self.racing is not None and self.objectives:
            raise broken_rule("racing goes by accuracy alone; set racing: null or objectives: []")
        if self.racing is not None and self.window is not None:
            raise broken_rule("racing goes by the best of whole generations; set racing: null or window: null")
        return self

    @model_validator(mode="after")
    def _elite_leaves_room(self) -> SearchConfig:
        if self.elite >= self.population:
            raise broken_rule(
                f"elite must be below population (given elite {self.elite}, population {self.population})"
            )
        return self
